"""A real `lora-ci serve` beside a fake GitHub, as a GitHub App on one repository."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.builders import RepoBuilder
from tests.fake_github import FakeGitHub
from tests.fake_github.state import Comment, Hook

REPO = "acme/loras"
SECRET = "a secret of many characters"
TIMEOUT_S = 90
MARKER = "<!-- lora-ci -->"
ROOT = Path(__file__).parents[2]
# Read by every interpreter that starts: all stages but the last pass at once.
TOYS = """\
import sys
if {"exec-job", "run", "exec-step"} & set(sys.orig_argv):
    from lora_ci.core.step import Stage
    from lora_ci.steps import table
    toys = [stage for stage in Stage if stage is not Stage.DEPLOY]
    table.TABLE.update({stage: "TOY:run" for stage in toys})
"""


@dataclass
class Served:
    """The bot's machine: `server` is the process that serves now."""

    hub: FakeGitHub
    builder: RepoBuilder
    root: Path
    port: int = 0
    hook: Hook | None = None
    server: subprocess.Popen[bytes] | None = None
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        return self.root / "bot"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """The repository at the fake, and the App with its key, its secret and its webhook."""
        bare = self.root / "origin.git"
        subprocess.run(["git", "clone", "-q", "--bare", self.builder.root, bare], check=True)
        self.builder.git("remote", "add", "origin", str(bare))
        self.hub.add_repo(REPO, path=bare)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        bits = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
        (self.root / "key.pem").write_bytes(bits)
        (self.root / "secret").write_text(SECRET + "\n")
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        self.hook = Hook(self.hub.new_id(), f"{self.url}/webhook", SECRET, ("*",))
        app = self.hub.add_app(key.public_key().public_bytes(pem, spki), hook=self.hook)
        self.hub.install(app, REPO)
        (self.root / "app").write_text(str(app.id))

    def use_toys(self, toy: str = "tests.deploy.toy") -> None:
        """Nothing is trained."""
        (self.root / "toys").mkdir()
        (self.root / "toys" / "sitecustomize.py").write_text(TOYS.replace("TOY", toy))
        self.env["PYTHONPATH"] = f"{self.root / 'toys'}:{ROOT}"

    def start(self) -> None:
        """Starts a server and waits until it answers."""
        command = [sys.executable, "-P", "-m", "lora_ci", "serve", "--port", str(self.port)]
        command += ["--state", str(self.state), "--secret-file", str(self.root / "secret")]
        command += ["--app-id", (self.root / "app").read_text()]
        command += ["--key-file", str(self.root / "key.pem"), "--url", self.url]
        command += self.options
        with (self.root / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "GITHUB_API_URL": self.hub.api_url,
                    "GITHUB_SERVER_URL": self.hub.web_url,
                    **self.env,
                },
            )
        self.wait_for(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server alone: what it started has a group of its own."""
        assert self.server
        self.server.send_signal(number)
        return self.server.wait(TIMEOUT_S)

    def clean_up(self) -> None:
        """Ends the server, and the jobs that it would leave."""
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait(TIMEOUT_S)
        for row in self.jobs():
            if row["state"] == "running" and row["handle"]:
                try:
                    os.killpg(int(row["handle"].split(":")[0]), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    @property
    def log(self) -> str:
        logs = [self.root / "server.log", *sorted(self.state.glob("jobs/*/log"))]
        return "\n".join(f"{path}:\n{path.read_text()}" for path in logs)

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """What it gives, once it gives something."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := what()):
            assert self.server
            assert self.server.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return found

    def rows(self, database: Path, query: str) -> list[dict[str, Any]]:
        if not database.exists():
            return []
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query)]
        finally:
            connection.close()

    def jobs(self) -> list[dict[str, Any]]:
        return self.rows(self.state / "ledger.db", "SELECT * FROM job ORDER BY id")

    def steps(self) -> list[dict[str, Any]]:
        """The steps of the clone's own ledger."""
        ledger = self.state / "repos" / REPO / ".lora-ci" / "ledger.db"
        try:
            return self.rows(ledger, "SELECT * FROM step ORDER BY id")
        except sqlite3.OperationalError:
            return []  # it is being made

    def done(self, count: int) -> list[dict[str, Any]]:
        """The jobs, once so many are done."""

        def look() -> list[dict[str, Any]] | None:
            jobs = self.jobs()
            return jobs if [job["state"] for job in jobs] == ["done"] * count else None

        found: list[dict[str, Any]] = self.wait_for(look)
        return found

    def deliver(self, name: str, *, lost: bool = False, **changes: Any) -> None:
        """A delivery that arrives, or not."""
        payload = self.hub.payload(name, REPO, **changes)
        event, url = name.partition(".")[0], f"{self.url}/webhook"
        told = self.hub.deliver(url, SECRET, event, payload, hook=self.hook, lost=lost)
        assert lost or told.status_code == 202, told.response

    def push(self, branch: str, change: Callable[[], None]) -> str:
        """A commit on a branch, at the fake; the commit."""
        self.builder.git("checkout", "-q", "-B", branch)
        change()
        commit = self.builder.commit("a change")
        self.builder.git("push", "-q", "-f", "origin", branch)
        self.hub.pushed(self.hub.repo(REPO))
        return commit

    def comments(self, number: int) -> list[Comment]:
        """Ours on a pull request that tell of a run."""
        return [c for c in self.hub.repo(REPO).comments_on(number) if MARKER in c.body]

    def checks(self, head: str) -> dict[str, str | None]:
        """Conclusions of the checks of a commit."""
        found = self.hub.repo(REPO).checks.values()
        return {check.name: check.conclusion for check in found if check.head == head}
