"""Requests to GitHub that are repeated only where that is safe.

What replaces or only reads is repeated. What makes something new is repeated only after a look
whether it was made: GitHub may answer 502 to a request that it carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlencode

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.forge.github.answer import Answer, Refused, Unclear, read_answer
from lora_ci.forge.github.wire import Wire

T = TypeVar("T")

DEADLINE_S = 120.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0
REDIRECTS = 3
PER_PAGE = 100
MOST_PAGES = 1000
REMEMBERED = 64
REMEMBERED_CHARACTERS = 1 << 19


class Auth(Protocol):
    """What the client asks for each request."""

    def authorization(self) -> str:
        """The header of that name."""
        ...

    def renew(self, date: datetime | None) -> bool:
        """After a 401 that came at `date`: True if `authorization` may say something better now."""
        ...


class Unreachable(InfrastructureError):  # noqa: N818 - what GitHub is
    """GitHub did not do it in time."""

    rule = "github.unreachable"


class GitHubClient:
    """One client a thread. All calls raise Refused, Unreachable or InfrastructureError."""

    def __init__(
        self,
        api_url: str,
        auth: Auth,
        clock: Clock,
        rng: random.Random,
        *,
        deadline_s: float = DEADLINE_S,
        timeout_s: float = 30.0,
    ) -> None:
        self._auth = auth
        self._clock = clock
        self._rng = rng
        self._deadline_s = deadline_s
        self._wire = Wire(api_url, timeout_s)
        self._until: float | None = None
        # True after a deadline went by: until GitHub answers again, each call gets one try.
        self._down = False
        self._seen: dict[str, Answer] = {}

    def get(self, path: str, kind: type[T], params: Mapping[str, str | int] | None = None) -> T:
        """The value at a path; asked for only if it is another than last time."""
        return self._read(_with(path, params), kind)[0]

    def pages(
        self, path: str, kind: type[T], params: Mapping[str, str | int] | None = None
    ) -> Iterator[T]:
        """Every page of a list."""
        url: str | None = _with(path, {"per_page": PER_PAGE, **(params or {})})
        for _ in range(MOST_PAGES):
            if url is None:
                return
            page, answer = self._read(url, kind)
            yield page
            url = _next_page(answer.headers.get("link", ""))
        raise InfrastructureError(f"{path}: more than {MOST_PAGES} pages")

    def replace(
        self,
        verb: Literal["PUT", "PATCH"],
        path: str,
        body: Mapping[str, Any],
        kind: type[T],
        *,
        look: Callable[[], T | None] | None = None,
    ) -> T:
        """Changes something. `look` tells if it was done; None: twice has the effect of once."""
        return self._persist(lambda: self._send(verb, path, body), kind, look)

    def delete(self, path: str) -> None:
        """Deletes; what is gone already is deleted."""
        try:
            self._persist(lambda: self._send("DELETE", path), type(None))
        except Refused as refused:
            if refused.status != 404:
                raise

    def create(
        self,
        path: str,
        body: Mapping[str, Any],
        kind: type[T],
        *,
        look: Callable[[], T | None] | None,
    ) -> T:
        """Makes something once. `look` finds what this would make; None: a second does no harm."""
        return self._persist(lambda: self._send("POST", path, body), kind, look)

    def create_once(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        """Asks for something new a single time. Raises Unreachable: it may have been made."""
        try:
            return read_answer(self._send("POST", path, body), kind)
        except Unclear as problem:
            raise Unreachable(str(problem), hint="next: look whether it was made") from problem

    def upload(self, url: str, file: Path, kind: type[T], *, look: Callable[[], T | None]) -> T:
        """Sends a file from the disk to an address that GitHub gave."""
        return self._persist(lambda: self._authorized(self._wire.upload, url, file), kind, look)

    def download(self, path: str, into: Path, *, limit_bytes: int) -> None:
        """Writes what is at a path to a file. Raises InfrastructureError if it is over the limit.

        Where GitHub sends the reader on, the token stays here.
        """

        def fetch(headers: dict[str, str]) -> Answer:
            return self._wire.download(path, into, headers, limit_bytes)

        self._persist(lambda: self._authorized(fetch), type(None))

    def _read(self, url: str, kind: type[T]) -> tuple[T, Answer]:
        """A value and the answer that it came with."""
        known = self._seen.get(url)
        last: list[Answer] = []

        def send() -> Answer:
            answer = self._send("GET", url, known=known)
            if answer.status == 304 and known is not None:
                answer = known
            last[:] = [answer]
            return answer

        value = self._persist(send, kind)
        self._remember(url, last[0])
        return value, last[0]

    def _remember(self, url: str, answer: Answer) -> None:
        self._seen.pop(url, None)
        if "etag" in answer.headers and len(answer.text) <= REMEMBERED_CHARACTERS:
            self._seen[url] = answer
            if len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]

    def _persist(
        self,
        send: Callable[[], Answer],
        kind: type[T],
        look: Callable[[], T | None] | None = None,
    ) -> T:
        """Tries until there is a value, GitHub says no, or the time is up."""
        with self._deadline() as until:
            for attempt in count():
                try:
                    value = read_answer(send(), kind)
                except Unclear as problem:
                    self._wait(problem, attempt, until)
                    found = look() if look and not problem.limited else None
                    if found is not None:
                        return found
                except Refused as refused:
                    found = look() if look and refused.status == 422 else None
                    if found is not None:
                        return found
                    raise
                else:
                    self._down = False
                    return value
        raise AssertionError("unreachable")

    @contextmanager
    def _deadline(self) -> Iterator[float]:
        """When a call must be done, with all the calls that it makes itself."""
        outer = self._until
        if outer is not None:
            yield outer
            return
        self._until = self._clock.monotonic() + (0.0 if self._down else self._deadline_s)
        try:
            yield self._until
        finally:
            self._until = None

    def _wait(self, problem: Unclear, attempt: int, until: float) -> None:
        """Waits before the next try. Raises Unreachable if there is no time for one."""
        longest = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
        wait_s = longest * self._rng.uniform(0.5, 1.0)
        if problem.wait_s is not None:
            wait_s = problem.wait_s + self._rng.uniform(0.0, 1.0)
        if self._clock.monotonic() + wait_s > until:
            self._down = True
            hint = "the same command again goes on; https://www.githubstatus.com tells of outages"
            if problem.limited:
                hint = f"too many requests: the same command again, in {problem.wait_s:.0f} s"
            raise Unreachable(str(problem), hint=hint) from problem
        self._clock.sleep(wait_s)

    def _send(
        self,
        verb: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        known: Answer | None = None,
    ) -> Answer:
        extra = {"If-None-Match": known.headers["etag"]} if known else {}
        answer = self._authorized(self._exchange, verb, path, body, extra)
        for _ in range(REDIRECTS):
            if answer.status not in (307, 308):
                break
            path = answer.headers.get("location", "")
            answer = self._authorized(self._exchange, verb, path, body, extra)
        return answer

    def _exchange(
        self,
        verb: str,
        path: str,
        body: Mapping[str, Any] | None,
        extra: Mapping[str, str],
        headers: dict[str, str],
    ) -> Answer:
        return self._wire.exchange(verb, path, body, headers | dict(extra))

    def _authorized(self, ask: Callable[..., Answer], *args: object) -> Answer:
        """Asks in our name, once more if a new proof of who we are may help."""
        answer = ask(*args, {"Authorization": self._auth.authorization()})
        if answer.status == 401 and self._auth.renew(answer.date):
            answer = ask(*args, {"Authorization": self._auth.authorization()})
        return answer


def _with(path: str, params: Mapping[str, str | int] | None) -> str:
    return f"{path}?{urlencode(params)}" if params else path


def _next_page(link: str) -> str | None:
    """The address that a `Link` header calls next."""
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            return address.strip().removeprefix("<").removesuffix(">")
    return None
