"""The state of a training between two steps, on disk: whole, keyed, verified, the newest two."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lora_ci.core.finding import Finding, Severity
from lora_ci.training.tensors import save_tensors

NAME = re.compile(r"step-(\d{8})\.safetensors")
KEPT = 2
# Raise it when what a checkpoint holds changes: those of another format are not gone on from.
FORMAT = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`step` steps are done; `notes` is all of the state that is no tensor, as JSON."""

    step: int
    tensors: Mapping[str, torch.Tensor]
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The newest whole checkpoint, and the files that were passed over as damaged."""

    checkpoint: Checkpoint | None
    damaged: tuple[str, ...] = ()

    def findings(self) -> tuple[Finding, ...]:
        """One for all damaged files."""
        if not self.damaged:
            return ()
        start = f"step {self.checkpoint.step}" if self.checkpoint else "the beginning"
        message = f"{', '.join(self.damaged)}: damaged, went on from {start} instead"
        hint = "the adapter is the same; does the disk lose data? next: lora-ci doctor"
        rule = "train.checkpoint-damaged"
        return (Finding(rule=rule, severity=Severity.WARNING, message=message, hint=hint),)


def save_checkpoint(folder: Path, fingerprint: str, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint in one move, then drops all but the newest two. Raises OSError."""
    write_state(folder, fingerprint, checkpoint)
    for old in _paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path, fingerprint: str, *, tidy: bool = True) -> Found:
    """The newest whole checkpoint of this very training.

    `tidy` removes what a killed attempt had half written, and what was passed over: it would
    count as newer than what is saved next. Nobody else writes to the folder.
    """
    for torn in folder.glob(".*") if tidy else ():
        torn.unlink()
    found = newest_state(folder, fingerprint)
    reached = found.checkpoint.step if found.checkpoint else -1
    for path in _paths(folder) if tidy else ():
        if _step_of(path) > reached:
            path.unlink()
    return found


def write_state(folder: Path, key: str, checkpoint: Checkpoint) -> Path:
    """Writes the file in one move; the file. Raises OSError, with what was there untouched."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    notes = json.dumps(checkpoint.notes, sort_keys=True)
    metadata = {
        "format": FORMAT,
        "fingerprint": key,
        "notes": notes,
        "sha256": _digest(key, checkpoint.step, notes, checkpoint.tensors),
    }
    save_tensors(path, checkpoint.tensors, metadata)
    return path


def newest_state(folder: Path, key: str, at_most: int | None = None) -> Found:
    """The furthest whole state of `key` in a folder, of `at_most` so many steps."""
    damaged = []
    for path in _paths(folder):
        step = _step_of(path)
        if at_most is not None and step > at_most:
            continue
        try:
            checkpoint = _read(path, step, key)
        except (SafetensorError, OSError, ValueError, KeyError):
            damaged.append(path.name)
            continue
        if checkpoint:
            return Found(checkpoint=checkpoint, damaged=tuple(damaged))
    return Found(checkpoint=None, damaged=tuple(damaged))


def _read(path: Path, step: int, key: str) -> Checkpoint | None:
    """The file; None for one of another training. Raises ValueError for bytes that changed."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if (metadata.get("format"), metadata.get("fingerprint")) != (FORMAT, key):
            return None
        # Copied: what is mapped would change with the file.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if metadata["sha256"] != _digest(key, step, metadata["notes"], tensors):
        raise ValueError(f"{path.name}: not the bytes that were written")
    return Checkpoint(step=step, tensors=tensors, notes=json.loads(metadata["notes"]))


def _digest(key: str, step: int, notes: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Over everything that is read again: safetensors itself has no checksum."""
    digest = hashlib.sha256(json.dumps([FORMAT, key, step, notes]).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _paths(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in found if NAME.fullmatch(p.name)), reverse=True)
