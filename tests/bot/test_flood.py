"""Ten thousand deliveries, shuffled and repeated, while GitHub stumbles: each is handled once."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from lora_ci.web.app import Door, create_app
from lora_ci.web.serve import open_server
from tests.bot.flooded import SECRET, make_bot
from tests.fake_github import FakeGitHub
from tests.fake_github.delivery import request_headers
from tests.ledgers import new_ledger

REPO = "acme/loras"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
MARKER = "<!-- lora-ci -->"
DEADLINE_S = 60


class Flood:
    """A repository with pull requests, and what GitHub delivers about them."""

    def __init__(self, hub: FakeGitHub, pulls: int, pushes: int, commands: int, releases: int):
        hub.add_repo(REPO)
        hub.grant("bob", REPO, "write")
        self.hub, self.made = hub, 0
        store = hub.store(REPO)
        file = {"path": "a.txt", "mode": "100644", "type": "blob", "sha": store.write_blob(b"a")}
        tree = store.write_tree(None, [file], hub.scratch())
        commit = store.write_commit(tree, [], "first", 0)
        store.set_ref("refs/heads/main", commit)
        self.deliveries: list[tuple[str, str, bytes]] = []
        for pushed in range(pulls):
            head = store.write_commit(tree, [commit], f"change {pushed}", pushed)
            pull = hub.open_pull(REPO, head=head, base=commit)
            old = {"pull_request": {"head": {"sha": "f" * 40}}}
            for _ in range(pushes):
                self.add("pull_request.synchronize", number=pull.number, **old)
            self.add("pull_request.opened", number=pull.number)
            for _ in range(commands):
                text = "/lora-ci run mei"
                self.add("issue_comment.created", number=pull.number, comment=text, login="bob")
        self.released = []
        for number in range(releases):
            pull = hub.open_pull(REPO, head=commit, base=commit)
            merged = store.write_commit(tree, [commit], f"merge {number}", number)
            hub.merge_pull(REPO, pull.number, merged)
            tag = f"mei@v1.0.{number}"
            self.released.append(tag)
            for _ in range(2):  # asked for by two comments
                text = f"/lora-ci deploy {tag}"
                self.add("issue_comment.created", number=pull.number, comment=text, login="bob")
        self.pulls = [number for number in hub.repo(REPO).pulls if number <= pulls]
        self.asked = self.made - pulls * (pushes + 1)

    def add(self, name, **changes):
        self.made += 1
        payload = {**self.hub.payload(name, REPO, **changes), "happened": self.made}
        event, body = name.partition(".")[0], json.dumps(payload).encode()
        self.deliveries.append((f"d-{self.made}", event, body))

    def fill(self, total):
        """Events that ask for nothing."""
        other = json.dumps(self.hub.payload("pull_request.labeled", REPO, number=1)).encode()
        while len(self.deliveries) < total:
            self.made += 1
            body = other[:-1] + b', "happened": %d}' % self.made
            self.deliveries.append((f"d-{self.made}", "pull_request", body))

    def check(self, replies_each):
        """One comment for each pull request, one reply for each command, one release for a tag."""
        repo = self.hub.repo(REPO)
        for number in self.pulls:
            ours = [c.body for c in repo.comments_on(number) if c.login != "bob"]
            assert sum(MARKER in body for body in ours) == 1
            assert sum("runs." in body for body in ours) == replies_each
        assert Counter(r.tag for r in repo.releases.values()) == Counter(self.released)
        assert not any(release.draft for release in repo.releases.values())
        assert all(len(release.assets) == 1 for release in repo.releases.values())


def stumble(hub, probability):
    for verb in ("POST", "PATCH"):
        for kind in ("502_after_write", "500_before"):
            hub.faults.add(match=f"{verb} /repos/*", kind=kind, times=None, probability=probability)


@pytest.mark.slow
def test_ten_thousand_deliveries(tmp_path):
    rng = random.Random(5)
    new_ledger(tmp_path)
    with FakeGitHub(validate=0.02) as hub:
        flood = Flood(hub, pulls=60, pushes=20, commands=3, releases=20)
        flood.fill(7_000)
        stumble(hub, 0.1)
        token = hub.token({"issues": "write", "pull_requests": "write", "checks": "write",
                           "contents": "write", "statuses": "write"})  # fmt: skip
        hub.tokens[token].limit = 1_000_000
        bot = make_bot(tmp_path, "http://127.0.0.1", hub.api_url, token)
        door = Door(inbox=bot.inbox, secret=SECRET.encode(), repos=tmp_path, limit=20_000,
                    wake=lambda: None)  # fmt: skip
        server = open_server(create_app(door), "127.0.0.1", 0)
        serving = threading.Thread(target=server.run)
        serving.start()
        sent = flood.deliveries + rng.sample(flood.deliveries, 3_000)
        rng.shuffle(sent)
        told = post(server.effective_port, sent)
        bot.drain()
        server.close()
        serving.join(10)
        assert told == {"new": 7_000, "known": 3_000}
        # Every command became one job, started once; every pull request was run.
        commands = {i for i, event, _ in flood.deliveries if event == "issue_comment"}
        starts = Counter(start for start in bot.runner.starts if start in commands)
        assert (len(starts), set(starts.values())) == (flood.asked, {1})
        flood.check(replies_each=3)
        assert bot.inbox.waiting().running == 0


def post(port, deliveries):
    """Posts on one connection; how often each answer was given."""
    told = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for name, event, body in deliveries:
        connection.request("POST", "/webhook", body, request_headers(event, name, body, SECRET))
        answer = connection.getresponse()
        told[json.loads(answer.read())["message"]] += 1
        assert answer.status == 202
    connection.close()
    return told


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    rng = random.Random(6)
    new_ledger(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with FakeGitHub(validate=0.1) as hub:
        flood = Flood(hub, pulls=20, pushes=5, commands=2, releases=5)
        stumble(hub, 0.05)
        hook = hub.add_hook(REPO, f"{url}/webhook", SECRET)
        token = hub.token(kind="classic", login="lora-bot", scopes=("repo", "admin:repo_hook"))
        hub.tokens[token].limit = 1_000_000
        hub.grant("lora-bot", REPO, "admin")
        sent = flood.deliveries + rng.sample(flood.deliveries, len(flood.deliveries) // 3)
        rng.shuffle(sent)
        alive = start(tmp_path, port, hub, token, 0)
        bot = make_bot(tmp_path, url, hub.api_url, token)
        try:
            for number, (name, event, body) in enumerate(sent):
                if number == 20:
                    until(alive, bot.jobs.repos)
                if number % 40 == 20:
                    alive.kill()
                    alive.wait(10)
                if number % 40 == 30:
                    alive = start(tmp_path, port, hub, token, 0)
                hub.deliver(f"{url}/webhook", SECRET, event, json.loads(body), delivery_id=name,
                            hook=hook)  # fmt: skip
            lost = [d for d in hub.deliveries if d.status_code != 202]
            assert lost
            alive.kill()
            alive.wait(10)
            # An hour later: what was lost is asked for again.
            alive = start(tmp_path, port, hub, token, 3600)
            names = {name for name, _, _ in flood.deliveries}

            def is_done():
                waiting = bot.inbox.waiting()
                some = waiting.deliveries + waiting.jobs + waiting.running
                return bot.inbox.known(names) == names and not some

            until(alive, is_done)
        finally:
            alive.send_signal(signal.SIGKILL)
            alive.wait(10)
        flood.check(replies_each=2)


def until(alive, what):
    """Waits while the bot is at work."""
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert alive.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(state, port, hub, token, ahead_s):
    """The bot as a process, listening."""
    command = [sys.executable, "-m", "tests.bot.flooded", str(state), str(port), hub.api_url, token]
    with (state / "log").open("ab") as log:
        process = subprocess.Popen([*command, str(ahead_s)], cwd=ROOT, stdout=log, stderr=log)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            assert process.poll() is None, (state / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
