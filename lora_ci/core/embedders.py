"""Specs of embedders, such as `path:models/clip`: what is meant, before anything is opened."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

from lora_ci.core.errors import InputError

HUB_TARGET = re.compile(
    r"(?P<hub>[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*)(?:@(?P<revision>.*))?"
)
COMMIT = re.compile(r"[0-9a-f]{40}")
KNOWN = (
    "expected `classic:`, `path:<folder>`, `hf:<owner>/<name>@<commit>`, `onnx:<file>`, "
    "`torchscript:<file>` or `exec:<command>`"
)
LONGEST_SHOWN = 80


class EmbedderKind(StrEnum):
    """What stands before the colon."""

    CLASSIC = "classic"
    PATH = "path"
    HUB = "hf"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    EXEC = "exec"


IN_REPOSITORY = (EmbedderKind.PATH, EmbedderKind.ONNX, EmbedderKind.TORCHSCRIPT)
# A TorchScript file is code like any other, says PyTorch's own SECURITY.md:
# https://github.com/pytorch/pytorch/blob/main/SECURITY.md#torchscript-models
PROGRAMS = (EmbedderKind.TORCHSCRIPT, EmbedderKind.EXEC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSpec:
    """What stands after the colon by kind: a path, a model of the hub, a command line, nothing."""

    kind: EmbedderKind
    target: str

    @property
    def path(self) -> str | None:
        """The folder or file in the repository, if it is one."""
        return self.target if self.kind in IN_REPOSITORY else None

    @property
    def hub(self) -> tuple[str, str] | None:
        """Name and commit of a model on the hub, if it is one."""
        if self.kind is not EmbedderKind.HUB:
            return None
        name, _, revision = self.target.rpartition("@")
        return name, revision

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments, if it is one."""
        return tuple(shlex.split(self.target)) if self.kind is EmbedderKind.EXEC else ()

    @property
    def runs_code(self) -> bool:
        """True if it does what its author likes: `policy.commands` must allow that."""
        return self.kind in PROGRAMS


def parse_embedder(text: str) -> EmbedderSpec:
    """The meaning of a spec. Raises InputError with what to write."""
    name, colon, target = text.partition(":")
    shown = f"`{text[:LONGEST_SHOWN]}`"
    if not colon or name not in set(EmbedderKind):
        raise InputError(f"{shown} is no embedder", hint=KNOWN)
    kind = EmbedderKind(name)
    if kind is EmbedderKind.CLASSIC:
        if target:
            raise InputError(f"{shown} is no embedder", hint="write `classic:`, it takes nothing")
    elif not target.strip():
        raise InputError(f"{shown} names nothing", hint=KNOWN)
    elif kind is EmbedderKind.HUB:
        _check_hub(shown, target)
    elif kind is EmbedderKind.EXEC:
        _check_command(shown, target)
    return EmbedderSpec(kind=kind, target=target)


def _check_hub(shown: str, target: str) -> None:
    found = HUB_TARGET.fullmatch(target)
    if found is None:
        raise InputError(f"{shown} names no model", hint="expected `hf:<owner>/<name>@<commit>`")
    hub, revision = found["hub"], found["revision"]
    if revision is None or not COMMIT.fullmatch(revision):
        message = f"{shown} has no full commit id (40 hexadecimal digits); a branch moves unseen"
        hint = f"next: git ls-remote https://huggingface.co/{hub} HEAD, then `hf:{hub}@<commit>`"
        raise InputError(message, hint=hint)


def _check_command(shown: str, target: str) -> None:
    try:
        words = shlex.split(target)
    except ValueError as error:
        message = f"{shown} is no command line: {str(error).lower()}"
        raise InputError(message, hint="quote as in a shell") from error
    if not words or not words[0]:
        raise InputError(f"{shown} names no program", hint="such as `exec:python /opt/embed.py`")
