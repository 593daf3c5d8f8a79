"""The safetensors container: a checked header, and canonical bytes.

Layout: 8 bytes little-endian header length, a JSON header, the tensors' bytes without gaps.
Source: https://github.com/huggingface/safetensors#format
"""

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

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_FILE_BYTES = 8 * 1024**3
MAX_TENSORS = 20_000
MAX_METADATA_BYTES = 4 * 1024 * 1024
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
    metadata = _check_header(data, path.name)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InputError(f"{path.name}: not a valid safetensors file: {error}") from error
    return {name: tensor.float() for name, tensor in tensors.items()}, metadata


def _check_header(data: bytes, name: str) -> dict[str, str]:
    """The metadata of a header whose every entry was checked."""
    if data.startswith(PICKLES):
        raise InputError(
            f"{name}: a pickle, which can run code when it is read",
            hint="save the adapter as .safetensors",
        )
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise InputError(f"{name}: not a safetensors file (header length {length})")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_no_double_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise InputError(f"{name}: the safetensors header is not an object")
    metadata = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise InputError(f"{name}: {len(header)} tensors, more than {MAX_TENSORS}")
    _check_entries(header, len(data) - 8 - length, name)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{name}: the safetensors metadata is not text by name")
    if sum(len(k) + len(v) for k, v in metadata.items()) > MAX_METADATA_BYTES:
        raise InputError(f"{name}: more than {MAX_METADATA_BYTES} bytes of metadata")
    return metadata


def _check_entries(header: dict[str, Any], data_bytes: int, name: str) -> None:
    end = 0
    try:
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"][0])
        for key, entry in entries:
            width = FLOATS.get(entry["dtype"])
            if width is None:
                raise InputError(f"{name}: tensor `{key[:100]}` has type {entry['dtype']!r:.20}")
            first, last = entry["data_offsets"]
            if first != end or last - first != width * math.prod(entry["shape"]):
                raise InputError(f"{name}: tensor `{key[:100]}` does not lie where its header says")
            if len(entry["shape"]) > 4 or any(n < 0 for n in entry["shape"]):
                raise InputError(f"{name}: tensor `{key[:100]}` has shape {entry['shape']!r:.50}")
            end = last
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{name}: the safetensors header has a malformed entry") from error
    if end != data_bytes:
        raise InputError(f"{name}: {data_bytes} bytes of tensors, the header says {end}")


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


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
