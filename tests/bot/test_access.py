"""The bot at the fake GitHub: wrong clocks, lost rights, moved repositories, lost deliveries."""

import http.server
import json
import threading
from datetime import timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lora_ci.bot.access import AppAccess, Server, TokenAccess
from lora_ci.bot.clone import ensure_clone
from lora_ci.bot.reconcile import ask_again
from lora_ci.bot.worker import Worker
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.forge.github.open import open_app
from lora_ci.ledger.database import open_database
from lora_ci.ledger.inbox import Inbox
from lora_ci.ledger.jobs import Jobs
from tests.bot.test_bot_worker import Processes
from tests.forge.test_github_app import pem_of
from tests.github_world import REPO, open_world
from tests.ledgers import new_ledger

pytestmark = pytest.mark.slow

SECRET = "a secret of many characters"


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Mailbox(http.server.BaseHTTPRequestHandler):
    """Where webhooks arrive."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived.append(self.headers["X-GitHub-Delivery"])
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        return


@pytest.fixture
def mailbox():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mailbox)
    server.arrived = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def world(tmp_path, key, mailbox):
    with open_world(tmp_path) as world:
        url = f"http://127.0.0.1:{mailbox.server_port}/webhook"
        world.hook = world.hub.add_hook(REPO, url, SECRET)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        world.app = world.hub.add_app(public, slug="lora-ci-acme", hook=world.hook)
        world.hub.install(world.app, REPO)
        world.number = world.pull()
        world.database = open_database(new_ledger(tmp_path / "bot"), world.clock)
        world.inbox, world.jobs = Inbox(world.database), Jobs(world.database)
        yield world
        world.database.close()


def server_of(world):
    return Server(api_url=world.hub.api_url, server_url=world.hub.web_url)


def as_app(world, key, **ahead):
    world.clock.ahead = timedelta(**ahead)
    app, client = open_app(str(world.app.id), pem_of(key), clock=world.clock, rng=Random(0),
                           api_url=world.hub.api_url)  # fmt: skip
    return AppAccess(server_of(world), app, client, Random(0))


def with_token(world, token):
    return TokenAccess(server_of(world), world.client(token), token, world.clock, world.hook.url)


def worker_of(world, access):
    return Worker(inbox=world.inbox, jobs=world.jobs, access=access, runner=Processes(),
                  clock=world.clock, state=world.root / "bot", parallel=1)  # fmt: skip


def deliver(world, worker, name="pull_request.opened", **changes):
    """One delivery to the worker; what was noted."""
    payload = world.hub.payload(name, REPO, **({"number": world.number} | changes))
    world.inbox.receive("d-1", name.partition(".")[0], json.dumps(payload).encode(), limit=10)
    worker.turn()
    return world.inbox.note_of("d-1")


@pytest.mark.parametrize("minutes", [0, 10, -10])
def test_a_clock_that_is_off(world, key, minutes):
    access = as_app(world, key, minutes=minutes)
    assert access.host(REPO).pull_request(world.number).head == world.head
    environment = access.environment(REPO)
    assert environment["LORA_CI_LOGIN"] == "lora-ci-acme[bot]"
    # Each process has a token of its own, as good as new.
    assert access.environment(REPO)["GITHUB_TOKEN"] != environment["GITHUB_TOKEN"]
    assert environment["GITHUB_TOKEN"] not in repr(access)
    worker = worker_of(world, access)
    assert deliver(world, worker) == "to be run"
    worker.turn()
    assert len(worker.runner.started) == 1


def test_a_token_that_lost_its_scope(world):
    token = world.hub.token()
    worker = worker_of(world, with_token(world, token))
    world.hub.grant("bob", REPO, "write")
    world.hub.tokens[token].permissions.clear()
    note = deliver(world, worker, "issue_comment.created", comment="/lora-ci run", login="bob")
    assert "GitHub says 403" in note
    assert world.inbox.waiting().deliveries == 1  # somebody may give it back
    assert token not in note


def test_a_deleted_repository(world):
    worker = worker_of(world, with_token(world, world.hub.token()))
    payload = world.hub.payload("pull_request.opened", REPO, number=world.number)
    world.hub.delete_repo(REPO)
    world.inbox.receive("d-1", "pull_request", json.dumps(payload).encode(), limit=10)
    worker.turn()
    assert world.inbox.note_of("d-1") == f"there is no pull request {world.number}"
    assert world.jobs.running() == ()


def test_a_renamed_repository_is_found_under_both_names(world):
    access, head = with_token(world, world.hub.token()), world.head
    world.hub.rename_repo(REPO, "acme/new")
    for name in (REPO, "acme/new"):
        assert access.host(name).pull_request(world.number).head == head


@pytest.mark.parametrize("who", ["app", "token"])
def test_what_did_not_arrive_is_asked_for_once(world, key, mailbox, who):
    hub, hook = world.hub, world.hook
    real = hub.now
    hub.now = lambda: real() - 4 * 24 * 3600
    send(world, "too-old", lost=True)
    hub.now = lambda: real() - 3600
    send(world, "lost-1", lost=True)
    send(world, "arrived")
    send(world, "lost-2", lost=True)
    hub.now = real
    send(world, "on-its-way", lost=True)
    world.inbox.receive("arrived", "ping", b"{}", limit=10)
    mailbox.arrived.clear()
    scopes = ("repo", "admin:repo_hook")
    hub.grant("lora-bot", REPO, "admin")
    access = as_app(world, key) if who == "app" else with_token(
        world, hub.token(kind="classic", login="lora-bot", scopes=scopes)
    )  # fmt: skip
    assert ask_again(access, world.inbox, (REPO,), world.clock) == 2
    for thread in hub.threads:
        thread.join(10)
    assert sorted(mailbox.arrived) == ["lost-1", "lost-2"]
    assert len(hook.deliveries) == 7


def test_who_may_not_look_at_deliveries_goes_on_without(world, caplog):
    access = with_token(world, world.hub.token({"metadata": "read"}))
    assert ask_again(access, world.inbox, (REPO,), world.clock) == 0
    assert "reconcile.failed" in caplog.text


def send(world, guid, *, lost=False):
    payload = world.hub.payload("ping", REPO)
    world.hub.deliver(world.hook.url, SECRET, "ping", payload, delivery_id=guid, hook=world.hook,
                      lost=lost)  # fmt: skip


def test_clones(world, tmp_path):
    clone, url = tmp_path / "repos" / "acme" / "loras", world.hub.git_url(REPO)
    first = world.head
    assert ensure_clone(clone, url, head=first, number=None).find_commit(first)
    assert not [entry for entry in clone.iterdir() if entry.name != ".git"]

    # A fork's commit comes by its pull request.
    store = world.hub.store(REPO)
    tree = store.text("rev-parse", f"{first}^{{tree}}")
    foreign = store.write_commit(tree, [first], "foreign", 1)
    number = world.hub.open_pull(REPO, head=foreign, fork="eve/loras").number
    assert ensure_clone(clone, url, head=foreign, number=number)

    # A force-push: what was there before is not on a branch any more.
    newer = store.write_commit(tree, [], "newer", 2)
    store.set_ref("refs/heads/main", newer)
    assert ensure_clone(clone, url, head=newer, number=None)
    gone = store.write_commit(tree, [], "gone", 3)
    assert ensure_clone(clone, url, head=gone, number=None)  # asked for by its id
    with pytest.raises(InputError, match="not at"):
        ensure_clone(clone, url, head="e" * 40, number=7)
    with pytest.raises(InfrastructureError):
        ensure_clone(clone, world.hub.git_url("acme/none"), head=first, number=None)
    assert not list(clone.parent.glob("*.building"))
