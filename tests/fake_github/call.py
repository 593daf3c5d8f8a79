"""One request as routes see it, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.fake_github.state import Repo, Token

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub
    from tests.fake_github.shapes import Shapes


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the fake
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[Any] = (),
        headers: dict[str, str] | None = None,
    ):
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.errors = list(errors)
        self.headers = headers or {}


def not_found() -> Refusal:
    """What GitHub says of all that is not there or not to be seen."""
    return Refusal(404, "Not Found")


def invalid(resource: str, field_name: str, code: str, message: str | None = None) -> Refusal:
    """A request that is understood and wrong."""
    error = {"resource": resource, "field": field_name, "code": code}
    if message:
        error["message"] = message
    return Refusal(422, "Validation Failed", errors=[error])


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; `path` and `query` are still encoded, names of headers lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    data: bytes


@dataclass(slots=True)
class Answer:
    """`body`: bytes are sent as they are, None is no body, anything else is sent as JSON."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, separators=(",", ":")).encode()


@dataclass(slots=True)
class Call:
    """`api` is the address the request came in by; `path` what follows it, as it was sent."""

    hub: FakeGitHub
    method: str
    api: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes
    token: Token | None
    repo_here: Repo | None = None
    shapes: Shapes = field(init=False)

    def __post_init__(self) -> None:
        from tests.fake_github.shapes import Shapes

        self.shapes = Shapes(self.hub, self.api)

    @property
    def repo(self) -> Repo:
        assert self.repo_here is not None, self.path
        return self.repo_here

    @property
    def login(self) -> str:
        """Who asks. Only where a token is needed."""
        assert self.token is not None
        return self.token.login

    def number(self, name: str) -> int:
        """A numeric part of the path."""
        try:
            return int(self.params[name])
        except ValueError:
            raise not_found() from None

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        if not self.data:
            return {}
        try:
            value = json.loads(self.data)
        except ValueError:
            raise Refusal(400, "Problems parsing JSON") from None
        if not isinstance(value, dict):
            raise Refusal(400, "Body should be a JSON object")
        return value

    def page(
        self, items: Sequence[Any], shape: Callable[[Any], Any], key: str | None = None
    ) -> Answer:
        """A page of `items` with GitHub's Link header; below `key` beside the count if given."""
        each = min(max(_whole(self.query.get("per_page"), 30), 1), 100)
        page = max(_whole(self.query.get("page"), 1), 1)
        last = max((len(items) + each - 1) // each, 1)
        shown = [shape(item) for item in items[(page - 1) * each : page * each]]
        links = []
        if page > 1:
            links += [("prev", min(page - 1, last)), ("first", 1)]
        if page < last:
            links += [("next", page + 1), ("last", last)]
        headers = {}
        if links:
            headers["Link"] = ", ".join(f'<{self._page_url(n)}>; rel="{rel}"' for rel, n in links)
        return Answer(200, {"total_count": len(items), key: shown} if key else shown, headers)

    def _page_url(self, page: int) -> str:
        return f"{self.api}{self.path}?{urlencode({**self.query, 'page': page})}"


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default
