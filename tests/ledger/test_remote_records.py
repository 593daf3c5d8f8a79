"""Many machines publish records at once, to a remote that may not like it; none is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lora_ci.changes.git import Repository
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError
from lora_ci.ledger.git_records import REF, GitRecords
from lora_ci.ledger.remote_records import MOST_FAILURES, fetch_records, publish_records
from tests.bare import make_clone, make_hub
from tests.fake_github.hub import FakeGitHub
from tests.past import make_record

PROGRAM = [sys.executable, "-m", "tests.ledger.publisher"]
HERE = Path(__file__).parents[2]


class FakeClock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sum(self.slept))

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def hub(tmp_path) -> Path:
    return make_hub(tmp_path / "hub.git")


@pytest.fixture
def clone(hub, tmp_path) -> Repository:
    return make_clone(hub, tmp_path / "clone")


def publish(repo, *records, remote="origin", clock=None, kept_in=None):
    turn = {"clock": clock or SystemClock(), "rng": random.Random(7)}
    return publish_records(repo, remote, records, kept_in=kept_in, **turn)


def fetch(repo, remote="origin", clock=None):
    return fetch_records(repo, remote, clock=clock or SystemClock(), rng=random.Random(7))


def published(hub: Path) -> list[str]:
    """The run ids of all that a hub has."""
    return [r.run_id for r in GitRecords(Repository(hub)).finished_since("")]


def runs(count: int) -> list[str]:
    return [f"run-{n}" for n in range(count)]


def test_a_fetch_brings_what_others_published(hub, clone, tmp_path):
    assert fetch(clone) is None
    assert publish(clone, make_record(0), make_record(1)) == ()
    other = make_clone(hub, tmp_path / "other")
    assert publish(other, make_record(2)) == ()
    records = GitRecords(clone, fetch(clone))
    assert [r.run_id for r in records.finished_since("")] == runs(3)


def test_the_same_again_changes_nothing(hub, clone):
    publish(clone, make_record(0), make_record(1))
    tip = Repository(hub).find_commit(REF)
    assert publish(clone, make_record(1), make_record(0)) == ()
    assert Repository(hub).find_commit(REF) == tip


def test_a_clone_is_left_as_it_was(hub, clone):
    hooks = clone.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-push").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-push").chmod(0o755)
    (clone.root / "mine.txt").write_text("not committed")
    publish(clone, make_record(0))
    fetch(clone)
    refs = clone.git("for-each-ref", "--format=%(refname)").stdout.decode().split()
    assert refs == [REF]
    assert clone.git("status", "--porcelain").stdout == b"?? mine.txt\n"
    assert not (clone.root / ".git" / "FETCH_HEAD").exists()
    assert not (clone.root / ".git" / "index").exists()


def test_a_ref_that_was_deleted_or_rewritten_at_the_remote_is_so_here(hub, clone, tmp_path):
    publish(clone, make_record(0))
    Repository(hub).git("update-ref", "-d", REF)
    assert fetch(clone) is None
    assert GitRecords(clone).finished_since("") == ()
    publish(make_clone(hub, tmp_path / "other"), make_record(1))
    assert [r.run_id for r in GitRecords(clone, fetch(clone)).finished_since("")] == ["run-1"]


def test_locks_that_a_killed_git_left_are_in_nobodys_way(hub, clone, tmp_path):
    publish(make_clone(hub, tmp_path / "other"), make_record(0))
    (clone.root / ".git" / REF).parent.mkdir(parents=True, exist_ok=True)
    for lock in (REF, "index", "HEAD", "packed-refs", "shallow", "config"):
        (clone.root / ".git" / f"{lock}.lock").touch()
    assert publish(clone, make_record(1)) == ()
    assert published(hub) == runs(2)
    assert len(GitRecords(clone, fetch(clone)).finished_since("")) == 2


@pytest.mark.slow
def test_eight_publish_at_once_and_nothing_is_lost(hub, tmp_path):
    clones = [make_clone(hub, tmp_path / f"clone-{n}").root for n in range(8)]
    started = [
        subprocess.Popen([*PROGRAM, str(clone), str(20 * n), "20"], cwd=HERE)
        for n, clone in enumerate(clones)
    ]
    assert [process.wait(120) for process in started] == [0] * 8
    assert published(hub) == runs(160)


@pytest.mark.slow
def test_several_in_one_clone_are_not_in_each_others_way(hub, clone):
    started = [
        subprocess.Popen([*PROGRAM, str(clone.root), str(20 * n), "20"], cwd=HERE) for n in range(4)
    ]
    assert [process.wait(120) for process in started] == [0] * 4
    assert published(hub) == runs(80)


@pytest.mark.slow
def test_killed_at_any_git_command_and_called_again_each_record_is_there_once(hub, clone, tmp_path):
    git = shutil.which("git")
    wrapper, left = tmp_path / "bin" / "git", tmp_path / "left"
    wrapper.parent.mkdir()
    # The command starts, and all die with it while it works.
    wrapper.write_text(
        f"#!/bin/sh\nread n < {left}\necho $((n-1)) > {left}\n"
        f'[ "$n" = 0 ] || exec {git} "$@"\n{git} "$@" & kill -9 0\n'
    )
    wrapper.chmod(0o755)
    path = {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    for place in range(40):
        left.write_text(f"{place}\n")
        killed = run_publisher(clone, place, **path) == -signal.SIGKILL
        assert run_publisher(clone, place) == 0
        if not killed:
            break
    assert not killed
    assert place > 5
    assert published(hub) == runs(place + 1)
    assert Repository(hub).git("fsck", "--strict").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["pre-receive", "update", "post-receive"])
def test_killed_while_the_remote_takes_them(hub, clone, tmp_path, hook):
    program = hub / "hooks" / hook
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\nkill -9 0\n")
    program.chmod(0o755)
    assert run_publisher(clone, 0) == -signal.SIGKILL
    program.unlink()
    assert run_publisher(clone, 0) == 0
    assert published(hub) == runs(1)


def run_publisher(clone: Repository, number: int, **env: str) -> int:
    """Publishes one record in a process group of its own; its exit code."""
    command = [*PROGRAM, str(clone.root), str(number), "1"]
    process = subprocess.Popen(command, cwd=HERE, env=os.environ | env, start_new_session=True)
    return process.wait(60)


def test_a_hook_that_says_no_is_an_error_with_the_next_command(hub, clone):
    hook = hub / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'only people may push'\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(InfrastructureError, match="only people may push") as caught:
        publish(clone, make_record(0), clock=FakeClock())
    (finding,) = caught.value.findings
    assert finding.hint.startswith("next: git push origin ")


def test_a_token_that_may_only_read_is_a_finding_and_no_error(tmp_path, monkeypatch):
    with FakeGitHub() as hub:
        hub.add_repo("acme/loras")
        url = hub.git_url("acme/loras").replace("http://", "http://x:{}@")
        writes = hub.token({"contents": "write"})
        reads = hub.token({"contents": "read"})
        clone = make_clone(Path("/nowhere"), tmp_path / "clone")
        assert publish(clone, make_record(0), remote=url.format(writes)) == ()
        (finding,) = publish(clone, make_record(1), remote=url.format(reads))
        assert "does not let us push" in finding.message
        assert reads not in f"{finding}"
        commit = fetch(clone, url.format(reads))
        assert [r.run_id for r in GitRecords(clone, commit).finished_since("")] == ["run-0"]


@pytest.mark.parametrize("remote", ["nowhere", "/no/such/folder"])
def test_a_remote_that_is_none_is_told_at_once(clone, remote):
    clock = FakeClock()
    with pytest.raises(InfrastructureError, match="cannot be fetched"):
        publish(clone, make_record(0), remote=remote, clock=clock)
    assert clock.slept == []


def test_a_network_that_is_down_is_tried_again_and_then_told_without_the_password(clone):
    clock = FakeClock()
    with pytest.raises(InfrastructureError) as caught:
        fetch(clone, "http://me:sesame@127.0.0.1:1/x.git", clock=clock)
    assert len(clock.slept) == MOST_FAILURES - 1
    (finding,) = caught.value.findings
    assert "sesame" not in f"{finding}{caught.value}"


def test_a_record_that_is_too_large_is_told_and_the_others_are_kept(hub, clone):
    large = make_record(1, details="x" * 300_000)
    (finding,) = publish(clone, make_record(0), large, make_record(2))
    assert "at most 262144 are kept in git" in finding.message
    assert published(hub) == ["run-0", "run-2"]


def test_records_are_whole_in_a_partial_and_shallow_clone(hub, clone, tmp_path):
    publish(clone, make_record(0), make_record(1))
    empty = clone.git("mktree").stdout.decode().strip()
    us = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    head = clone.git("commit-tree", "-m", "x", empty, env=us).stdout.decode().strip()
    assert clone.git("push", "-q", "origin", f"{head}:refs/heads/main").returncode == 0
    Repository(hub).git("config", "uploadpack.allowFilter", "true")
    options = ["--depth=1", "--filter=blob:none", "--no-checkout"]
    place = tmp_path / "partial"
    subprocess.run(["git", "clone", "-q", *options, f"file://{hub}", str(place)], check=True)
    partial = Repository(place)
    commit = fetch(partial)
    publish(partial, make_record(2))
    partial.git("remote", "set-url", "origin", "file:///nowhere")
    assert len(GitRecords(partial, commit).finished_since("")) == 2
    assert published(hub) == runs(3)
