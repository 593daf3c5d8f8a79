"""A record as a file: a name that says what it is a record of, and JSON that anybody may have made.

`2026-11/mei/20261125T224453.123456Z-train-passed-<fingerprint>.json`: a month holds some folders,
a folder what one LoRA came to in it, and a plan picks what it reads by name alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from lora_ci.core.digest import canonical_json
from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage, StepResult

MAX_BYTES = 256 * 1024
KEPT = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)

LORA = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
FINISHED = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})\+00:00", flags=re.ASCII)
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEPT_IN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PATH = re.compile(
    rf"(\d{{4}}-\d\d)/({LORA.pattern})/(\d{{4}})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{{6}})Z"
    rf"-({'|'.join(Stage)})-({'|'.join(KEPT)})-({SHA256.pattern})\.json",
    flags=re.ASCII,
)


class UnusableRecordError(ValueError):
    """A record that cannot be kept, or a file that is none; the text says why."""


@dataclass(frozen=True, slots=True)
class RecordFile:
    """Where a record lies, and its bytes; equal records have equal bytes."""

    path: str
    data: bytes


class RecordName(msgspec.Struct, frozen=True, gc=False):
    """What the name of a record's file says."""

    lora: str
    stage: str
    outcome: str
    fingerprint: str
    finished_at: str


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record, and the name of what carries its artifacts where they are not in a store."""

    record: Record
    kept_in: str | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal[1]
    record: Record
    kept_in: str | None = None


_DECODER = msgspec.json.Decoder(_Document)


def encode_record(kept: KeptRecord) -> RecordFile:
    """The file of a record. Raises UnusableRecordError for what no reader would take."""
    _check(kept)
    document = _Document(format=1, record=kept.record, kept_in=kept.kept_in)
    data = canonical_json(document)
    if len(data) > MAX_BYTES:
        raise UnusableRecordError(f"it has {len(data)} bytes, at most {MAX_BYTES} are kept in git")
    return RecordFile(_path(kept.record), data)


def parse_name(path: str) -> RecordName | None:
    """What the name of a file says; None if it is not the name of a record."""
    found = PATH.fullmatch(path)
    if found is None:
        return None
    month, lora, *time, stage, outcome, fingerprint = found.groups()
    year, of_year, day, hour, minute, second, micro = time
    if month != f"{year}-{of_year}":
        return None
    finished_at = f"{year}-{of_year}-{day}T{hour}:{minute}:{second}.{micro}+00:00"
    return RecordName(lora, stage, outcome, fingerprint, finished_at)


def decode_record(name: RecordName, data: bytes) -> KeptRecord:
    """The record in a file. Raises UnusableRecordError."""
    if len(data) > MAX_BYTES:
        raise UnusableRecordError(f"it has {len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        document = _DECODER.decode(data)
    except RecursionError as error:
        raise UnusableRecordError("it is nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnusableRecordError(str(error)) from error
    kept = KeptRecord(document.record, document.kept_in)
    _check(kept)
    if _name(kept.record) != name:
        raise UnusableRecordError("it holds another record than its name says")
    return kept


def _name(record: Record) -> RecordName:
    outcome, finished_at = record.result.outcome, record.finished_at
    return RecordName(record.lora, record.stage, outcome, record.fingerprint, finished_at)


def _path(record: Record) -> str:
    year, month, day, *time, micro = FINISHED.fullmatch(record.finished_at).groups()  # type: ignore[union-attr]
    stamp = f"{year}{month}{day}T{''.join(time)}.{micro}Z"
    name = f"{stamp}-{record.stage}-{record.result.outcome}-{record.fingerprint}.json"
    return f"{year}-{month}/{record.lora}/{name}"


def _check(kept: KeptRecord) -> None:
    """Refuses what no lora-ci writes, before it becomes part of a path, a sum or a page."""
    record = kept.record
    expected = (
        ("LoRA", LORA, record.lora),
        ("fingerprint", SHA256, record.fingerprint),
        ("time", FINISHED, record.finished_at),
        ("run id", RUN, record.run_id),
        ("artifact of the forge", KEPT_IN, kept.kept_in or "none"),
    )
    for what, pattern, text in expected:
        if not pattern.fullmatch(text):
            raise UnusableRecordError(f"{text[:80]!r} is no {what}")
    try:
        datetime.fromisoformat(record.finished_at)
    except ValueError as error:
        raise UnusableRecordError(f"{record.finished_at!r} is no time") from error
    if not record.commit.isprintable() or len(record.commit) > 128:
        raise UnusableRecordError(f"{record.commit[:80]!r} is no commit")
    _check_result(record.result)


def _check_result(result: StepResult) -> None:
    if result.outcome not in KEPT:
        raise UnusableRecordError(f"the outcome {result.outcome} is not kept")
    for artifact in result.artifacts:
        parts = artifact.name.split("/")
        if not artifact.name.isprintable() or any(part in ("", ".", "..") for part in parts):
            raise UnusableRecordError(f"{artifact.name[:80]!r} is no name of an artifact")
        if not SHA256.fullmatch(artifact.sha256) or artifact.size_bytes < 0:
            raise UnusableRecordError(f"{artifact.sha256[:80]!r} is no digest of an artifact")
    for name, seconds in result.timings_s.items():
        if not math.isfinite(seconds) or seconds < 0:
            raise UnusableRecordError(f"{name[:80]!r} took {seconds} s")
