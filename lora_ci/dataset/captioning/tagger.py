"""Taggers of SmilingWolf's kind: `model.onnx` with `selected_tags.csv` beside it.

Source: https://huggingface.co/spaces/SmilingWolf/wd-tagger, app.py: a picture is put on a white
square, scaled with a bicubic filter, and given as it is, 0 to 255, blue first.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.onnx_model import first_line

MODEL, TAGS = "model.onnx", "selected_tags.csv"
# `category` of a tag → from where on it is said; ratings (9) are not.
# Source: the defaults of the same app.py.
LIMITS = {"0": 0.35, "4": 0.85}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tagger:
    """`tags` are name and limit of each number of the output; None for what is never said."""

    spec: str
    session: Any
    side: int
    tags: tuple[tuple[str, float] | None, ...]

    def caption(self, pictures: Sequence[Picture]) -> Sequence[str]:
        return [self._tags(picture) for picture in pictures]

    def _tags(self, picture: Picture) -> str:
        """The tags that it is sure of, the surest first. Raises InputError where it fails."""
        name = self.session.get_inputs()[0].name
        try:
            # One at a time: some of these files have it so, and their graphs allow no other.
            (rows,) = self.session.run(None, {name: _squared(picture, self.side)[None]})
        except Exception as error:
            message = f"captioner `{self.spec}` fails on a picture: {first_line(error)}"
            raise InputError(message, rule="captioner.fails") from error
        shares = np.asarray(rows)
        if shares.shape != (1, len(self.tags)):
            message = f"captioner `{self.spec}` answered {list(shares.shape)}"
            hint = f"expected [1, {len(self.tags)}], as {TAGS} has it"
            raise InputError(message, rule="captioner.file", hint=hint)
        sure = [
            (-float(share), tag[0])
            for share, tag in zip(shares[0], self.tags, strict=True)
            if tag and share >= tag[1]
        ]
        return ", ".join(name for _, name in sorted(sure))


def load_tagger(folder: Path, spec: str) -> Tagger:
    """The tagger in a folder.

    Raises:
        InputError: a file is missing, or is none of this kind.
        InfrastructureError: onnxruntime is not installed.
    """
    what = f"captioner `{spec}`"
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        message = f"{what} needs the Python package `onnxruntime`"
        hint = "next: pip install 'lora-ci[edge]'"
        raise InfrastructureError(message, rule="captioner.not-installed", hint=hint) from error
    tags = _read_tags(folder / TAGS, what)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(folder / MODEL), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        message = f"{what}: no ONNX model can be loaded: {first_line(error)}"
        raise InputError(message, rule="captioner.file") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    square = len(shape) == 4 and isinstance(shape[1], int) and shape[1:] == [shape[1], shape[1], 3]
    if not square or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        message = f"{what} has the input {found}; expected one of float32 [n, side, side, 3]"
        raise InputError(message, rule="captioner.file")
    return Tagger(spec=spec, session=session, side=shape[1], tags=tags)


def _read_tags(path: Path, what: str) -> tuple[tuple[str, float] | None, ...]:
    """Name and limit of each tag, in the order of the model's output."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["name"], row["category"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        message = f"{what}: no {TAGS} with the columns `name` and `category`"
        raise InputError(message, rule="captioner.file") from error
    return tuple((name, LIMITS[kind]) if kind in LIMITS else None for name, kind in rows)


def _squared(picture: Picture, side: int) -> NDArray[np.float32]:
    """[side, side, 3] in the order blue, green, red."""
    image = Image.fromarray(picture)
    longer = max(image.size)
    square = Image.new("RGB", (longer, longer), (255, 255, 255))
    square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    scaled = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(scaled, np.float32)[:, :, ::-1])
