"""Pictures on a branch of their own, named by what they are, so that comments can show them.

The branch has no history in common with any other, and its commits are made without a clone.
Source: https://docs.github.com/en/rest/git
"""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass

from lora_ci.core.clock import Clock
from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient

BRANCH = "lora-ci-assets"
MAX_BYTES = 10 << 20  # larger ones are not shown in comments
ATTEMPTS = 12
LONGEST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class _Object:
    sha: str


@dataclass(frozen=True, slots=True)
class _Ref:
    object: _Object


@dataclass(frozen=True, slots=True)
class _Commit:
    sha: str
    tree: _Object


@dataclass(frozen=True, slots=True)
class _Content:
    path: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a repository; `repo` is its path, `page` its address for people."""

    client: GitHubClient
    repo: str
    page: str
    clock: Clock
    rng: random.Random

    def publish(self, png: bytes) -> str:
        """Puts a picture there, once; returns its address.

        Raises InputError for one that is too large.
        """
        if len(png) > MAX_BYTES:
            message = f"a picture of {len(png)} bytes; comments show up to {MAX_BYTES}"
            raise InputError(message, hint="next: set fewer prompts or a smaller resolution")
        path = f"pictures/{sha256_bytes(png)}.png"
        blob: str | None = None
        for attempt in range(ATTEMPTS):
            head = self._head()
            if head is not None and self._has(head, path):
                return self._address(head, path)
            if blob is None:
                blob = self._make("blobs", content=_text(png), encoding="base64")
            commit = self._commit(head, path, blob)
            try:
                if self._move(head, commit):
                    return self._address(commit, path)
            except Refused as refused:
                if refused.status != 422 or self._head() == head:
                    raise
            self.clock.sleep(self.rng.uniform(0, min(0.05 * 2**attempt, LONGEST_WAIT_S)))
        raise InfrastructureError(f"branch {BRANCH}: {ATTEMPTS} times another writer was first")

    def _head(self) -> str | None:
        """The branch's commit; None where there is no branch yet."""
        try:
            found = self.client.get(f"{self.repo}/git/ref/heads/{BRANCH}", _Ref)
        except Refused as refused:
            if refused.status in (404, 409):  # 409: a repository without any commit
                return None
            raise
        return found.object.sha

    def _has(self, head: str, path: str) -> bool:
        try:
            self.client.get(f"{self.repo}/contents/{path}", _Content, {"ref": head})
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def _commit(self, head: str | None, path: str, blob: str) -> str:
        entry = {"path": path, "mode": "100644", "type": "blob", "sha": blob}
        if head is None:
            tree, parents = self._make("trees", tree=[entry]), []
        else:
            base = self.client.get(f"{self.repo}/git/commits/{head}", _Commit).tree.sha
            tree, parents = self._make("trees", tree=[entry], base_tree=base), [head]
        return self._make("commits", message=f"Add {path}", tree=tree, parents=parents)

    def _move(self, head: str | None, commit: str) -> bool:
        """Moves the branch to a commit; False if another writer made the branch.

        Raises Refused: another writer moved it, or nobody may.
        """
        if head is None:
            body = {"ref": f"refs/heads/{BRANCH}", "sha": commit}
            made = self.client.create(f"{self.repo}/git/refs", body, _Ref, look=self._ref)
            return made.object.sha == commit
        path = f"{self.repo}/git/refs/heads/{BRANCH}"
        self.client.replace("PATCH", path, {"sha": commit, "force": False}, _Ref)
        return True

    def _ref(self) -> _Ref | None:
        head = self._head()
        return _Ref(_Object(head)) if head else None

    def _make(self, kind: str, **body: object) -> str:
        """A git object; the same one again is no other."""
        return self.client.create(f"{self.repo}/git/{kind}", body, _Object, look=None).sha

    def _address(self, commit: str, path: str) -> str:
        return f"{self.page}/blob/{commit}/{path}?raw=true"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
