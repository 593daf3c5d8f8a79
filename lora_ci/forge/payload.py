"""GitHub's webhook and workflow payloads → what happened. Pure; a payload is foreign text.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lora_ci.core.errors import UsageError
from lora_ci.core.event import EventKind, Trust

MAX_BYTES = 25 * 1024 * 1024  # GitHub's own cap for a payload
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
ZERO = re.compile(r"0+")
# It goes on to jobs as a variable of theirs, and the system has a limit for one of those.
MOST_MESSAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What a payload says; commits are ids that may not be here yet. None: not said."""

    kind: EventKind
    repo: str
    head: str | None = None
    base: str | None = None
    before: str | None = None
    ref: str | None = None
    default_branch: str | None = None
    actor: str | None = None
    trust: Trust = Trust.TRUSTED
    number: int | None = None
    tag: str | None = None
    message: str = ""


def parse_payload(data: bytes, name: str | None, file: str) -> Announced:
    """The event of a payload; `name` is GitHub's for it, guessed from the keys if None.

    Raises UsageError for what is no payload, or asks for nothing that a plan could tell.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{file}: {len(data)} bytes; a payload has at most {MAX_BYTES}")
    try:
        payload = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not JSON: {error}", hint=_hint(name)) from error
    if not isinstance(payload, dict):
        raise UsageError(f"{file}: no payload of an event", hint=_hint(name))
    try:
        return _event(_Fields(payload, file), name or _guess(payload))
    except _Missing as error:
        raise UsageError(f"{file}: `{error}` is not what GitHub sends", hint=_hint(name)) from error


class _Missing(Exception):  # noqa: N818 - only travels a few lines
    """A field that is not there, or of another kind."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """Fields by dotted path."""

    payload: Mapping[str, Any]
    file: str

    def get(self, path: str) -> Any:
        found: Any = self.payload
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def text(self, path: str) -> str:
        found = self.get(path)
        if not isinstance(found, str) or not found:
            raise _Missing(path)
        return found

    def maybe(self, path: str) -> str | None:
        found = self.get(path)
        return found if isinstance(found, str) and found else None

    def commit(self, path: str) -> str:
        found = self.text(path)
        if not COMMIT.fullmatch(found):
            raise _Missing(path)
        return found


def _guess(payload: Mapping[str, Any]) -> str:
    """The event's name by the keys that only it has."""
    for key, name in (("pull_request", "pull_request"), ("comment", "issue_comment")):
        if key in payload:
            return name
    if "schedule" in payload:
        return "schedule"
    if "inputs" in payload or "workflow" in payload:
        return "workflow_dispatch"
    return "push" if "before" in payload and "after" in payload else "?"


def _event(fields: _Fields, name: str) -> Announced:
    repo = fields.text("repository.full_name")
    known: dict[str, Any] = {
        "repo": repo,
        "default_branch": fields.maybe("repository.default_branch"),
        "actor": fields.maybe("sender.login"),
    }
    match name:
        case "push":
            return _push(fields, known)
        case "pull_request":
            return _pull_request(fields, known)
        case "schedule":
            return Announced(kind=EventKind.SCHEDULE, **known)
        case "workflow_dispatch":
            return Announced(kind=EventKind.MANUAL, ref=fields.maybe("ref"), **known)
        case "pull_request_target":
            message = (
                "pull_request_target would run a stranger's commit with this repository's rights"
            )
            raise UsageError(message, hint="use `on: pull_request`")
        case _:
            message = f"{fields.file}: event `{name}` starts no plan"
            expected = "expected push, pull_request, schedule or workflow_dispatch"
            raise UsageError(message, hint=expected)


def _push(fields: _Fields, known: dict[str, Any]) -> Announced:
    ref, after = fields.text("ref"), fields.commit("after")
    if ZERO.fullmatch(after) or fields.get("deleted") is True:
        raise UsageError(f"{ref} was deleted: there is nothing to plan", hint="nothing to do")
    if ref.startswith("refs/tags/"):
        tag = ref.removeprefix("refs/tags/")
        # `after` is the tag object of an annotated tag; its commit stands beside it.
        head = fields.maybe("head_commit.id") or after
        if not COMMIT.fullmatch(head):
            raise _Missing("head_commit.id")
        return Announced(kind=EventKind.TAG, head=head, ref=ref, tag=tag, **known)
    before = fields.commit("before")
    return Announced(
        kind=EventKind.PUSH,
        head=after,
        before=None if ZERO.fullmatch(before) else before,
        ref=ref,
        message=(fields.maybe("head_commit.message") or "")[:MOST_MESSAGE],
        **known,
    )


def _pull_request(fields: _Fields, known: dict[str, Any]) -> Announced:
    number = fields.get("pull_request.number")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _Missing("pull_request.number")
    # A fork that was deleted since has no repository any more: nobody's push is a foreign one.
    own = fields.maybe("pull_request.head.repo.full_name") == known["repo"]
    return Announced(
        kind=EventKind.PULL_REQUEST,
        head=fields.commit("pull_request.head.sha"),
        base=fields.commit("pull_request.base.sha"),
        ref=fields.maybe("pull_request.head.ref"),
        number=number,
        trust=Trust.TRUSTED if own else Trust.UNTRUSTED,
        message=(fields.maybe("pull_request.title") or "")[:MOST_MESSAGE],
        **known,
    )


def _hint(name: str | None) -> str:
    told = f"of the event `{name}`" if name else "of a workflow or a webhook"
    return f"expected the JSON {told}, such as the file that GITHUB_EVENT_PATH names"
