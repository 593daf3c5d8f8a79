"""What a job's process printed → how it ended. A process that was killed printed nothing whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lora_ci.bot.runner import End, Ending
from lora_ci.core.finding import Finding
from lora_ci.core.step import Outcome

MAX_BYTES = 256 << 20
MAX_NOTE = 1000
FAILED_TO_SHOW = "publish.failed"
# A long run outlives its token: what it could not show then another token can.
EXPIRED = "GitHub says 401"
LASTING = ("lora-ci.usage", "lora-ci.input", "lora-ci.integrity")


class _Result(msgspec.Struct):
    """The fields that we look at, of all that a command prints with `--json`."""

    schema: str
    run_id: str | None = None
    outcome: Outcome | None = None
    notes: list[Finding] = []
    nothing: str = ""
    error: str = ""
    findings: list[Finding] = []


def read_end(path: Path) -> End:
    """How the process ended that wrote the file."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        result = msgspec.json.decode(data, type=_Result)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return End(ending=Ending.LOST, note="the process left no result")
    match result.schema:
        case "lora-ci.run/1":
            return _of_run(result)
        case "lora-ci.report/1":
            return _shown(result, "shown again")
        case "lora-ci.nothing/1":
            return End(ending=Ending.DONE, note=result.nothing[:MAX_NOTE])
        case _:
            told = "; ".join(finding.message for finding in result.findings) or result.error
            ending = Ending.DONE if result.error in LASTING else Ending.BLOCKED
            return End(ending=ending, note=told[:MAX_NOTE])


def _of_run(result: _Result) -> End:
    if result.outcome in (Outcome.INTERRUPTED, None):
        return End(ending=Ending.STOPPED, note="interrupted", run_id=result.run_id)
    return _shown(result, str(result.outcome))


def _shown(result: _Result, note: str) -> End:
    for finding in result.notes:
        if finding.rule == FAILED_TO_SHOW or EXPIRED in finding.message:
            told = f"{note}; {finding.message}"[:MAX_NOTE]
            return End(ending=Ending.UNSHOWN, note=told, run_id=result.run_id)
    return End(ending=Ending.DONE, note=note, run_id=result.run_id)
