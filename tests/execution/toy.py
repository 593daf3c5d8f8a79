"""A step for tests: does what its parameters say. As a program, it executes a step folder."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, Interrupted
from lora_ci.core.step import Outcome, Stage, StepContext, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder, write_whole
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

TABLE = dict.fromkeys(Stage, "tests.execution.toy:run")
# No step of a test goes on for longer, whatever forgets it.
MOST_S = 120.0
LOG_BYTES = 10_000_000
# Text of many kinds, and bytes that are no text.
WORDS = "Ünïcödé 猫 🐈".encode() + b"\xff\xfe\x00\x1b[31m\n"
PASSED = StepResult(outcome=Outcome.PASSED)


def toy_command(folder: StepFolder, store: Path, cache: Path) -> list[str]:
    """The command line that executes a step folder with this step."""
    return [sys.executable, str(Path(__file__).resolve()), str(folder.path), str(store), str(cache)]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the step; `number` counts those in its folder from 1."""

    spec: StepSpec
    context: StepContext
    number: int

    @property
    def folder(self) -> StepFolder:
        return StepFolder(self.context.workdir.parent)


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Does what `params.do` says; `work/calls` counts how often it was called."""
    counter = context.workdir / "calls"
    number = int(counter.read_text()) + 1 if counter.exists() else 1
    # Whole or not at all: it may be killed right here.
    write_whole(counter, str(number).encode(), durable=False)
    do = str(spec.params.get("do", ""))
    details = (WAYS[do](Call(spec, context, number)) if do in WAYS else None) or {}
    (context.workdir / "out").write_text("made")
    artifact = context.keep("out.txt", context.workdir / "out", "text/plain")
    return StepResult(
        outcome=Outcome.PASSED,
        artifacts=(artifact,),
        metrics={"calls": float(number)},
        details=details,
    )


# It ends itself


def _fail(call: Call) -> None:
    raise InputError("the input is wrong")


def _break(call: Call) -> None:
    raise InfrastructureError("the network is gone")


def _crash(call: Call) -> None:
    raise ZeroDivisionError


def _exit(call: Call) -> None:
    """As a program that somebody made a function of."""
    sys.exit(3)


def _full(call: Call) -> None:
    raise OSError(28, "No space left on device")


def _fill(call: Call) -> None:
    """Fills the disk, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        (call.context.workdir / "large").write_bytes(b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _die(call: Call) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_once(call: Call) -> None:
    if call.number == 1:
        _die(call)


def _end_silently(call: Call) -> None:
    os._exit(0)


# It does not end


def _wait(call: Call) -> None:
    until = time.monotonic() + MOST_S
    while time.monotonic() < until:
        call.context.progress(1, 2, "waiting")
        if call.context.stop_requested():
            raise Interrupted("stopped")
        time.sleep(0.02)


def _hang(call: Call) -> None:
    """Takes a signal, and does not heed it."""
    call.context.progress(1, 2, "hanging")
    time.sleep(MOST_S)


def _linger(call: Call) -> None:
    """Has a result, and a process that does not end."""
    threading.Thread(target=time.sleep, args=(MOST_S,)).start()


def _leave_daemon(call: Call) -> None:
    _leave(call, None)


def _leave_unmarked_daemon(call: Call) -> None:
    _leave(call, {"PATH": os.environ["PATH"]})


def _leave_runaway(call: Call) -> None:
    """Leaves a process that starts another one and ends, and so on."""
    shell = 'go() { sleep 0.01; if [ -e "$0" ]; then go & fi; }; go &'
    command = ["setsid", "/bin/sh", "-c", shell, str(call.folder.path / "spec.json")]
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, stdin=quiet, stdout=quiet, stderr=quiet)


def _leave(call: Call, environment: Mapping[str, str] | None) -> None:
    """Leaves a grandchild in a session of its own, whose parent is gone."""
    shell = f'setsid sleep {MOST_S:.0f} & echo "$!" > "$0"'
    command = ["/bin/sh", "-c", shell, str(call.folder.path / "daemon.pid")]
    quiet = subprocess.DEVNULL
    subprocess.run(command, env=environment, check=True, stdin=quiet, stdout=quiet, stderr=quiet)


# What it leaves in its folder


def _write_torn(call: Call) -> None:
    call.folder.write_result(call.spec.fingerprint, PASSED)
    os.truncate(call.folder.path / "result.json", 40)
    os._exit(0)


def _write_forged(call: Call) -> None:
    call.folder.write_result(call.spec.fingerprint, StepResult(outcome=Outcome.FAILED))
    file = call.folder.path / "result.json"
    file.write_bytes(file.read_bytes().replace(b'"failed"', b'"passed"'))
    os._exit(0)


def _write_foreign(call: Call) -> None:
    call.folder.write_result("f" * 64, PASSED)
    os._exit(0)


def _write_newer(call: Call) -> None:
    (call.folder.path / "result.json").write_text('{"format": 99}')
    os._exit(0)


def _journal(call: Call) -> None:
    """Works for some time, and notes in a file that outlives it when it began and ended."""
    units, done = int(call.spec.params["units"]), call.context.workdir / "done"
    with (call.folder.path / "journal").open("a", buffering=1) as journal:
        journal.write(f"begin {os.getpid()}\n")
        for unit in range(int(done.read_text()) if done.exists() else 0, units):
            call.context.progress(unit, units, "working")
            if call.context.stop_requested():
                journal.write(f"stop {os.getpid()}\n")
                raise Interrupted("stopped")
            time.sleep(0.02)
            write_whole(done, str(unit + 1).encode(), durable=False)
        journal.write(f"end {os.getpid()}\n")


# What it says


def _print_much(call: Call) -> None:
    line = b"x" * 999 + b"\n"
    for _ in range(LOG_BYTES // len(line)):
        sys.stdout.buffer.write(line)
    sys.stdout.flush()


def _print_words(call: Call) -> None:
    sys.stdout.buffer.write(WORDS)
    sys.stdout.flush()


def _tell_environment(call: Call) -> Mapping[str, object]:
    command = Path("/proc/self/cmdline").read_bytes().decode().split("\0")
    return {"environment": dict(os.environ), "command": command}


WAYS: Mapping[str, Callable[[Call], Mapping[str, object] | None]] = {
    "fail": _fail,
    "break": _break,
    "crash": _crash,
    "exit": _exit,
    "full": _full,
    "fill": _fill,
    "die": _die,
    "die-once": _die_once,
    "silent": _end_silently,
    "wait": _wait,
    "hang": _hang,
    "linger": _linger,
    "daemon": _leave_daemon,
    "runaway": _leave_runaway,
    "unmarked-daemon": _leave_unmarked_daemon,
    "torn": _write_torn,
    "forged": _write_forged,
    "foreign": _write_foreign,
    "newer": _write_newer,
    "journal": _journal,
    "log": _print_much,
    "words": _print_words,
    "environment": _tell_environment,
}


def main(place: Path, objects: Path, cache: Path) -> int:
    """Executes the step folder at `place`."""
    result = exec_step(StepFolder(place), LocalStore(objects), cache, table=TABLE)
    return 130 if result.outcome is Outcome.INTERRUPTED else 0


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    sys.exit(main(*map(Path, sys.argv[1:])))
