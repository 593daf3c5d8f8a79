"""Every executor starts, tells and ends attempts alike; what came of them is in their folders."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_ci.core.step import Outcome
from lora_ci.execution.executor import Executor, Phase
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.local import Command, LocalExecutor
from lora_ci.store.local import LocalStore
from tests.execution.actions_world import actions_executor
from tests.execution.ray_world import ray_executor
from tests.execution.slurm_world import slurm_executor
from tests.execution.toy import LOG_BYTES, TABLE, WORDS, toy_command
from tests.execution.toy_world import (
    HASTY,
    ToyWorld,
    processes_below,
    toy_world,
    until,
    wait_for_end,
    wait_for_progress,
)

pytestmark = pytest.mark.slow

SECRETS = {
    "GITHUB_TOKEN": "ghs-hidden-1",
    "LORA_CI_SIGNING_KEY": "hidden-2",
    "HF_HUB_TOKEN": "hidden-3",
    "PYTHON_KEYRING_PASSWORD": "hidden-4",
    "MY_OWN": "hidden-5",
}
PASSED_ON = {"LC_TOY": "shown", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How an executor is made, and what it can.

    `apart`: attempts are processes of their own, which can die, be cancelled, and be adopted.
    `quick`: it starts them at once; one that does not is spared what is the reconciler's.
    """

    make: Callable[[Path, Command], AbstractContextManager[Executor]]
    apart: bool = True
    quick: bool = True


@contextmanager
def inline(root: Path, command: Command) -> Iterator[Executor]:
    yield InlineExecutor(LocalStore(root / "objects"), root / "cache", table=TABLE)


@contextmanager
def local(root: Path, command: Command) -> Iterator[Executor]:
    yield LocalExecutor(root / "objects", root / "cache", command=command)


KINDS = {
    "inline": Kind(make=inline, apart=False),
    "local": Kind(make=local),
    "ray": Kind(make=ray_executor, quick=False),
    "slurm": Kind(make=slurm_executor, quick=False),
    # Its attempts work where nobody here sees their files: tests/execution/test_actions.py.
    "actions": Kind(make=actions_executor, apart=False),
}


def those(*, apart: bool | None = None, quick: bool | None = None) -> list[str]:
    """The executors that are so."""
    return [
        name
        for name, kind in KINDS.items()
        if apart in (None, kind.apart) and quick in (None, kind.quick)
    ]


@contextmanager
def made(name: str, root: Path) -> Iterator[tuple[ToyWorld, Executor]]:
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in (SECRETS | PASSED_ON).items():
            environment.setenv(variable, value)
        with KINDS[name].make(root, toy_command) as executor, toy_world(root) as world:
            yield world, executor


@pytest.fixture(params=those(apart=True))
def place(request, tmp_path) -> Iterator[tuple[ToyWorld, Executor]]:
    """A world of its own, for each executor whose attempts are processes of their own."""
    with made(request.param, tmp_path / "a place") as found:
        yield found


# How steps end

ANYWHERE = ("", "fail", "break")
QUICK = ("crash", "exit", "fill")
APART = ("die-once", "daemon", "log", "words", "environment", "hang", "linger")
QUICK_APART = ("die", "silent", "torn", "forged", "foreign", "newer")


def ways(kind: Kind) -> Iterator[str]:
    """What the steps of its run do."""
    yield from ANYWHERE
    yield from QUICK if kind.quick else ()
    yield from APART if kind.apart else ()
    yield from QUICK_APART if kind.apart and kind.quick else ()


@pytest.fixture(scope="module", params=KINDS)
def driven(request, tmp_path_factory) -> Iterator[tuple[ToyWorld, str]]:
    """A run with a step of each kind that has come to its end."""
    root = tmp_path_factory.mktemp("contract") / "a place, with spaces: ü"
    with made(request.param, root) as (world, executor):
        for do in ways(KINDS[request.param]):
            world.add(world.spec(do, timeout_s=2.0 if do == "hang" else 60.0))
        world.drive(executor)
        yield world, request.param


@pytest.fixture
def alone(driven) -> ToyWorld:
    """The world of an executor whose attempts are processes of their own."""
    return driven[0]


def where(**what: bool) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("driven", those(**what), indirect=True)


