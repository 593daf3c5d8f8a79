"""`lora-ci exec-step`: what an executor calls on the machine that does the work."""

from __future__ import annotations

import argparse
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import lora_ci
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.pace import Pace, left_text
from lora_ci.core.errors import ExitCode
from lora_ci.core.step import Outcome
from lora_ci.report.figures import duration
from lora_ci.steps.folder import TOLD_AT, StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

# Of how far the step is: often enough to follow it, and a day of it is still a small log.
EVERY_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The step folder and where artifacts and caches are."""
    parser.add_argument("folder", type=Path, help="folder that holds spec.json")
    parser.add_argument("--store", type=Path, required=True, help="artifact store")
    parser.add_argument("--cache", type=Path, required=True, help="shared cache folder")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Executes the step; its result is written to the folder.

    What it prints is the log of the step. The exit code says whether there is a result, not what it
    is.
    """
    folder = StepFolder(args.folder)
    spec = folder.read_spec()
    log = _Log(f"{spec.stage} of {spec.lora}", output)
    where = f"on {platform.node()}, process {os.getpid()}, lora-ci {lora_ci.__version__}"
    log.tell(f"begins {where}")
    result = exec_step(folder, LocalStore(args.store), args.cache, watch=log.watch)
    output.findings(result.findings)
    log.tell(f"{result.outcome} after {duration(time.monotonic() - log.began)}")
    stopped = result.outcome is Outcome.INTERRUPTED
    return ExitCode.INTERRUPTED if stopped else ExitCode.PASSED


class _Log:
    """Lines with the time, about one step."""

    def __init__(self, work: str, output: Output) -> None:
        self.work, self.output = work, output
        self.began = self._told_at = time.monotonic()
        self._pace = Pace.start(0, 0, self.began)
        self._last = ""

    def tell(self, text: str) -> None:
        self.output.note(f"{datetime.now(UTC):{TOLD_AT}} {self.work} {text}")

    def watch(self, done: int, total: int, note: str) -> None:
        """How far the step is, now and then, and at the end of each piece of work."""
        now = time.monotonic()
        left = self._pace.left_s(done, total, now)
        if now - self._told_at < EVERY_S and done < total:
            return
        parts = (note, left_text(left) if left is not None else "")
        words = f"at {done}/{total} " + ", ".join(filter(None, parts))
        if total > 0 and words != self._last:
            self._told_at, self._last = now, words
            self.tell(words)
