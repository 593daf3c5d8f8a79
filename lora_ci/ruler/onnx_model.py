"""A file in ONNX format as embedder of pictures; runs without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features, unit_vectors
from lora_ci.ruler.pixels import Pixels, pixels_of

BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxEmbedder:
    """The first output of a model with one input [n, 3, height, width] of float32.

    `batch` is n where the file has it fixed: a last batch that is smaller is filled up.
    """

    spec: str
    session: Any
    input: str
    output: str
    pixels: Pixels
    batch: int | None

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        size = self.batch or BATCH
        found: list[Features] = []
        for start in range(0, len(pictures), size):
            part = pictures[start : start + size]
            filled = [*part, *[part[-1]] * (size - len(part))] if self.batch else part
            try:
                (rows,) = self.session.run([self.output], {self.input: self.pixels(filled)})
            except Exception as error:
                message = f"embedder `{self.spec}` fails on a picture: {_first_line(error)}"
                raise InputError(message, rule="embedder.fails") from error
            width = found[0].shape[1] if found else None
            found.append(unit_vectors(rows, len(filled), width, self.spec)[: len(part)])
        return np.concatenate(found)


def load_onnx(file: Path, spec: str) -> OnnxEmbedder:
    """The model in `file`.

    Raises:
        InputError: it cannot be loaded, or its input is not one batch of pictures.
        InfrastructureError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        message = f"embedder `{spec}` needs the Python package `onnxruntime`"
        hint = "next: pip install 'lora-ci[edge]'"
        raise InfrastructureError(message, rule="embedder.not-installed", hint=hint) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        message = f"embedder `{spec}`: no ONNX model can be loaded: {_first_line(error)}"
        raise InputError(message, rule="embedder.file") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        message = f"embedder `{spec}` has the input {found}; expected one of float32 [n, 3, h, w]"
        raise InputError(message, rule="embedder.file", hint="next: see docs/embedders.md")
    fixed = [side if isinstance(side, int) else None for side in shape]
    side = (fixed[2], fixed[3]) if fixed[2] and fixed[3] else None
    told = dict(session.get_modelmeta().custom_metadata_map)
    return OnnxEmbedder(
        spec=spec,
        session=session,
        input=inputs[0].name,
        output=session.get_outputs()[0].name,
        pixels=pixels_of(told, side, spec),
        batch=fixed[0],
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
