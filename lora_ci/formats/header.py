"""The safetensors container: tensors from a checked file, and canonical bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from lora_ci.core.errors import InputError
from lora_ci.formats.layout import MAX_FILE_BYTES, check_header, need_file, unreadable

# Types that are written, in the order in which the safetensors library lays them out.
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
ORDER = {dtype: place for place, dtype in enumerate(DTYPES)}


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Float32 tensors by name and the metadata of a file.

    Raises InputError for pickles, torn files and headers that are too big or lie.
    """
    need_file(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path.name}: {size} bytes, more than {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    metadata = dict(check_header(data, len(data), path.name).metadata)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InputError(f"{path.name}: not a valid safetensors file: {error}") from error
    return {name: tensor.float() for name, tensor in tensors.items()}, metadata


def data_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of the tensors, little-endian: float32 before halves, then by name."""
    return b"".join(_bytes(tensors[name]) for name in _in_order(tensors))


def header_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A file's header with its length: no spaces, so equal content gives equal bytes."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in _in_order(tensors):
        tensor = tensors[name]
        size = tensor.element_size() * math.prod(tensor.shape)
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Padded so that the tensors start on a multiple of 8, as the format asks.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _in_order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (ORDER[tensors[name].dtype], name))


def _bytes(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().contiguous()
    if tensor.dtype is torch.bfloat16:
        # numpy has no bfloat16; its bits are what is written.
        tensor, kind = tensor.view(torch.int16), "<i2"
    else:
        kind = f"<f{tensor.element_size()}"
    return bytes(tensor.numpy().astype(kind, copy=False).tobytes())
