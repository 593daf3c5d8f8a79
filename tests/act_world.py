"""A repository at the fake GitHub whose workflow is run by `act`, with stand-ins for actions."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_ci.cli import workflow
from tests.builders import RepoBuilder
from tests.fake_github import FakeGitHub

ROOT = Path(__file__).parents[1]
STANDINS = ROOT / "tests" / "action" / "standins"
ACT = Path(sys.executable).parent / "act"
REPO = "acme/loras"
TIMEOUT_S = 90
PINS = re.compile(r"uses: (actions/[\w-]+)[\w/-]*@([0-9a-f]{40})")
# What init writes, told where lora-ci is (as on GitHub Enterprise Server) and not to install it.
GIVEN = """\
      planner: '"ubuntu-latest"'         # plans, validates what forks send, reports
"""
TOLD = """\
      lora-ci-repository: acme/lora-ci
      lora-ci-commit: {commit}
      python: {python}
      planner-python: {python}
      cache: true
"""
STEP_TOLD = """\
      lora-ci-repository: acme/lora-ci
      lora-ci-commit: {commit}
      python: {python}
"""
TOYS = """\
#!/bin/sh
export PYTHONPATH="{root}"
shift 3
exec "{python}" -m tests.action.toy_main "$@"
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a workflow run ended."""

    code: int
    log: str

    def says(self, job: str) -> str:
        """The log of one job, by the end of its name."""
        lines = [line for line in self.log.splitlines() if re.match(rf"\[[^]]*{job}[^]]*\]", line)]
        return "\n".join(lines)

    def outcome(self, job: str) -> str | None:
        found = re.search(r"🏁  Job (\w+)", self.says(job))
        return found[1] if found else None


@dataclass(slots=True)
class ActWorld:
    """`builder` is a clone of what the fake serves; runs are counted as GitHub counts them."""

    hub: FakeGitHub
    builder: RepoBuilder
    root: Path
    lora_ci: Path
    python: Path
    runs: int = 0
    env: dict[str, str] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The commit of lora-ci."""
        return git(self.lora_ci, "rev-parse", "HEAD")

    def push(self, branch: str) -> str:
        """Pushes a branch; the commit that it is now."""
        self.builder.git("push", "-q", "origin", branch)
        self.hub.pushed(self.hub.repo(REPO))
        return self.builder.git("rev-parse", branch)

    def run(self, event: str, payload: dict[str, Any], **options: Any) -> Done:
        """Runs the workflow of the commit that is checked out, to its end."""
        with self.start(event, payload, **options) as running:
            return running.end()

    @contextmanager
    def start(
        self,
        event: str,
        payload: dict[str, Any],
        *,
        token: str | None = None,
        self_hosted: bool = True,
        file: str = workflow.FILE,
        run: int | None = None,
    ) -> Iterator[Running]:
        """Starts it. Without `self_hosted`, there is no machine that trains.

        `file` is the workflow, `run` the id if GitHub has given one.
        """
        self.runs += 1
        here = self.root / f"run-{self.runs}"
        here.mkdir()
        told = here / "event.json"
        told.write_text(json.dumps(payload))
        variables = {
            "GITHUB_API_URL": self.hub.api_url,
            "GITHUB_SERVER_URL": self.hub.web_url,
            "GITHUB_REPOSITORY": REPO,
            "GITHUB_RUN_ID": str(run or self.runs),
        } | self.env
        command = [
            *(ACT, event, "--eventpath", told, "--no-cache-server", "--no-skip-checkout"),
            *("--workflows", file),
            *("--action-cache-path", here / "act", "--concurrent-jobs", "1"),
            *("--platform", "ubuntu-latest=-self-hosted"),
            *(("--platform", "self-hosted=-self-hosted") if self_hosted else ()),
            *("--secret", "GITHUB_TOKEN"),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(f"--local-repository={name}={path}" for name, path in self.actions()),
        ]
        process = subprocess.Popen(
            command,
            cwd=self.builder.root,
            stdout=(here / "log").open("w"),
            stderr=subprocess.STDOUT,
            env={
                "PATH": f"{ACT.parent}:{os.environ['PATH']}",
                "HOME": str(here),
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "GITHUB_TOKEN": token or self.hub.token(CALLER),
                "TESTBED_STANDINS": str(STANDINS),
                "TESTBED_CACHE": str(self.root / "cache"),
            },
            start_new_session=True,
        )
        running = Running(process, here)
        try:
            yield running
        finally:
            running.kill()

    def actions(self) -> Iterator[tuple[str, Path]]:
        """What `act` is to take from this machine: our own action, and the stand-ins."""
        texts = (
            (ROOT / "action.yml").read_text(),
            *(
                (ROOT / ".github/workflows" / name).read_text()
                for name in ("loras.yml", "step.yml")
            ),
        )
        for name, pin in sorted(set(PINS.findall("".join(texts)))):
            yield f"{name}@{pin}", STANDINS / name.removeprefix("actions/")
        yield f"acme/lora-ci@{self.commit}", self.lora_ci