def test_a_step_passes_once(driven):
    world, spec = driven[0], driven[0].spec("")
    result = world.result(spec)
    assert result.metrics == {"calls": 1.0}
    assert world.store.get(result.artifact("out.txt").sha256).read_text() == "made"
    assert world.record(spec).result == result
    assert [a["outcome"] for a in world.attempts(spec)] == ["passed"]


def test_a_failure_is_a_result(driven):
    world, spec = driven[0], driven[0].spec("fail")
    assert world.outcome(spec) is Outcome.FAILED
    assert world.record(spec).result.outcome is Outcome.FAILED
    assert len(world.attempts(spec)) == 1


def test_an_error_is_tried_again(driven):
    world, spec = driven[0], driven[0].spec("break")
    assert world.outcome(spec) is Outcome.ERROR
    assert world.record(spec) is None
    assert [a["outcome"] for a in world.attempts(spec)] == ["error"] * HASTY.failures


@where(quick=True)
@pytest.mark.parametrize(
    ("do", "rule"),
    [
        ("break", "lora-ci.infrastructure"),
        ("crash", "step.crashed"),
        ("exit", "step.crashed"),
        ("fill", "machine.disk-full"),
    ],
)
def test_an_error_is_named(driven, do, rule):
    world, spec = driven[0], driven[0].spec(do)
    assert (world.outcome(spec), world.result(spec).findings[0].rule) == (Outcome.ERROR, rule)


@where(apart=True)
def test_a_step_that_is_killed_begins_again(alone):
    spec = alone.spec("die-once")
    assert alone.result(spec).metrics == {"calls": 2.0}
    assert [a["outcome"] for a in alone.attempts(spec)] == ["error", "passed"]


@where(apart=True, quick=True)
@pytest.mark.parametrize("do", ["die", "silent", "torn", "forged", "foreign"])
def test_what_is_no_whole_result_of_the_step_is_none(alone, do):
    spec = alone.spec(do)
    assert alone.outcome(spec) is Outcome.ERROR
    assert alone.result(spec).findings[0].rule == "step.vanished"
    assert alone.record(spec) is None


@where(apart=True, quick=True)
def test_a_result_of_a_newer_version_is_told(alone):
    spec = alone.spec("newer")
    assert alone.outcome(spec) is Outcome.ERROR
    assert "from a newer lora-ci" in alone.result(spec).findings[0].message


@where(apart=True)
def test_a_step_that_takes_too_long_is_ended(alone):
    spec = alone.spec("hang", timeout_s=2.0)
    assert alone.result(spec).findings[0].rule == "step.timeout"
    assert len(alone.attempts(spec)) == HASTY.failures


@where(apart=True)
def test_a_step_whose_process_does_not_end_counts_with_its_result(alone):
    assert alone.result(alone.spec("linger")).metrics == {"calls": 1.0}


@where(apart=True)
def test_nothing_of_a_step_is_left(alone):
    spec = alone.spec("daemon")
    assert alone.outcome(spec) is Outcome.PASSED
    left = int((alone.folder(spec).path / "daemon.pid").read_text())
    until(lambda: not _lives(left), "the daemon's end")
    # On a cluster, who watched over the step sees its end a moment later.
    until(lambda: not list(processes_below(alone.root)), "the end of all")


@where(apart=True)
def test_a_long_log_and_one_of_any_bytes_are_kept(alone):
    (attempt,) = alone.attempts(alone.spec("log"))
    assert alone.store.get(str(attempt["log_sha256"])).stat().st_size >= LOG_BYTES
    (attempt,) = alone.attempts(alone.spec("words"))
    assert WORDS in alone.store.get(str(attempt["log_sha256"])).read_bytes()


@where(apart=True)
def test_a_step_gets_of_the_environment_what_it_may(alone):
    details = alone.result(alone.spec("environment")).details
    assert PASSED_ON.items() <= details["environment"].items()
    assert not SECRETS.keys() & details["environment"].keys()


@where(apart=True)
def test_no_secret_is_written_anywhere(alone):
    told = alone.result(alone.spec("environment")).details["command"]
    assert not [secret for secret in SECRETS.values() if secret in "".join(told)]
    for path in alone.root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [secret for secret in SECRETS.values() if secret.encode() in data], path


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] != "Z"


# What is asked of an executor while attempts go on


