"""How many requests a token has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_github.state import Token

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

WINDOW_S = 3600
ANONYMOUS = 60


def window(hub: FakeGitHub, token: Token | None) -> dict[str, int]:
    """The hour's window as `GET /rate_limit` tells it."""
    limit, used = (token.limit, token.used) if token else (ANONYMOUS, 0)
    reset = (int(hub.now()) // WINDOW_S + 1) * WINDOW_S
    return {"limit": limit, "used": used, "remaining": max(limit - used, 0), "reset": reset}


def headers(hub: FakeGitHub, token: Token | None) -> dict[str, str]:
    """The same on every answer."""
    now = window(hub, token)
    found = {f"X-RateLimit-{name.capitalize()}": str(value) for name, value in now.items()}
    return {**found, "X-RateLimit-Resource": "core"}


def spend(token: Token | None) -> bool:
    """Counts a request; False if none was left.

    The real limits (1,000 an hour for a workflow) would stop a test of thousands of requests: a
    token runs out only if the test says so by `Token.limited`.
    """
    if token is None:
        return True
    if token.limited and token.used >= token.limit:
        return False
    token.used += 1
    return True
