"""The state of a training between two steps, on disk: whole, keyed, only the newest two."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lora_ci.training.tensors import save_tensors

NAME = re.compile(r"step-(\d{8})\.safetensors")
KEPT = 2
# Raise it when what a checkpoint holds changes: those of another format are not gone on from.
FORMAT = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`step` steps are done; tensors hold the weights and the optimizer's moments.

    `losses` are means by step, `window` the losses that the next mean is taken over.
    """

    step: int
    losses: list[tuple[int, float]]
    window: list[float]
    tensors: dict[str, torch.Tensor]


def save_checkpoint(folder: Path, fingerprint: str, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint in one move, then drops all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    metadata = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "losses": json.dumps([checkpoint.losses, checkpoint.window]),
    }
    save_tensors(path, checkpoint.tensors, metadata)
    for old in _paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The newest whole checkpoint of this very training; None if there is none.

    What a killed attempt had half written is removed: nobody else works in the folder.
    """
    for torn in folder.glob(".*"):
        torn.unlink()
    for path in _paths(folder):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                known = metadata.get("format"), metadata.get("fingerprint")
                if known != (FORMAT, fingerprint):
                    continue
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            continue
        means, window = json.loads(metadata["losses"])
        losses = [(int(step), float(loss)) for step, loss in means]
        step = int(path.stem.removeprefix("step-"))
        return Checkpoint(step=step, losses=losses, window=window, tensors=tensors)
    return None


def _paths(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in found if NAME.fullmatch(p.name)), reverse=True)
