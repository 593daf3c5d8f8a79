"""A client that does nothing of its own, for tests that look at what the fake answers."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.fake_github import FakeGitHub

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def ask(
    hub: FakeGitHub,
    line: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> Heard:
    """Sends `METHOD /path` and `body` (JSON unless it is bytes) once."""
    method, _, path = line.partition(" ")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} if data is not None else {}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(urlsplit(hub.web_url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, data, sent | (headers or {}))
        answer = connection.getresponse()
        kept = {name.lower(): value for name, value in answer.getheaders()}
        return Heard(answer.status, kept, answer.read())
    finally:
        connection.close()
