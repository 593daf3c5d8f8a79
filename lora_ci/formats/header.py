"""The safetensors container: tensors from a checked file, and canonical bytes."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from lora_ci.core.errors import InputError
from lora_ci.formats.layout import MAX_FILE_BYTES, check_header


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Float32 tensors by name and the metadata of a file.

    Raises InputError for pickles, torn files and headers that are too big or lie.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path.name}: {size} bytes, more than {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {os.strerror(error.errno or 0)}") from error
    metadata = dict(check_header(data, len(data), path.name).metadata)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InputError(f"{path.name}: not a valid safetensors file: {error}") from error
    return {name: tensor.float() for name, tensor in tensors.items()}, metadata


def data_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The float32 bytes of the tensors, little-endian, in the order of their names."""
    return b"".join(
        tensors[name].detach().contiguous().float().numpy().astype("<f4").tobytes()
        for name in sorted(tensors)
    )


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A whole file in float32: sorted names, no spaces, so equal content gives equal bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in sorted(tensors):
        shape = list(tensors[name].shape)
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    # Padded so that the tensors start on a multiple of 8, as the format asks.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data_bytes(tensors)
