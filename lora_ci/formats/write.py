"""`Adapter` → a diffusers or kohya file: equal content gives equal bytes."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from lora_ci.core.errors import InfrastructureError
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.convert import Precision, cast, to_diffusers, to_kohya
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.header import data_bytes, header_bytes
from lora_ci.formats.modelspec import describe, digests, training_keys
from lora_ci.formats.read import read_adapter


class Format(StrEnum):
    """The formats that tools read: diffusers itself; kohya for ComfyUI and A1111."""

    DIFFUSERS = "diffusers"
    KOHYA = "kohya"


def write_adapter(
    adapter: Adapter, path: Path, kind: Format, precision: Precision = Precision.FP32
) -> None:
    """Writes the file in one move, after reading it back and comparing every layer's effect.

    Raises:
        InputError: the format, or the precision, cannot hold the adapter.
        InfrastructureError: the file would not do what the adapter does.
    """
    kohya = kind is Format.KOHYA
    tensors = cast(to_kohya(adapter) if kohya else to_diffusers(adapter), precision)
    metadata = describe(adapter, max(adapter.ranks()), kohya=kohya)
    data = data_bytes(tensors)
    metadata |= digests(data, header_bytes(tensors, training_keys(metadata)))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(header_bytes(tensors, metadata))
            file.write(data)
        check_effect(adapter, read_adapter(temporary), path.name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_effect(wanted: Adapter, found: Adapter, file: str) -> None:
    """The gate of every export. Raises InfrastructureError for the first layer that changed.

    Families must be the same too: the names of a file's tensors depend on it.
    """
    for effect in compare_effect(wanted, found):
        if not effect.same:
            sizes = f", DoRA sizes off by {effect.magnitude_error:.2%}"
            raise InfrastructureError(
                f"{file}: layer {effect.module} changed in the export "
                f"(cosine {effect.cosine:.4f}, size ×{effect.size_ratio:.3f}"
                f"{sizes if effect.magnitude_error else ''})",
                hint="next: write it as fp32, and run: lora-ci formats check FILE",
            )
    if wanted.family != found.family:
        raise InfrastructureError(
            f"{file}: would be read as an adapter for {found.family}, not {wanted.family}"
        )
