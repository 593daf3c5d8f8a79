"""A job's process and a server that does not know its pid."""

import socket
import time
from dataclasses import replace

import pytest

from lora_ci.app.commands import Run
from lora_ci.bot.child import ChildRunner
from lora_ci.bot.runner import Ending
from lora_ci.core.event import EventKind
from lora_ci.forge.payload import Announced
from lora_ci.ledger.jobs import Job, JobState

HEAD, REPO = "a" * 40, "team/loras"
DEADLINE_S = 30
JOB = Job(id=1, delivery="d-1", repo=REPO, started_as=REPO, number=None, head=HEAD, wanted="{}",
          state=JobState.RUNNING, stopping=None, handle=None, run_id=None, attempts=1,
          note=None)  # fmt: skip


@pytest.fixture
def silent_host():
    """Takes every connection and says nothing: git waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def runner(tmp_path, silent_host):
    secrets = {"GITHUB_TOKEN": "ghp_x", "GITHUB_SERVER_URL": silent_host}
    return ChildRunner(tmp_path, lambda repo: secrets, None)


def until(what):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("hard", [True, False])
def test_a_server_that_never_learned_the_pid_can_stop_it(runner, hard):
    event = Announced(kind=EventKind.PUSH, repo=REPO, head=HEAD)
    known = replace(JOB, handle=runner.start(JOB, Run(event=event)))
    try:
        assert runner.end(JOB) is None
        written = runner.folder(JOB) / "process"
        assert until(lambda: written.exists() and written.read_text()) == known.handle
        runner.stop(JOB, hard=hard)
        assert until(lambda: runner.end(JOB)).ending is not Ending.DONE
    finally:
        runner.stop(known, hard=True)
        until(lambda: runner.end(known))


@pytest.mark.parametrize("word", ["", "1:never", "x", "1"])
def test_a_word_that_names_no_process_stops_none(runner, word, monkeypatch):
    monkeypatch.setattr("os.killpg", lambda *args: pytest.fail("nobody is meant"))
    folder = runner.folder(JOB)
    runner.stop(JOB, hard=True)
    folder.mkdir(parents=True)
    (folder / "process").write_text(word)
    runner.stop(JOB, hard=True)
