"""Versions, and which one a release must have. Source: https://semver.org/spec/v2.0.0.html"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import total_ordering

from lora_ci.core.errors import InputError

MAX_LENGTH = 64
NUMBER = r"(?:0|[1-9][0-9]*)"
IDENTIFIER = rf"(?:{NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
PATTERN = re.compile(rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-({IDENTIFIER}(?:\.{IDENTIFIER})*))?")


class Level(IntEnum):
    """How much a release changes for those who use it."""

    PATCH = 0
    MINOR = 1
    MAJOR = 2


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version without build metadata, which has no order: it could not say what is newer."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @property
    def core(self) -> Version:
        """The release that this pre-release leads to; itself if it is none."""
        return Version(self.major, self.minor, self.patch)

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(self.pre)}" if self.pre else text

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return _precedence(self) < _precedence(other)


def parse_version(text: str) -> Version:
    """`1.2.0` or `1.2.0-rc.1` as a value. Raises InputError."""
    match = PATTERN.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise InputError(
            f"{text[:MAX_LENGTH]!r} is no version",
            hint="expected such as 1.2.0 or 1.2.0-rc.1 (semver.org), without build metadata",
        )
    major, minor, patch, pre = match.groups()
    return Version(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else ())


def next_version(version: Version, level: Level) -> Version:
    """The lowest release above `version` that says `level`.

    A pre-release says it already if its core does: 2.0.0-rc.1 leads to 2.0.0 at any level.
    """
    core = version.core
    if version.pre and level <= _level_of(core):
        return core
    match level:
        case Level.MAJOR:
            return Version(core.major + 1, 0, 0)
        case Level.MINOR:
            return Version(core.major, core.minor + 1, 0)
        case Level.PATCH:
            return Version(core.major, core.minor, core.patch + 1)


def check_version(lora: str, wanted: Version, newest: Version, level: Level, why: str) -> None:
    """Lets a new version pass: above the newest release, and by at least `level`, because of `why`.

    Major version zero may change anything at any time (SemVer §4): there, above is enough.
    Raises InputError with the version that it should be.
    """
    proposed = next_version(newest, level)
    hint = f"next: git tag {lora}@v{proposed} && git push --tags"
    if wanted <= newest:
        raise InputError(f"version {wanted} of {lora} is not above {newest}, released", hint=hint)
    if newest.major > 0 and wanted.core < proposed.core:
        message = f"version {wanted} of {lora}: {why} since {newest}, which asks for {proposed}"
        raise InputError(message, hint=hint)


def _level_of(core: Version) -> Level:
    """What a release says of itself by its zeros."""
    if core.patch:
        return Level.PATCH
    return Level.MINOR if core.minor else Level.MAJOR


def _precedence(version: Version) -> tuple[object, ...]:
    """A key in the order of SemVer §11: numbers before words, fewer fields before more."""
    fields = tuple((0, int(f), "") if f.isdigit() else (1, 0, f) for f in version.pre)
    return (version.major, version.minor, version.patch, not version.pre, fields)
