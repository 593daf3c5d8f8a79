"""Comments of ours on a pull request: one for each marker, wherever it stands among the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lora_ci.core.errors import UsageError
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.people import Me, Person
from lora_ci.report.comment import MARKER
from lora_ci.report.markdown import cut

KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Comment:
    id: int
    body: str | None
    user: Person | None


@dataclass(frozen=True, slots=True)
class Comments:
    """The comments of a repository's pull requests; `repo` is its path, `me` tells who we are."""

    client: GitHubClient
    repo: str
    me: Callable[[], Me]

    def upsert(self, number: int, body: str) -> None:
        """Our one comment on a pull request."""
        self._upsert(number, MARKER, body)

    def reply(self, number: int, key: str, body: str) -> None:
        """One comment for each key."""
        if not KEY.fullmatch(key):
            raise UsageError(f"{key!r} is no key of a reply")
        self._upsert(number, f"<!-- lora-ci: reply {key} -->", body)

    def _upsert(self, number: int, marker: str, body: str) -> None:
        text = cut(body if body.startswith(marker) else f"{marker}\n{body}")
        ours = self._ours(number, marker)
        for double in ours[1:]:
            self.client.delete(self._path(double))
        if not ours or not self._update(ours[0], text):
            self._create(number, marker, text)

    def _update(self, comment: _Comment, text: str) -> bool:
        """Makes a comment say the text; False if somebody deleted it in between."""
        if same_text(comment.body or "", text):
            return True
        try:
            self.client.replace("PATCH", self._path(comment), {"body": text}, _Comment)
        except Refused as refused:
            if refused.status in (404, 410):
                return False
            raise
        return True

    def _create(self, number: int, marker: str, text: str) -> None:
        def look() -> _Comment | None:
            return next(iter(self._ours(number, marker)), None)

        path = f"{self.repo}/issues/{number}/comments"
        self.client.create(path, {"body": text}, _Comment, look=look)

    def _ours(self, number: int, marker: str) -> list[_Comment]:
        """Those of ours with the marker, oldest first."""
        me = self.me()
        path = f"{self.repo}/issues/{number}/comments"
        return sorted(
            (
                comment
                for page in self.client.pages(path, list[_Comment])
                for comment in page
                if me.wrote(comment.user, comment.body or "", marker)
            ),
            key=lambda comment: comment.id,
        )

    def _path(self, comment: _Comment) -> str:
        return f"{self.repo}/issues/comments/{comment.id}"


def same_text(left: str, right: str) -> bool:
    """True if a host that changes ends of lines shows one text."""
    return left.replace("\r\n", "\n").strip() == right.replace("\r\n", "\n").strip()
