"""What lora-ci asks of a git host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.core.step import Outcome
from lora_ci.report.annotations import Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of a commit: `title` is a line of text, `summary` markdown."""

    head: str
    name: str
    outcome: Outcome
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()


class Forge(Protocol):
    """Every call may be made again: it replaces what it made before.

    Calls raise LoraCIError or OSError where the host does not take what is given.
    """

    def publish_report(self, run_id: str, page: str) -> str:
        """Puts the page of a run where people can open it; returns its address."""
        ...

    def publish_picture(self, name: str, png: bytes) -> str:
        """Puts a picture where comments can show it; returns its address, as comments need it."""
        ...

    def upsert_comment(self, number: int, body: str) -> None:
        """The one comment of ours on a pull request."""
        ...

    def publish_check(self, check: Check) -> None:
        """A check of a commit; one of the same name is replaced."""
        ...

    def publish_release(self, tag: str, title: str, notes: str, files: Mapping[str, Path]) -> str:
        """A release with markdown notes and files by name; returns its address."""
        ...
