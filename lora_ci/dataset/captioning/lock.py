"""`captions.lock.jsonl`: which captions we wrote, how, and that people's are theirs for ever.

A line a picture, sorted by the sha256 of its bytes, so that branches merge. What a line says of a
caption holds for the bytes that it names alone: where a text file has others, a person wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import InputError, machine_error
from lora_ci.core.finding import Finding, Severity
from lora_ci.dataset.caption_files import read_bytes
from lora_ci.steps.folder import write_whole

LOCK = "captions.lock.jsonl"
RULE = "caption.lock"
MAX_LOCK_BYTES = 1024 * 2**20
# Of what is wrong in a lock, so many lines are told.
MOST_TOLD = 20

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class State(StrEnum):
    """Whose a caption is: ours, ours and changed by a person, or a person's from the beginning."""

    GENERATED = "generated"
    EDITED = "edited"
    HUMAN = "human"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidBy:
    """What a model said of a picture. `revision` is an id of the model's content."""

    id: str
    revision: str
    prompt: str
    said: str

    @property
    def asked(self) -> tuple[str, str, str]:
        """Which model, and what it was asked."""
        return self.id, self.revision, self.prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One picture: `image` and `caption` are sha256 of bytes.

    `recipe` is a digest of how what was said became the caption. `replaces` is the caption of ours
    that the file has until the new one is written; it is there after a kill alone.
    """

    image: Sha256
    caption: Sha256
    state: State
    models: tuple[SaidBy, ...] = ()
    recipe: str | None = None
    votes: Mapping[str, int] = field(default_factory=dict)
    disagreement: float | None = None
    ties: tuple[str, ...] = ()
    replaces: Sha256 | None = None

    def is_ours(self, caption: str) -> bool:
        """True if the bytes of this sha256 are what we wrote, and a machine may write them anew."""
        return self.state is State.GENERATED and caption in (self.caption, self.replaces)


def read_lock(folder: Path) -> dict[str, Entry]:
    """The entries by image; {} if there is no lock.

    Raises InputError that tells each line that is none: then nobody knows what people wrote.
    """
    path = folder / LOCK
    data = read_bytes(path, MAX_LOCK_BYTES)
    if data is None:
        if not path.is_symlink() and not path.exists():
            return {}
        message = f"{LOCK} is no regular file of at most {MAX_LOCK_BYTES} bytes"
        raise InputError(message, rule=RULE, file=LOCK, hint=_HINT)
    return parse_lock(data)


_HINT = "take the file from git again; without it every caption is taken for a person's"


def parse_lock(data: bytes) -> dict[str, Entry]:
    """The same of the file's bytes."""
    decoder = msgspec.json.Decoder(Entry)
    entries: dict[str, Entry] = {}
    lines: dict[str, int] = {}
    problems: list[Finding] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entry = decoder.decode(line)
            if entry.image in entries:
                raise ValueError(f"the image stands in line {lines[entry.image]} already")
        except (ValueError, RecursionError) as error:
            problems.append(_damaged(number, error))
            if len(problems) == MOST_TOLD:
                break
            continue
        entries[entry.image] = entry
        lines[entry.image] = number
    if problems:
        raise InputError(f"{LOCK} is damaged", findings=tuple(problems))
    return entries


def _damaged(line: int, error: Exception) -> Finding:
    message = f"damaged: {str(error)[:200]}"
    return Finding(
        rule=RULE, severity=Severity.ERROR, message=message, file=LOCK, line=line, hint=_HINT
    )


def write_lock(folder: Path, entries: Iterable[Entry]) -> None:
    """Puts the entries in the place of the file, in one move.

    Raises InfrastructureError where the disk is full or refuses.
    """
    lines = [_line(entry) for entry in sorted(entries, key=lambda entry: entry.image)]
    try:
        write_whole(folder / LOCK, b"".join(lines))
    except OSError as error:
        expected = machine_error(error, folder / LOCK)
        if expected is None:
            raise
        raise expected from error


def _line(entry: Entry) -> bytes:
    """What is not known is left out."""
    told = {key: value for key, value in msgspec.to_builtins(entry).items() if value is not None}
    return canonical_json(told) + b"\n"
