"""A TorchScript file as embedder of pictures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features, unit_vectors
from lora_ci.ruler.pixels import Pixels, pixels_of

BATCH = 32
# The file in the archive that tells of the input.
TOLD = "lora-ci.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchScriptEmbedder:
    """A module that takes float32 [n, 3, height, width] and gives [n, d]."""

    spec: str
    module: Any
    pixels: Pixels

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        found: list[Features] = []
        for start in range(0, len(pictures), BATCH):
            part = pictures[start : start + BATCH]
            given = torch.from_numpy(self.pixels(part))
            try:
                with torch.no_grad():
                    rows = self.module(given)
            except RuntimeError as error:
                told = str(error).strip().splitlines()[-1][:300]
                message = f"embedder `{self.spec}` fails on a picture: {told}"
                raise InputError(message, rule="embedder.fails") from error
            if not isinstance(rows, torch.Tensor):
                message = f"embedder `{self.spec}` gives no tensor; expected one of [n, d]"
                raise InputError(message, rule="embedder.answer")
            width = found[0].shape[1] if found else None
            found.append(unit_vectors(rows.float().numpy(), len(part), width, self.spec))
        return np.concatenate(found)


def load_torchscript(file: Path, spec: str) -> TorchScriptEmbedder:
    """The module in `file`, on the CPU. Raises InputError where none can be loaded."""
    extra = {TOLD: ""}
    try:
        with warnings.catch_warnings():
            # torch.export is no format that one file of code and weights could be exchanged in.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(file), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError, OSError) as error:
        told = next(iter(str(error).strip().splitlines()), "")[:300]
        message = f"embedder `{spec}`: no TorchScript module can be loaded: {told}"
        raise InputError(message, rule="embedder.file") from error
    pixels = pixels_of(_told(extra[TOLD], spec), None, spec)
    return TorchScriptEmbedder(spec=spec, module=module.eval().float(), pixels=pixels)


def _told(text: str | bytes, spec: str) -> dict[str, str]:
    """The JSON of each key of a JSON object."""
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        message = f"embedder `{spec}`: {TOLD} in its file is no JSON object"
        raise InputError(message, rule="embedder.file") from error
    return {key: bytes(value).decode() for key, value in found.items()}
