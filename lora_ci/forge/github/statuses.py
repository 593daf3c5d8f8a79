"""Commit statuses: what is left where a token may make no checks. The newest of a name counts.

Source: https://docs.github.com/en/rest/commits/statuses
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Check
from lora_ci.forge.github.client import GitHubClient

MOST_DESCRIPTION = 140
STATES = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failure",
    Outcome.INCONCLUSIVE: "error",
    Outcome.ERROR: "error",
    Outcome.INTERRUPTED: "error",
}


@dataclass(frozen=True, slots=True)
class Status:
    """A status as GitHub has it."""

    context: str
    state: str
    description: str | None = None
    target_url: str | None = None


@dataclass(frozen=True, slots=True)
class Statuses:
    """The statuses of a repository's commits; `repo` is its path."""

    client: GitHubClient
    repo: str

    def publish(self, check: Check, address: str | None) -> None:
        """Shows a check in a line; `address` is where its details are."""
        url = address if address and address.startswith(("https://", "http://")) else None
        status = Status(
            context=check.name,
            state=STATES[check.outcome] if check.outcome else "pending",
            description=check.title[:MOST_DESCRIPTION],
            target_url=url,
        )

        def look() -> Status | None:
            return status if self._newest(check.head, check.name) == status else None

        if look() is None:
            body: dict[str, Any] = {
                "context": status.context,
                "state": status.state,
                "description": status.description,
            }
            if url:
                body["target_url"] = url
            self.client.create(f"{self.repo}/statuses/{check.head}", body, Status, look=look)

    def _newest(self, head: str, context: str) -> Status | None:
        pages = self.client.pages(f"{self.repo}/commits/{quote(head)}/statuses", list[Status])
        return next((s for page in pages for s in page if s.context == context), None)
