"""What lora-ci asks of a git host."""

from __future__ import annotations

from typing import Protocol


class Forge(Protocol):
    """Every call may be made again: it replaces what it made before."""

    def publish_report(self, run_id: str, page: str) -> str:
        """Puts the page of a run where people can open it; returns its address."""
        ...

    def upsert_comment(self, number: int, body: str) -> None:
        """The one comment of ours on a pull request."""
        ...

    def publish_check(self, head: str, name: str, outcome: str, summary: str) -> None:
        """A check of a commit."""
        ...
