"""A program that drives a run of toy steps, and kills itself in the middle of any line."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from lora_ci.core.clock import SystemClock
from lora_ci.execution import drive as driving
from lora_ci.execution.drive import Driver
from lora_ci.execution.lead import Leadership, lease_of
from lora_ci.execution.local import LocalExecutor
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.ledger.ledger import open_ledger
from lora_ci.store.local import LocalStore
from tests.execution.toy import toy_command

# Whoever is killed all the time is no bad step; no step waits for longer than the test does.
PATIENT = Policy(failures=300, interruptions=300, delays_s=(0.0,), grace_s=1.0, patience_s=5.0)
WATCHED = ("lora_ci/execution/", "lora_ci/ledger/", "lora_ci/store/", "lora_ci/steps/")


def die_at(line: int) -> None:
    """Kills this process when it comes to that many lines of what moves steps on."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal left
        if not any(part in frame.f_code.co_filename for part in WATCHED):
            return None
        if event == "line":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main() -> int:
    """Drives the run; exits with 0 once all of it has ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("url")
    parser.add_argument("run")
    parser.add_argument("--room", type=int, default=3)
    parser.add_argument("--line", type=int, help="die at that line")
    parser.add_argument("--patience", type=float, help="seconds to wait for a ledger")
    parser.add_argument("--failures", type=int, default=PATIENT.failures)
    args = parser.parse_args()
    if args.patience is not None:
        driving.PATIENCE_S = args.patience
    clock, root = SystemClock(), args.root
    ledger = open_ledger(args.url, clock)
    executor = LocalExecutor(root / "objects", root / "cache", command=toy_command)
    reconciler = Reconciler(
        ledger=ledger, executor=executor, store=LocalStore(root / "objects"), clock=clock,
        room=args.room, policy=replace(PATIENT, failures=args.failures),
    )  # fmt: skip
    lead = Leadership(
        queue=ledger.queue, clock=clock, name=lease_of("local"), patience_s=PATIENT.patience_s
    )
    driver = Driver(reconciler=reconciler, clock=clock, watch=lambda *_: None, lead=lead)
    if args.line:
        die_at(args.line)
    return 0 if driver.drive(args.run) else 130


if __name__ == "__main__":
    sys.exit(main())
