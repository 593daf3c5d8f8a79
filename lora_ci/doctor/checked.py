"""What a check says, and how all of them are done: each in its own time, none in another's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lora_ci.core.errors import LoraCIError

LIMIT_S = 10.0
WORDS = 200


class State(StrEnum):
    """How it is: only an `error` keeps a machine from its work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found, or why nothing was looked for; `fix` is what to do about it."""

    state: State
    found: str
    fix: str | None = None


Check = Callable[[], Checked]


def ok(found: str) -> Checked:
    """As it should be."""
    return Checked(state=State.OK, found=found)


def warning(found: str, fix: str) -> Checked:
    """It works, but."""
    return Checked(state=State.WARNING, found=found, fix=fix)


def error(found: str, fix: str) -> Checked:
    """It cannot work."""
    return Checked(state=State.ERROR, found=found, fix=fix)


def skipped(why: str) -> Checked:
    """Nothing to look at."""
    return Checked(state=State.SKIPPED, found=why)


def examine(checks: Mapping[str, Check], limit_s: float = LIMIT_S) -> dict[str, Checked]:
    """What each check says, all done at once; one that breaks or hangs says so itself."""
    said: dict[str, Checked] = {}

    def do(name: str, check: Check) -> None:
        result = _done(check)
        said.setdefault(name, result)

    threads = [
        # One that hangs must not keep the process from its end.
        threading.Thread(target=do, args=item, daemon=True)
        for item in checks.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = error(f"no answer within {limit_s:.0f} s", "next: try it by hand; is a network down?")
    return {name: said.setdefault(name, late) for name in checks}


def _done(check: Check) -> Checked:
    try:
        return check()
    except LoraCIError as problem:
        finding = problem.findings[0]
        more = len(problem.findings) - 1
        found = f"{finding.location()}: {finding.message}".removeprefix(": ")
        return Checked(
            state=State.ERROR,
            found=f"{found} (and {more} more)" if more else found,
            fix=finding.hint,
        )
    except Exception as bug:  # noqa: BLE001 - the border of a check: the others go on
        found = f"the check itself broke: {type(bug).__name__}: {str(bug)[:WORDS]}"
        return error(found, "next: report it to lora-ci with this line")
