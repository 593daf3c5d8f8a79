"""Captions in `metadata.jsonl`, one JSON object a line, as Hugging Face's image folders have them.

`{"file_name": "a.png", "text": "…"}` names an image at or below the folder of the file; other keys
are left alone. A text file beside an image goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from lora_ci.core.finding import Finding, Severity

METADATA = "metadata.jsonl"
# Endings of the text file beside an image, the first that is there counts.
SIDECARS = (".txt", ".caption")
RULE = "caption.metadata"
MAX_METADATA_BYTES = 64 * 1024 * 1024
# A file of another kind under this name has millions of lines; that many say enough of it.
MOST_BAD_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text and where it stands."""

    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Captions by the path of the image below the dataset; a finding for each line that is none."""

    captions: Mapping[str, Caption]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    file_name: str
    text: str


def is_metadata(path: str) -> bool:
    """True for the path of such a file."""
    return path.rpartition("/")[2] == METADATA


def parse_metadata(files: Mapping[str, bytes]) -> Listed:
    """What all such files of a dataset say, by their paths; the one nearest to an image counts."""
    captions: dict[str, Caption] = {}
    findings: list[Finding] = []
    for file in sorted(files, key=lambda path: (path.count("/"), path)):
        own: dict[str, Caption] = {}
        bad = 0
        for number, line in enumerate(files[file].removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line, type=_Row)
                image = _image(row.file_name, file.rpartition("/")[0])
                if image in own:
                    raise ValueError(
                        f"{row.file_name[:80]!r} stands in line {own[image].line} already"
                    )
            except (ValueError, RecursionError) as error:
                findings.append(_finding(file, number, str(error)))
                bad += 1
                if bad == MOST_BAD_LINES:
                    findings.append(_finding(file, number, "nor is any line read after this one"))
                    break
                continue
            own[image] = Caption(text=row.text.strip(), file=file, line=number)
        captions |= own
    return Listed(captions=captions, findings=tuple(findings))


def _image(name: str, folder: str) -> str:
    """The path of an image below the dataset. Raises ValueError for one elsewhere."""
    parts = name.removeprefix("./").split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name[:80]!r} is no path below the folder of {METADATA}")
    return "/".join([folder, *parts] if folder else parts)


def _finding(file: str, line: int, problem: str) -> Finding:
    return Finding(
        rule=RULE,
        severity=Severity.ERROR,
        message=f"no caption: {problem}",
        file=file,
        line=line,
        hint='expected such as {"file_name": "a.png", "text": "what is in the picture"}',
    )
