"""GitHub's just-in-time runners: a registration that is good for one job."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 30.0
TRIES = 4
# Longer than this nobody waits for a runner: the process ends, and its supervisor starts it again.
MAX_WAIT_S = 120.0
PAGE = 100
MAX_PAGES = 100

Wait = Callable[[float], None]


class Refused(Exception):  # noqa: N818 - what GitHub did
    """GitHub said no, or nothing; the text says to what, and what to do."""


class Unsure(Refused):
    """Another try may help, after so many seconds if it said so. What was asked may be done."""

    def __init__(self, text: str, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.after_s = after_s


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: the token would go along."""

    def redirect_request(self, *_: object) -> None:
        return None


OPENER = urllib.request.build_opener(_Stay)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom the runner works for: a repository `owner/name`, or an organisation."""

    name: str

    @property
    def path(self) -> str:
        kind = "repos" if "/" in self.name else "orgs"
        return f"/{kind}/{self.name}/actions/runners"

    @property
    def right(self) -> str:
        """The permission that a fine-grained token or an App needs."""
        return "Administration: write" if "/" in self.name else "Self-hosted runners: write"


@dataclass(frozen=True, slots=True)
class Registration:
    """A runner that GitHub knows, and what it must be started with (a secret)."""

    id: int
    name: str
    config: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GitHub:
    """The few calls that a runner needs; `wait` waits that many seconds, or raises."""

    api_url: str
    scope: Scope
    token: str = field(repr=False)
    wait: Wait

    def register(self, name: str, labels: tuple[str, ...], group: int) -> Registration:
        """A new runner called `name` and eight digits. Raises Refused.

        Each try takes a name of its own: where an answer got lost, the runner may be there.
        """

        def body() -> dict[str, Any]:
            return {
                "name": f"{name}-{secrets.token_hex(4)}",
                "runner_group_id": group,
                "labels": list(labels),
                "work_folder": "_work",
            }

        answer = self._ask("POST", f"{self.scope.path}/generate-jitconfig", body)
        runner = answer["runner"]
        return Registration(int(runner["id"]), str(runner["name"]), answer["encoded_jit_config"])

    def remove(self, runner: int) -> None:
        """Takes a runner off the list; one that has gone already is no error. Raises Refused."""
        self._ask("DELETE", f"{self.scope.path}/{runner}")

    def remove_left(self, name: str) -> list[str]:
        """Takes away runners of this name that a killed start left behind. Raises Refused."""
        ours = re.compile(rf"{re.escape(name)}-[0-9a-f]{{8}}")
        removed = []
        for runner in self._listed():
            idle = runner.get("status") == "offline" and not runner.get("busy")
            if idle and ours.fullmatch(str(runner.get("name"))):
                self.remove(int(runner["id"]))
                removed.append(str(runner["name"]))
        return removed

    def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, MAX_PAGES + 1):
            answer = self._ask("GET", f"{self.scope.path}?per_page={PAGE}&page={page}")
            found += answer["runners"]
            if len(answer["runners"]) < PAGE:
                break
        return found

    def _ask(
        self, method: str, path: str, body: Callable[[], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What GitHub answers, asked again where that may help. Raises Refused."""
        for tried in range(TRIES - 1):
            try:
                return self._ask_once(method, path, body() if body else None)
            except Unsure as unsure:
                self.wait(unsure.after_s or 2.0**tried)
        return self._ask_once(method, path, body() if body else None)

    def _ask_once(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            self.api_url.rstrip("/") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "User-Agent": "lora-ci-runner",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            with error:
                if method == "DELETE" and error.code == 404:
                    return {}
                words, asked_s = self._words(method, path, error), _asked_to_wait(error)
            raise (Refused(words) if asked_s is None else Unsure(words, asked_s)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unsure(f"{self.api_url} gives no whole answer: {reason!r}") from None

    def _words(self, method: str, path: str, error: urllib.error.HTTPError) -> str:
        try:
            said = str(json.loads(error.read(65536))["message"])
        except (OSError, ValueError, LookupError, TypeError):
            said = error.reason
        said = "".join(c if c.isprintable() else " " for c in said[:200])
        todo = {
            301: f"`{self.scope.name}` has another name now: set LORA_CI_RUNNER_FOR to it",
            401: "the token is wrong or has expired: make a new one",
            403: f"the token needs the permission `{self.scope.right}`",
            404: f"is `{self.scope.name}` right? the token needs `{self.scope.right}` there",
            422: "see the labels and the runner group",
        }.get(error.code, "try again later; https://www.githubstatus.com")
        return f"{method} {path.partition('?')[0]}: {error.code} {said}\n  next: {todo}"


def _asked_to_wait(error: urllib.error.HTTPError) -> float | None:
    """Seconds to wait before another try, 0 for any; None where none will help."""
    after = error.headers.get("Retry-After", "")
    seconds = float(after) if after.isascii() and after.isdigit() else 0.0
    if seconds > MAX_WAIT_S:
        return None
    if error.code >= 500 or error.code == 429:
        return seconds
    return seconds if error.code == 403 and seconds else None
