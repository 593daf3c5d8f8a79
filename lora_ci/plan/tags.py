"""Tags that release: `mei@v1.2.0`, and that move a channel: `mei#prod`.

Source: the GTO grammar, https://dvc.org/doc/gto
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = r"(?P<lora>[a-z0-9][a-z0-9._-]*)"
NUMBER = r"(0|[1-9]\d*)"
RELEASE = re.compile(rf"{NAME}@v(?P<version>{NUMBER}\.{NUMBER}\.{NUMBER}(-[0-9A-Za-z.-]+)?)")
# GTO ends a channel tag with a counter, as git has each tag once; it says nothing else.
CHANNEL = re.compile(rf"{NAME}#(?P<channel>[a-z][a-z0-9-]{{0,63}})(#\d+)?")


@dataclass(frozen=True, slots=True)
class ReleaseTag:
    """A LoRA and the version it is to be released as."""

    lora: str
    version: str


@dataclass(frozen=True, slots=True)
class ChannelTag:
    """A LoRA and the channel that is to point at the release of the tagged commit."""

    lora: str
    channel: str


def parse_tag(tag: str) -> ReleaseTag | ChannelTag | None:
    """What a tag asks for; None for a tag that is none of ours."""
    if match := RELEASE.fullmatch(tag):
        return ReleaseTag(match["lora"], match["version"])
    if match := CHANNEL.fullmatch(tag):
        return ChannelTag(match["lora"], match["channel"])
    return None
