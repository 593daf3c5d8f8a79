"""What GitHub answered → a value, a refusal, or a try that may be made again. Pure.

Source: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.text import clean

T = TypeVar("T")

REPEATED = (500, 502, 503, 504)
# What GitHub asks for where a secondary limit comes without a time.
SECONDARY_WAIT_S = 60.0
MAX_QUOTED = 300
SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response; the names of `headers` are lower case. `what` was asked: `GET /user`."""

    what: str
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def date(self) -> datetime | None:
        """GitHub's own time."""
        try:
            told = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return None
        return told if told.tzinfo else told.replace(tzinfo=UTC)


class Refused(InfrastructureError):  # noqa: N818 - what GitHub does
    """GitHub said no; the same again would get the same answer."""

    rule = "github.refused"

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status

    @property
    def is_forbidden(self) -> bool:
        """True if another token might; GitHub hides by 404 what a token may not see."""
        return self.status in (401, 403, 404)


class Unclear(Exception):  # noqa: N818 - never leaves the client
    """A try that failed and may be made again, after `wait_s` if GitHub says so.

    `limited`: GitHub did nothing, for too much was asked of it.
    """

    def __init__(self, what: str, *, wait_s: float | None = None, limited: bool = False) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.limited = limited


def read_answer(answer: Answer, kind: type[T]) -> T:
    """The value in an answer.

    Raises:
        Refused: GitHub said no.
        Unclear: it may say something else when asked again.
        InfrastructureError: it is no answer of GitHub's.
    """
    if answer.status >= 300:
        _complain(answer)
    if kind is type(None):
        return kind()
    try:
        return msgspec.json.decode(answer.text, type=kind)
    except msgspec.ValidationError as error:
        message = f"{answer.what}: not what GitHub answers: {clean(str(error))}"
        raise InfrastructureError(message, hint="is GITHUB_API_URL right?") from error
    except msgspec.DecodeError as error:
        raise Unclear(f"{answer.what}: an answer that breaks off") from error


def _complain(answer: Answer) -> None:
    """Raises what an answer without a value means."""
    told = _told(answer.text)
    what = f"{answer.what}: GitHub says {answer.status} {told}".rstrip()
    wait_s = _asked_wait_s(answer, told)
    if wait_s is not None and answer.status in (403, 429):
        raise Unclear(what, wait_s=wait_s, limited=True)
    if answer.status in REPEATED:
        raise Unclear(what, wait_s=wait_s)
    raise Refused(answer.status, what, _hint(answer))


class _Trouble(msgspec.Struct):
    message: str = ""
    errors: list[object] = []


def _told(text: str) -> str:
    """GitHub's own words."""
    try:
        trouble = msgspec.json.decode(text, type=_Trouble)
    except msgspec.DecodeError:
        return ""
    words = [trouble.message]
    for error in trouble.errors[:5]:
        fields = error.values() if isinstance(error, dict) else [error]
        words.append(" ".join(str(field) for field in fields))
    return clean("; ".join(word for word in words if word))[:MAX_QUOTED]


def _asked_wait_s(answer: Answer, told: str) -> float | None:
    """How long GitHub wants to be left alone; None if it does not say.

    Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    headers = answer.headers
    after = headers.get("retry-after", "")
    if SECONDS.fullmatch(after):
        return float(after)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and SECONDS.fullmatch(reset):
        # Both times are GitHub's: this machine's clock does not matter.
        now = answer.date.timestamp() if answer.date else float(reset) - SECONDARY_WAIT_S
        return max(1.0, float(reset) - now + 1.0)
    if answer.status == 429 or "rate limit" in told.lower():
        return SECONDARY_WAIT_S
    return None


def _hint(answer: Answer) -> str:
    match answer.status:
        case 401:
            return "the token is wrong, expired or revoked; for an App: its id, key and clock"
        case 403:
            return _permission_hint(answer.headers)
        case 404 | 410:
            return "deleted, renamed, or hidden from this token: look at it in a browser"
        case 301 | 302 | 307 | 308:
            return "it moved to another host: correct GITHUB_API_URL and the repository's name"
        case _:
            return "is GITHUB_API_URL right?"


def _permission_hint(headers: Mapping[str, str]) -> str:
    """What to type so that it is allowed; alternatives stand between semicolons."""
    ways = clean(headers.get("x-accepted-github-permissions", "")).split(";")
    # Comments of pull requests are issues' as well; the workflow grants the narrower one.
    needed = next((way for way in ways if "pull_requests" in way), ways[0])
    rights = [right.strip().replace("_", "-").split("=") for right in needed.split(",")]
    pairs = ", ".join(f"{right[0]}: {right[1]}" for right in rights if len(right) == 2)
    if pairs:
        return (
            f"the token lacks a permission; in the workflow: `permissions: {{{pairs}}}` "
            "(a pull request of a fork has a read-only token)"
        )
    scopes = clean(headers.get("x-accepted-oauth-scopes", ""))
    return f"the token lacks a permission{f'; one of the scopes {scopes}' if scopes else ''}"
