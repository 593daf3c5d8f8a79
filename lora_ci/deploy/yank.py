"""Yanked releases: they stay as they were signed, with a mark beside them that says not to use one.

The mark is not signed: whoever may write to the store may set it, and could as well delete the
release. It keeps people from a bad version; signatures keep them from a false one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import InputError, IntegrityError, UsageError
from lora_ci.deploy.release import Name, Text
from lora_ci.deploy.stores import ReleaseStore
from lora_ci.deploy.version import Version

MAX_REASON = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Yank:
    """Which version must not be used any more, why, and since when."""

    schema: Literal["lora-ci.yank/1"] = "lora-ci.yank/1"
    lora: Name
    version: Text
    reason: Text
    at: datetime


def yank(
    stores: tuple[ReleaseStore, ...], lora: str, version: Version, reason: str, now: datetime
) -> Yank:
    """Marks a release in every store; a second call replaces the reason.

    Raises:
        UsageError: no reason, or one that nobody reads to its end.
        InputError: a store has no such release; none was marked.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        hint = f"give one in 1 to {MAX_REASON} characters: it is what people read"
        raise UsageError("there is no reason to show", hint=hint)
    mark = Yank(lora=lora, version=str(version), reason=reason, at=now)
    for store in stores:
        store.manifest(lora, version)
    for store in stores:
        store.yank(lora, version, canonical_json(mark))
    return mark


def read_yank(store: ReleaseStore, lora: str, version: Version) -> Yank | None:
    """The mark of a release; None for one that may be used.

    Raises IntegrityError for a mark that cannot be read: it is one all the same.
    """
    data = store.read_yank(lora, version)
    if data is None:
        return None
    try:
        mark = msgspec.json.decode(data, type=Yank)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{lora} {version} was yanked, by a mark that cannot be read: {error}"
        raise IntegrityError(message, hint="put back its last good copy") from error
    if (mark.lora, mark.version) != (lora, str(version)):
        raise IntegrityError(f"{lora} {version} was yanked, by the mark of another release")
    return mark


def refuse_yanked(store: ReleaseStore, lora: str, version: Version, hint: str) -> None:
    """Raises InputError for a release that was yanked, with its reason."""
    mark = read_yank(store, lora, version)
    if mark is not None:
        message = f"version {version} of {lora} was yanked on {mark.at:%Y-%m-%d}: {mark.reason}"
        raise InputError(message, hint=hint)


def newest_usable(store: ReleaseStore, lora: str) -> Version | None:
    """The highest version without a mark."""
    released = reversed(store.versions(lora))
    return next((v for v in released if store.read_yank(lora, v) is None), None)
