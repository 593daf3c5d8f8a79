"""What comes through the door, and what does not. A real server where that matters."""

import hashlib
import hmac
import json
import resource
import socket
import threading
from contextlib import suppress

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.ledger.database import open_database
from lora_ci.ledger.inbox import Inbox
from lora_ci.report.script import SCRIPT_SOURCE
from lora_ci.web.app import Door, create_app
from lora_ci.web.serve import open_server
from tests.ledgers import new_ledger
from tests.report.test_hostile_text import ATTACKS

SECRET = b"a secret"
BODY = json.dumps({"zen": "Design for failure."}).encode()


def headers(body=BODY, delivery="d-1", event="ping", secret=SECRET):
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
    }


@pytest.fixture
def inbox(tmp_path):
    database = open_database(new_ledger(tmp_path), SystemClock())
    yield Inbox(database)
    database.close()


@pytest.fixture
def app(inbox, tmp_path):
    woken = []
    door = Door(inbox=inbox, secret=SECRET, repos=tmp_path / "repos", limit=3,
                wake=lambda: woken.append(1))  # fmt: skip
    app = create_app(door)
    app.config["WOKEN"] = woken
    return app


def post(app, body=BODY, **changes):
    sent = {**headers(body), **changes}
    return app.test_client().post("/webhook", data=body, headers=sent)


def test_a_delivery_is_kept_once(app, inbox):
    assert post(app).status_code == 202
    assert post(app).get_json() == {"message": "known"}
    taken = inbox.take()
    assert taken is not None
    assert (taken.id, taken.event, taken.payload) == ("d-1", "ping", BODY)
    inbox.settle(taken, "done")
    assert post(app).status_code == 202
    assert inbox.take() is None
    assert len(app.config["WOKEN"]) == 3


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"X-Hub-Signature-256": ""}, 401),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 401),
        ({"X-Hub-Signature-256": headers(secret=b"other")["X-Hub-Signature-256"]}, 401),
        ({"X-Hub-Signature-256": headers()["X-Hub-Signature-256"].upper()}, 401),
        ({"X-Hub-Signature-256": "sha256=é"}, 401),
        ({"X-Hub-Signature-256": "sha1=" + hmac.new(SECRET, BODY, "sha1").hexdigest()}, 401),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
        ({"X-GitHub-Delivery": ""}, 400),
        ({"X-GitHub-Delivery": "x" * 65}, 400),
        ({"X-GitHub-Event": "push; rm -rf /"}, 400),
    ],
)
def test_what_does_not_come_in(app, inbox, changes, status):
    assert post(app, **changes).status_code == status
    assert inbox.take() is None


def test_hostile_headers(app, inbox):
    for attack in ATTACKS:
        text = attack.encode().decode("latin-1").replace("\n", " ")
        for name in ("X-GitHub-Delivery", "X-GitHub-Event"):
            assert post(app, **{name: text}).status_code == 400
    assert inbox.take() is None


def test_beyond_the_limit_it_asks_for_patience(app, inbox):
    for number in range(3):
        assert post(app, **headers(delivery=f"d-{number}")).status_code == 202
    full = post(app, **headers(delivery="d-9"))
    assert (full.status_code, full.headers["Retry-After"]) == (503, "60")
    # What is known already is not sent again.
    assert post(app, **headers(delivery="d-2")).status_code == 202
    taken = inbox.take()
    assert taken is not None
    inbox.settle(taken, "done")
    assert post(app, **headers(delivery="d-9")).status_code == 202


def test_reports(app, tmp_path):
    pages = tmp_path / "repos" / "acme" / "loras" / ".lora-ci" / "forge" / "reports"
    pages.mkdir(parents=True)
    (pages / "20261125-1.html").write_text("<h1>mei</h1>")
    (pages.parent / "secret.html").write_text("no")
    client = app.test_client()
    for name in ("Acme/loras/20261125-1", "acme/Loras/20261125-1.html"):
        page = client.get(f"/reports/{name}")
        assert (page.status_code, page.text) == (200, "<h1>mei</h1>")
        assert page.mimetype == "text/html"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "sandbox allow-scripts" in page.headers["Content-Security-Policy"]
        assert f"script-src {SCRIPT_SOURCE};" in page.headers["Content-Security-Policy"]
        page.close()
    for name in ("none", "..%2Fsecret", "../secret", "%2e%2e/secret", ".hidden", "a%00b", "/x"):
        assert client.get(f"/reports/acme/loras/{name}").status_code in (404, 308)
    for attack in (*ATTACKS, "..", ".lora-ci", "%2e%2e"):
        assert client.get(f"/reports/acme/loras/{attack}").status_code == 404
        assert client.get(f"/reports/{attack}/loras/20261125-1").status_code == 404
        assert client.get(f"/reports/acme/{attack}/20261125-1").status_code == 404


def test_other_addresses(app):
    client = app.test_client()
    assert client.get("/healthz").get_json()["deliveries"] == 0
    for address in ("/", "/webhook", "/console", "/static/x"):
        answer = client.get(address)
        assert answer.status_code in (404, 405)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.fixture
def server(app):
    server = open_server(app, "127.0.0.1", 0)

    def serve():
        with suppress(OSError):  # the socket is closed under it, from another thread
            server.run()

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.effective_port
    server.close()
    thread.join(10)


def raw(port, *parts):
    """Sends bytes as they are; returns the first line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass  # it stopped listening, which is what is asked for
        return connection.makefile("rb").readline().decode()


def head(length, body=BODY):
    lines = [f"{name}: {value}" for name, value in headers(body).items()]
    return "\r\n".join(["POST /webhook HTTP/1.1", "Host: x", *lines, length, "", ""]).encode()


def test_over_the_wire(server, inbox):
    assert "202" in raw(server, head(f"Content-Length: {len(BODY)}"), BODY)
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    assert "202" in raw(server, head("Transfer-Encoding: chunked"), chunked)
    taken = inbox.take()
    assert taken is not None
    assert taken.payload == BODY


def test_a_body_of_30_mb_is_not_read(server):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # It answers before any of it was sent.
    assert "413" in raw(server, head(f"Content-Length: {30 << 20}"))
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    assert "413" in raw(server, head("Transfer-Encoding: chunked"), *[piece] * 30)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 15 << 10  # KiB


def test_both_lengths_at_once(server, inbox):
    smuggled = f"Content-Length: {len(BODY)}\r\nTransfer-Encoding: chunked"
    raw(server, head(smuggled), b"0\r\n\r\n" + BODY)
    assert inbox.take() is None
