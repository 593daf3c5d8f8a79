"""Webhooks that the fake sends, artifacts and runners, and the fake by hand."""

import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.fake_github.client import ask
from tests.fake_github.payloads import load_examples
from tests.fake_github.state import Artifact, Job, WorkflowRun

REPO = "acme/loras"
AT = f"/repos/{REPO}"
SECRET = "s3cret"


@pytest.fixture
def listener():
    """A server that keeps what is posted to it and answers 202."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((dict(self.headers), body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/webhook", heard
    server.shutdown()
    thread.join()
    server.server_close()


def until(true, deadline_s=10):
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_delivery_is_signed_and_remembered(hub, listener):
    url, heard = listener
    payload = hub.payload("pull_request.opened", REPO, number=1)
    sent = hub.deliver(url, SECRET, "pull_request", payload)
    headers, body = heard[0]
    assert json.loads(body) == payload
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={mac}"
    assert (headers["X-GitHub-Event"], headers["X-GitHub-Delivery"]) == ("pull_request", sent.guid)
    assert (sent.status_code, hub.deliveries) == (202, [sent])


def test_a_lost_delivery_is_found_and_sent_again(hub, listener):
    url, heard = listener
    hook = hub.add_hook(REPO, url, SECRET)
    for n in range(3):
        payload = hub.payload("push", REPO, before="b" * 40, after="a" * 40)
        hub.deliver(url, SECRET, "push", payload, hook=hook, lost=n == 1)
    token = hub.token({"repository_hooks": "write"})
    at = f"{AT}/hooks/{hook.id}/deliveries"
    first = ask(hub, f"GET {at}?per_page=2", token=token)
    following = first.headers["link"].split(">")[0].removeprefix("<" + hub.api_url)
    listed = first.json + ask(hub, f"GET {following}", token=token).json
    lost = next(d for d in listed if d["status_code"] == 0)
    assert ask(hub, f"GET {at}/{lost['id']}", token=token).json["request"]["payload"] == payload
    assert ask(hub, f"POST {at}/{lost['id']}/attempts", token=token).status == 202
    until(lambda: len(hook.deliveries) == 4)
    again = hook.deliveries[-1]
    assert (again.guid, again.redelivery, again.status_code) == (lost["guid"], True, 202)
    assert len(heard) == 3


def test_every_example_fits_what_is_here(hub):
    token = hub.token()
    check = ask(hub, f"POST {AT}/check-runs", {"name": "n", "head_sha": "a" * 40}, token=token)
    ask(hub, f"POST {AT}/releases", {"tag_name": "v1", "draft": True}, token=token)
    changes = {
        "push": {"after": "a" * 40},
        "check_run": {"check": check.json["id"]},
        "check_suite": {"suite": next(iter(hub.repo(REPO).suites))},
        "release": {"tag": "v1"},
    }
    for name in load_examples():
        fits(hub, name, changes.get(name.partition(".")[0], {}))


def fits(hub, name, changes):
    payload = hub.payload(name, REPO, sender="mei", installation=7, **changes)
    assert payload["sender"]["login"] == "mei"
    assert payload["installation"]["id"] == 7
    assert payload.get("action") == (name.partition(".")[2] or None)
    if "repository" in payload:
        assert payload["repository"]["full_name"] == REPO
    if "pull_request" in payload:
        assert payload["pull_request"]["head"]["sha"] == "a" * 40
        assert payload["pull_request"]["head"]["repo"]["full_name"] == REPO


def test_a_comment_that_came_by_webhook_is_there(hub):
    payload = hub.payload("issue_comment.created", REPO, number=1, comment="/lora-ci run")
    heard = ask(hub, f"GET {AT}/issues/comments/{payload['comment']['id']}")
    assert heard.json["body"] == "/lora-ci run"
    assert payload["issue"]["pull_request"]["url"].endswith("/pulls/1")


def test_runs_and_artifacts(hub):
    repo = hub.repo(REPO)
    jobs = [Job(8, "plan")]
    repo.runs[7] = WorkflowRun(7, "loras", "push", "a" * 40, "main", "mei", 0, jobs=jobs)
    repo.artifacts[9] = Artifact(9, "lora-ci-7-1-mei", 7, b"PK old", 0)
    put = f"PUT /_fake/artifacts/{REPO}/7/lora-ci-7-1-tom"
    assert ask(hub, put, b"PK new").status == 201
    assert ask(hub, put, b"PK newer").status == 409
    token = hub.token({"actions": "write"})
    assert ask(hub, f"GET {AT}/actions/runs/7/jobs", token=token).json["total_count"] == 1
    assert ask(hub, f"GET {AT}/actions/runs/7/artifacts", token=token).json["total_count"] == 2
    named = ask(hub, f"GET {AT}/actions/artifacts?name=lora-ci-7-1-tom", token=token).json
    (found,) = named["artifacts"]
    path = found["archive_download_url"].removeprefix(hub.api_url)
    assert ask(hub, f"GET {path}").status == 401
    signed = ask(hub, f"GET {path}", token=token)
    assert signed.status == 302
    at = signed.headers["location"].removeprefix(hub.web_url)
    assert ask(hub, f"GET {at}").data == b"PK new"
    repo.artifacts[9].expired = True
    assert ask(hub, f"GET {AT}/actions/artifacts/9/zip", token=token).status == 410
    assert ask(hub, f"POST {AT}/actions/runs/7/cancel", token=token).status == 202
    assert ask(hub, f"POST {AT}/actions/runs/7/cancel", token=token).status == 409
    assert ask(hub, f"GET {AT}/actions/runs/7", token=token).json["conclusion"] == "cancelled"


@pytest.mark.parametrize(
    ("at", "right"),
    [(AT, "administration"), ("/orgs/acme", "organization_self_hosted_runners")],
)
def test_just_in_time_runners(hub, at, right):
    asked = {"name": "gpu-0", "runner_group_id": 1, "labels": ["self-hosted", "gpu"]}
    line = f"POST {at}/actions/runners/generate-jitconfig"
    assert ask(hub, line, asked, token=hub.token({"actions": "write"})).status == 403
    token = hub.token({right: "write"})
    made = ask(hub, line, asked, token=token)
    assert made.status == 201
    assert ask(hub, line, asked, token=token).status == 409
    listed = ask(hub, f"GET {at}/actions/runners", token=token).json["runners"]
    assert [r["name"] for r in listed] == ["gpu-0"]
    gone = f"DELETE {at}/actions/runners/{made.json['runner']['id']}"
    assert [ask(hub, gone, token=token).status for _ in range(2)] == [204, 404]


def test_by_hand():
    command = [sys.executable, "-m", "tests.fake_github", "--repo", REPO, "--token", "t0ken"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        heard = subprocess.run(
            ["git", "ls-remote", f"{url}/{REPO}.git".replace("//", "//x:t0ken@")],
            capture_output=True,
            check=False,
            timeout=30,
        )
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert heard.returncode == 0
