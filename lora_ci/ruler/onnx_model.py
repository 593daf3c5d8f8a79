"""A file in ONNX format that looks at pictures; runs without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
class OnnxModel:
    """A model with one input [n, 3, height, width] of float32; `output` is its first.

    `what` is how messages call it. `batch` is n where the file has it fixed: a last batch that is
    smaller is filled up. `told` is what the file says of itself.
    """

    what: str
    session: Any
    input: str
    output: str
    pixels: Pixels
    batch: int | None
    told: Mapping[str, str]

    def outputs(self, pictures: Sequence[Picture]) -> Iterator[tuple[Any, int, int]]:
        """What it says of some pictures at a time, of how many, and of how many that were given.

        Raises InputError where it fails.
        """
        size = self.batch or BATCH
        for start in range(0, len(pictures), size):
            part = pictures[start : start + size]
            filled = [*part, *[part[-1]] * (size - len(part))] if self.batch else part
            try:
                (rows,) = self.session.run([self.output], {self.input: self.pixels(filled)})
            except Exception as error:
                message = f"{self.what} fails on a picture: {first_line(error)}"
                raise InputError(message, rule="embedder.fails") from error
            yield rows, len(filled), len(part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxEmbedder:
    """The first output of a model as vectors."""

    spec: str
    model: OnnxModel

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        found: list[Features] = []
        for rows, shown, given in self.model.outputs(pictures):
            width = found[0].shape[1] if found else None
            found.append(unit_vectors(rows, shown, width, self.spec)[:given])
        return np.concatenate(found)


def load_onnx(file: Path, spec: str) -> OnnxEmbedder:
    """The model in `file` as an embedder. Raises as `load_model`."""
    return OnnxEmbedder(spec=spec, model=load_model(file, spec, f"embedder `{spec}`"))


def load_model(file: Path, spec: str, what: str) -> OnnxModel:
    """The model in `file`.

    Raises:
        InputError: it cannot be loaded, or its input is not one batch of pictures.
        InfrastructureError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        message = f"{what} needs the Python package `onnxruntime`"
        hint = "next: pip install 'lora-ci[edge]'"
        raise InfrastructureError(message, rule="embedder.not-installed", hint=hint) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        message = f"{what}: no ONNX model can be loaded: {first_line(error)}"
        raise InputError(message, rule="embedder.file") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        message = f"{what} has the input {found}; expected one of float32 [n, 3, h, w]"
        raise InputError(message, rule="embedder.file", hint="next: see docs/embedders.md")
    fixed = [side if isinstance(side, int) else None for side in shape]
    side = (fixed[2], fixed[3]) if fixed[2] and fixed[3] else None
    told = dict(session.get_modelmeta().custom_metadata_map)
    return OnnxModel(
        what=what,
        session=session,
        input=inputs[0].name,
        output=session.get_outputs()[0].name,
        pixels=pixels_of(told, side, spec),
        batch=fixed[0],
        told=told,
    )


def first_line(error: Exception) -> str:
    """What a library says, without the rest of its report."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