@dataclass(frozen=True, slots=True)
class Running:
    """A run of `act`."""

    process: subprocess.Popen[bytes]
    here: Path

    @property
    def log(self) -> str:
        return (self.here / "log").read_text(errors="replace")

    def wait_for(self, what: Callable[[], object]) -> Any:
        """What it gives, once it gives something."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := what()):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return found

    def end(self) -> Done:
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log) from None
        return Done(code, self.log)

    def lora_ci(self) -> int | None:
        """The process that the runner signals: what the step's shell has become."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
                cwd = path.with_name("cwd").readlink()
            except OSError:
                continue
            if b"lora_ci" in words and b"run" in words and cwd.is_relative_to(self.here):
                return int(path.parent.name)
        return None

    def signal_lora_ci(self, number: signal.Signals = signal.SIGINT) -> None:
        pid = self.lora_ci()
        assert pid, self.log
        os.kill(pid, number)

    def kill(self) -> None:
        """Ends it and the steps that it left, if it is not over."""
        if self.process.poll() is None:
            if pid := self.lora_ci():
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


# What the caller's workflow grants: the token of every job, as `act` has one for all.
CALLER = {"actions": "read", "checks": "write", "contents": "write", "pull_requests": "write"}
FORK = dict.fromkeys(CALLER, "read")


def make_world(hub: FakeGitHub, root: Path, config: str, *, toys: bool = False) -> ActWorld:
    """A repository with the written workflow; `toys` train at once."""
    root.mkdir(exist_ok=True)
    (root / "cache").mkdir()
    lora_ci = root / "lora-ci"
    (lora_ci / ".github" / "workflows").mkdir(parents=True)
    for name in ("action.yml", ".github/workflows/loras.yml", ".github/workflows/step.yml"):
        shutil.copy(ROOT / name, lora_ci / name)
    git(lora_ci, "init", "-q", "-b", "main")
    git(lora_ci, "add", "-A")
    git(lora_ci, "-c", "user.name=Test", "-c", "user.email=t@example.org", "commit", "-qm", "x")
    commit = git(lora_ci, "rev-parse", "HEAD")
    hub.add_repo("acme/lora-ci", path=lora_ci)

    python = Path(sys.executable)
    if toys:
        python = root / "toys"
        python.write_text(TOYS.format(root=ROOT, python=sys.executable))
        python.chmod(0o755)
    builder = RepoBuilder(root)
    builder.write(".lora-ci.yml", config)
    text = workflow.TEXT.replace("OWNER/lora-ci", "acme/lora-ci").replace("@COMMIT", f"@{commit}")
    assert GIVEN in text
    text = text.replace(GIVEN, GIVEN + TOLD.format(commit=commit, python=python))
    builder.write(workflow.FILE, text)
    text = workflow.STEP_TEXT.replace("OWNER/lora-ci", "acme/lora-ci")
    told = STEP_TOLD.format(commit=commit, python=python)
    text = text.replace("@COMMIT", f"@{commit}").replace("    with:\n", f"    with:\n{told}")
    builder.write(workflow.STEP_FILE, text)
    return ActWorld(hub, builder, root, lora_ci, python)


def publish(world: ActWorld) -> str:
    """Commits what is there and puts it at the fake GitHub; the commit."""
    builder = world.builder
    head = builder.commit("loras")
    bare = world.root / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", builder.root, bare], check=True)
    builder.git("remote", "add", "origin", str(bare))
    world.hub.add_repo(REPO, path=bare)
    return head


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", folder, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()
