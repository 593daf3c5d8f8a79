"""Release tags, `mei@v1.2.0`. Source: the GTO grammar, https://dvc.org/doc/gto"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAG = re.compile(
    r"(?P<lora>[a-z0-9][a-z0-9._-]*)@v(?P<version>(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-[0-9A-Za-z.-]+)?)"
)


@dataclass(frozen=True, slots=True)
class ReleaseTag:
    """A LoRA and the version it is to be released as."""

    lora: str
    version: str


def parse_tag(tag: str) -> ReleaseTag | None:
    """The release a tag asks for; None for a tag that is none of ours."""
    match = TAG.fullmatch(tag)
    return ReleaseTag(match["lora"], match["version"]) if match else None