def test_a_key_that_was_started_stays_alone(place):
    world, executor = place
    attempt = world.attempt(world.spec("journal", units=20))
    handles = {executor.submit(attempt) for _ in range(3)}
    assert len(handles) == 1
    wait_for_end(executor, *handles)
    assert executor.submit(attempt) in handles
    assert _begun(world, attempt) == 1


def _submit(name: str, root: Path, ready, told) -> None:
    with KINDS[name].make(root, toy_command) as executor:
        world = ToyWorld(root, f"sqlite:///{root / 'ledger.db'}")
        ready.wait()
        told.put(executor.submit(world.attempt(world.spec("journal", units=20))))


def test_two_processes_that_submit_one_key_start_one_attempt(tmp_path):
    with made("local", tmp_path) as (world, executor):
        spawning = multiprocessing.get_context("spawn")
        ready, told = spawning.Barrier(2), spawning.Queue()
        both = [
            spawning.Process(target=_submit, args=("local", tmp_path, ready, told))
            for _ in range(2)
        ]
        for process in both:
            process.start()
        handles = {told.get(timeout=60) for _ in both}
        for process in both:
            process.join()
        assert len(handles) == 1
        wait_for_end(executor, *handles)
        assert _begun(world, world.attempt(world.spec("journal", units=20))) == 1


def _begun(world: ToyWorld, attempt) -> int:
    return (world.folder(attempt.spec).path / "journal").read_text().count("begin")


def test_another_object_of_the_executor_knows_its_attempts(place, request):
    world, executor = place
    attempt = world.attempt(world.spec("wait"))
    handle = executor.submit(attempt)
    wait_for_progress(attempt.folder)
    name = request.node.callspec.params["place"]
    with KINDS[name].make(world.root, toy_command) as other:
        assert other.submit(attempt) == handle
        assert other.phases([handle]) == {handle: Phase.RUNNING}
        other.cancel(handle, hard=False)
        wait_for_end(other, handle)
    assert executor.phases([handle]) == {handle: Phase.ENDED}


def test_an_attempt_that_is_asked_to_end_leaves_what_it_has(place):
    world, executor = place
    attempt = world.attempt(world.spec("wait"))
    handle = executor.submit(attempt)
    wait_for_progress(attempt.folder)
    executor.cancel(handle, hard=False)
    wait_for_end(executor, handle)
    assert attempt.folder.read_result(attempt.spec.fingerprint).outcome is Outcome.INTERRUPTED
    executor.cancel(handle, hard=False)
    executor.cancel(handle, hard=True)
    executor.clear(handle)
    executor.clear(handle)
    assert executor.phases([handle]) == {handle: Phase.ENDED}


def test_an_attempt_that_does_not_heed_that_is_ended_hard(place):
    world, executor = place
    attempt = world.attempt(world.spec("hang"))
    handle = executor.submit(attempt)
    wait_for_progress(attempt.folder)
    executor.cancel(handle, hard=False)
    executor.cancel(handle, hard=True)
    wait_for_end(executor, handle)
    executor.clear(handle)
    until(lambda: not list(processes_below(attempt.folder.path)), "the end of its processes")
    assert attempt.folder.read_result(attempt.spec.fingerprint) is None


def test_an_attempt_that_has_hardly_begun_can_be_ended(place):
    world, executor = place
    attempt = world.attempt(world.spec("wait"))
    handle = executor.submit(attempt)
    executor.cancel(handle, hard=True)
    wait_for_end(executor, handle)
    executor.clear(handle)
    until(lambda: not list(processes_below(attempt.folder.path)), "the end of its processes")


def test_an_attempt_that_is_killed_has_ended(place):
    world, executor = place
    attempt = world.attempt(world.spec("wait"))
    handle = executor.submit(attempt)
    wait_for_progress(attempt.folder)
    for pid in processes_below(attempt.folder.path):
        os.kill(pid, signal.SIGKILL)
    wait_for_end(executor, handle)
    executor.clear(handle)


def test_nothing_is_known_of_no_attempts(place):
    assert place[1].phases([]) == {}


@pytest.mark.parametrize("name", KINDS)
def test_a_state_folder_may_be_a_link(name, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with made(name, tmp_path / "link") as (world, executor):
        spec = world.add(world.spec(""))
        world.drive(executor)
        assert world.outcome(spec) is Outcome.PASSED
