"""A classifier in ONNX format: its file names its labels and says what its numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lora_ci.core.errors import InputError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.onnx_model import OnnxModel, load_model
from lora_ci.ruler.safety import Scores

EXPECTED = 'such as `["safe", "nudity"]`, one for each number of its output'
KINDS = ("softmax", "sigmoid", "probability")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxScanner:
    """The first output of a model, [n, labels], as numbers from 0 to 1."""

    model: OnnxModel
    labels: tuple[str, ...]
    activation: str

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        found: list[Scores] = []
        for rows, shown, given in self.model.outputs(pictures):
            for row in self._shares(np.asarray(rows), shown)[:given]:
                found.append(dict(zip(self.labels, map(float, row), strict=True)))
        return found

    def _shares(self, rows: NDArray[Any], shown: int) -> NDArray[np.float64]:
        if rows.shape != (shown, len(self.labels)) or not np.issubdtype(rows.dtype, np.floating):
            told = f"{rows.dtype} {list(rows.shape)}"
            expected = f"[{shown}, {len(self.labels)}]"
            raise InputError(f"{self.model.what} answered {told}; expected floats {expected}")
        values = rows.astype(np.float64)
        if self.activation == "softmax":
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        elif self.activation == "sigmoid":
            values = 1 / (1 + np.exp(-values.clip(-500, 500)))
        if not ((values >= 0) & (values <= 1)).all():
            message = f"{self.model.what} answered numbers that are not from 0 to 1"
            hint = "write `activation` into its file: `softmax` or `sigmoid`"
            raise InputError(message, rule="scanner.answer", hint=hint)
        return values


def load_onnx_scanner(folder: Path, spec: str) -> OnnxScanner:
    """The only file of a folder. Raises InputError and InfrastructureError as `load_model`."""
    what = f"scanner `{spec}`"
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) != 1:
        raise InputError(f"{what} has {len(files)} files; expected one", rule="scanner.file")
    model = load_model(files[0], spec, what)
    try:
        labels = msgspec.json.decode(model.told.get("labels", ""), type=tuple[str, ...])
    except msgspec.DecodeError:
        labels = ()
    if not labels or len(set(labels)) < len(labels) or not all(labels):
        message = f"{what} does not say its `labels` in the metadata of its file"
        raise InputError(message, rule="scanner.file", hint=EXPECTED)
    activation = model.told.get("activation", "probability")
    if activation not in KINDS:
        message = f"{what}: its file says `activation` is `{activation[:40]}`"
        raise InputError(message, rule="scanner.file", hint=f"expected one of {', '.join(KINDS)}")
    return OnnxScanner(model=model, labels=labels, activation=activation)
