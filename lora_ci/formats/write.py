"""`Adapter` → a diffusers or kohya file: equal content gives equal bytes."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InfrastructureError
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.convert import to_diffusers, to_kohya
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.header import data_bytes, safetensors_bytes
from lora_ci.formats.read import read_adapter

# What other tools show; nothing else leaves, so no path and no user name does.
KEPT_METADATA = (
    "modelspec.sai_model_spec",
    "modelspec.architecture",
    "modelspec.title",
    "modelspec.trigger_phrase",
    "modelspec.license",
    "ss_network_module",
    "ss_base_model_version",
)


class Format(StrEnum):
    """The formats that tools read: diffusers itself; kohya for ComfyUI and A1111."""

    DIFFUSERS = "diffusers"
    KOHYA = "kohya"


def write_adapter(adapter: Adapter, path: Path, kind: Format) -> None:
    """Writes the file in one move, after reading it back and comparing every layer's effect.

    Raises:
        InfrastructureError: the file would not do what the adapter does.
    """
    tensors = to_diffusers(adapter) if kind is Format.DIFFUSERS else to_kohya(adapter)
    metadata = {key: adapter.metadata[key] for key in KEPT_METADATA if key in adapter.metadata}
    rank = str(max(adapter.ranks()))
    # alpha is the rank in what is written, whatever it was in training.
    metadata |= {"ss_network_dim": rank, "ss_network_alpha": rank}
    metadata["sshs_model_hash"] = sha256_bytes(data_bytes(tensors))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(safetensors_bytes(tensors, metadata))
        check_effect(adapter, read_adapter(temporary), path.name)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_effect(wanted: Adapter, found: Adapter, file: str) -> None:
    """The gate of every export. Raises InfrastructureError for the first layer that changed."""
    for effect in compare_effect(wanted, found):
        if not effect.same:
            raise InfrastructureError(
                f"{file}: layer {effect.module} changed in the export "
                f"(cosine {effect.cosine:.4f}, size ×{effect.size_ratio:.3f})"
            )
