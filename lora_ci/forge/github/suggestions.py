"""Changes that a person can take over with a press: comments at lines of a pull request's diff."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_ci.core.errors import UsageError
from lora_ci.forge.forge import LineComment
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.comments import KEY, same_text
from lora_ci.forge.github.people import Me, Person
from lora_ci.report.markdown import cut

# The lines of a file's new version that one part of its diff shows.
HUNK = re.compile(r"(?m)^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class _Comment:
    """`line` is None once the lines are others."""

    id: int
    body: str
    user: Person | None
    path: str
    line: int | None = None
    start_line: int | None = None


@dataclass(frozen=True, slots=True)
class _File:
    filename: str
    patch: str = ""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Comments with a suggestion; `repo` is the repository's path, `me` tells who we are."""

    client: GitHubClient
    repo: str
    me: Callable[[], Me]

    def suggest(self, number: int, head: str, key: str, change: LineComment | None) -> bool:
        """One suggestion for each key, at lines that the diff shows; False where there is none."""
        if not KEY.fullmatch(key):
            raise UsageError(f"{key!r} is no key of a suggestion")
        marker = f"<!-- lora-ci: suggestion {key} -->"
        ours = self._ours(number, marker)
        if change is None or not self._shown(number, change):
            self._delete(ours)
            return False
        text = cut(f"{marker}\n{change.body}")
        stays = [comment for comment in ours if _place(comment) == _lines(change)]
        self._delete([comment for comment in ours if comment not in stays[:1]])
        if stays:
            return self._update(stays[0], text)
        return self._create(number, head, marker, change, text)

    def _shown(self, number: int, change: LineComment) -> bool:
        """True if one part of the pull request's diff shows all of the lines."""
        path = f"{self.repo}/pulls/{number}/files"
        for page in self.client.pages(path, list[_File]):
            for file in page:
                if file.filename == change.path:
                    return _is_in_one_part(file.patch, change)
        return False

    def _update(self, comment: _Comment, text: str) -> bool:
        if not same_text(comment.body, text):
            self.client.replace("PATCH", self._path(comment), {"body": text}, _Comment)
        return True

    def _create(self, number: int, head: str, marker: str, change: LineComment, text: str) -> bool:
        def look() -> _Comment | None:
            return next(iter(self._ours(number, marker)), None)

        body: dict[str, Any] = {
            "body": text,
            "commit_id": head,
            "path": change.path,
            "side": "RIGHT",
            "line": change.last_line,
        }
        if change.first_line < change.last_line:
            body |= {"start_side": "RIGHT", "start_line": change.first_line}
        try:
            self.client.create(f"{self.repo}/pulls/{number}/comments", body, _Comment, look=look)
        except Refused as refused:
            if refused.status == 422:  # a newer head came in between
                return False
            raise
        return True

    def _delete(self, comments: list[_Comment]) -> None:
        for comment in comments:
            self.client.delete(self._path(comment))

    def _ours(self, number: int, marker: str) -> list[_Comment]:
        """Those of ours with the marker, oldest first."""
        me, path = self.me(), f"{self.repo}/pulls/{number}/comments"
        found = (c for page in self.client.pages(path, list[_Comment]) for c in page)
        ours = (c for c in found if me.wrote(c.user, c.body, marker))
        return sorted(ours, key=lambda comment: comment.id)

    def _path(self, comment: _Comment) -> str:
        return f"{self.repo}/pulls/comments/{comment.id}"


def _place(comment: _Comment) -> tuple[str, int | None, int | None]:
    return comment.path, comment.start_line or comment.line, comment.line


def _lines(change: LineComment) -> tuple[str, int | None, int | None]:
    return change.path, change.first_line, change.last_line


def _is_in_one_part(patch: str, change: LineComment) -> bool:
    for match in HUNK.finditer(patch):
        first, count = int(match[1]), int(match[2] or 1)
        if first <= change.first_line and change.last_line < first + count:
            return True
    return False
