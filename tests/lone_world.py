"""An adapter file for the shipped base, and a question about it that is answered in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lora_ci.diffusion.outline import base_shapes
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import random_adapter

EMOJI = Path(__file__).parents[1] / "examples" / "emoji"
SUBJECTS = ("polar bear", "crab", "red heart")
METADATA = {"modelspec.trigger_phrase": "fluent3d", "modelspec.title": "fluent3d"}
Change = Callable[[torch.Tensor], torch.Tensor]


def write_file(path: Path, *, seed: int = 1) -> Path:
    """An adapter that changes what the base draws a little."""
    shapes = {
        name: shape
        for name, shape in base_shapes(EMOJI / "base").items()
        if ".mid_block." in f".{name}" and name.endswith(("attn1.to_q", "attn1.to_v"))
    }
    made = random_adapter(shapes, seed=seed, metadata=METADATA)
    layers = {name: replace(layer, up=layer.up * 0.1) for name, layer in made.layers.items()}
    write_adapter(replace(made, layers=layers), path, Format.DIFFUSERS)
    return path


def write_changed(file: Path, path: Path, change: Change, metadata: dict[str, str]) -> Path:
    """The file with other second matrices, as a tool would write it that checks nothing."""
    tensors = {
        name: change(tensor).contiguous() if "lora_B" in name else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, path, metadata)
    return path


@dataclass(frozen=True, slots=True)
class Question:
    """A folder of few references, and the options that name all."""

    root: Path

    def words(self, adapter: Path | str, *further: str, steps: int = 2) -> tuple[str, ...]:
        """What is typed: `lora-ci` and these. The cache is shared by all questions."""
        prompts = [f"--prompt=a glossy emoji of {x}, {{trigger}}" for x in SUBJECTS]
        return (
            *("qa", str(adapter), "--base", str(EMOJI / "base"), "--type", "style"),
            *("--references", str(self.root / "references")),
            *("--cache", str(self.root / "cache"), "--skip", "strength"),
            *("--seeds", "2", "--steps", str(steps), "--guidance", "4"),
            *(*prompts, "--flexibility-prompt=a flat emoji of pig face, {trigger}"),
            *("--base-prompt=a flat emoji of fox face", *further),
        )


def new_question(root: Path) -> Question:
    """A question below a folder."""
    (root / "references").mkdir()
    for picture in sorted((EMOJI / "pictures" / "fluent3d-references").glob("*.png"))[:4]:
        for file in (picture, picture.with_suffix(".txt")):
            shutil.copy(file, root / "references")
    return Question(root)
