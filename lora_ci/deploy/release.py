"""The release manifest, `release.json`: a value ↔ the one text that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import InputError, IntegrityError
from lora_ci.core.settings import LoraType
from lora_ci.deploy.version import Level, Version, parse_version
from lora_ci.signing.envelope import FILE_NAME as SIGNATURE

MANIFEST = "release.json"
CARD = "README.md"
MAX_BYTES = 1024 * 1024

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
FileName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Text = Annotated[str, Meta(max_length=2000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an adapter was made from: where it lay in the repository, and what it was."""

    path: Text
    content_id: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What QA measured, and with which ruler."""

    metrics: Annotated[Mapping[Text, float], Meta(max_length=500)]
    ruler: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A file of the release; `size` in bytes."""

    name: FileName
    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """All that a release says of itself. It is a function of what is released, without the time."""

    schema: Literal["lora-ci.release/1"] = "lora-ci.release/1"
    lora: Name
    version: Text
    base_model: Source
    trigger: Text
    type: LoraType
    recommended_weight: float | None
    dataset: Source
    fingerprints: Annotated[Mapping[Text, Text], Meta(max_length=50)]
    qa: Quality
    license: Text | None
    commit: Text
    files: Annotated[tuple[ReleaseFile, ...], Meta(min_length=1, max_length=64)]

    @property
    def number(self) -> Version:
        """The version as a value."""
        return parse_version(self.version)

    def file(self, name: str) -> ReleaseFile | None:
        """The file called `name`, if it is part of the release."""
        return next((f for f in self.files if f.name == name), None)

    @property
    def adapter(self) -> str | None:
        """sha256 of the adapter in the diffusers format."""
        found = self.file(diffusers_name(self.lora))
        return found.sha256 if found else None


def diffusers_name(lora: str) -> str:
    """The file that diffusers loads."""
    return f"{lora}.safetensors"


def kohya_name(lora: str) -> str:
    """The file that ComfyUI and A1111 load."""
    return f"{lora}-kohya.safetensors"


def parse_release(data: bytes) -> Release:
    """The manifest in a text that nobody vouches for yet.

    Raises:
        IntegrityError: another form, fields that are not known, names that are no plain file's, or
            not the one text that stands for the value.
    """
    if len(data) > MAX_BYTES:
        raise IntegrityError(f"{MANIFEST}: larger than {MAX_BYTES} bytes")
    try:
        release = msgspec.json.decode(data, type=Release)
        parse_version(release.version)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError) as error:
        raise IntegrityError(f"{MANIFEST}: no release manifest: {error}") from error
    names = [f.name.casefold() for f in release.files]
    taken = {MANIFEST, SIGNATURE.casefold()}
    if len(set(names)) != len(names) or taken & set(names):
        raise IntegrityError(f"{MANIFEST}: a file is listed twice, or lists itself")
    if render_release(release) != data:
        message = f"{MANIFEST}: has fields that {release.schema} does not know, or is not canonical"
        raise IntegrityError(message)
    return release


def render_release(release: Release) -> bytes:
    """The manifest's text."""
    return canonical_json(release)


def change_since(newest: Release, candidate: Release) -> tuple[Level, str]:
    """How much a candidate changes for those who use the newest release, and what it is."""
    if newest.base_model.content_id != candidate.base_model.content_id:
        return Level.MAJOR, "the base model changed"
    if newest.trigger != candidate.trigger:
        return Level.MAJOR, "the trigger changed"
    if newest.adapter != candidate.adapter:
        return Level.MINOR, "the adapter was trained again"
    return Level.PATCH, "the adapter is the same"
