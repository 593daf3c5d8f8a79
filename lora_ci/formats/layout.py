"""The safetensors container's header: read and checked without loading a tensor, or torch.

Layout: 8 bytes little-endian header length, a JSON header, the tensors' bytes without gaps.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ci.core.errors import InputError
from lora_ci.formats.keys import split_key

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_FILE_BYTES = 8 * 1024**3
MAX_TENSORS = 20_000
MAX_METADATA_BYTES = 4 * 1024 * 1024
COPY_ANEW = "next: copy or save it anew; it may be cut off"
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a header says of one tensor; `start` counts bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a header says: each tensor, the metadata, and where the tensors' bytes begin."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data_start: int

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {key: entry.shape for key, entry in self.entries.items()}


def read_layout(path: Path) -> Layout:
    """The checked header of a file; its tensors are not read.

    Raises InputError for pickles, torn files and headers that are too big or lie.
    """
    need_file(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            head = start + file.read(min(length, MAX_HEADER_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error
    return check_header(head, size, path.name)


def need_file(path: Path) -> None:
    """Raises InputError for a pipe or a device: reading one may wait for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path.name}: no regular file", hint=f"next: ls -l {path}")


def unreadable(path: Path, error: OSError) -> InputError:
    """A file that the system does not let us read."""
    words = os.strerror(error.errno or 0)
    return InputError(f"{path.name}: cannot be read: {words}", hint=f"next: ls -l {path}")


def check_layout(path: Path) -> int:
    """The number of LoRA layers in a file whose every tensor is a part of one.

    Raises InputError: no safetensors, another algorithm, or parts that do not fit together.
    """
    return len(layer_shapes(read_layout(path), path.name))


def layer_shapes(layout: Layout, name: str) -> Mapping[str, Mapping[str, tuple[int, ...]]]:
    """The shapes of each layer's parts, by module path; `name` is the file's.

    Raises InputError for another algorithm, and parts that do not fit together.
    """
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in layout.shapes.items():
        module, part = split_key(key, name)
        if part in layers.setdefault(module, {}):
            raise InputError(f"{name}: layer {module[:150]} has two `{part}` tensors")
        layers[module][part] = shape
    if not layers:
        raise InputError(f"{name} holds no LoRA layer", hint="next: lora-ci formats inspect FILE")
    for module, parts in layers.items():
        down, up = parts.get("down", ()), parts.get("up", ())
        if len(down) not in (2, 4) or len(up) != len(down) or down[0] != up[1]:
            shown = f"shapes {list(down)} and {list(up)} do not fit together"
            raise InputError(f"{name}: layer {module[:150]}: {shown}")
    return layers


def check_header(data: bytes, size_bytes: int, name: str) -> Layout:
    """The header at the start of `data`, every entry checked; the file has `size_bytes`.

    Raises InputError.
    """
    if size_bytes > MAX_FILE_BYTES:
        raise InputError(f"{name}: {size_bytes} bytes, more than {MAX_FILE_BYTES}")
    # A header of 896 bytes begins as a pickle does; what follows the length tells them apart.
    if data.startswith(PICKLES) and data[8:9] != b"{":
        raise InputError(
            f"{name}: a pickle, which can run code when it is read",
            hint="save the adapter as .safetensors",
        )
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise InputError(
            f"{name}: not a safetensors file (header length {length})",
            hint=COPY_ANEW,
        )
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_no_double_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise InputError(f"{name}: the safetensors header is not an object")
    metadata = _checked_metadata(header.pop("__metadata__", {}), name)
    if len(header) > MAX_TENSORS:
        raise InputError(f"{name}: {len(header)} tensors, more than {MAX_TENSORS}")
    _check_entries(header, size_bytes - 8 - length, name)
    entries = {
        key: Entry(
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            start=8 + length + entry["data_offsets"][0],
        )
        for key, entry in header.items()
    }
    return Layout(entries=entries, metadata=metadata, data_start=8 + length)


def _checked_metadata(metadata: object, name: str) -> Mapping[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{name}: the safetensors metadata is not text by name")
    try:
        size = sum(len(text.encode()) for pair in metadata.items() for text in pair)
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: the safetensors metadata is not Unicode text") from error
    if size > MAX_METADATA_BYTES:
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
            if len(entry["shape"]) > 4 or any(type(n) is not int or n < 0 for n in entry["shape"]):
                raise InputError(f"{name}: tensor `{key[:100]}` has shape {entry['shape']!r:.50}")
            first, last = entry["data_offsets"]
            if first != end or last - first != width * math.prod(entry["shape"]):
                raise InputError(f"{name}: tensor `{key[:100]}` does not lie where its header says")
            end = last
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{name}: the safetensors header has a malformed entry") from error
    if end != data_bytes:
        raise InputError(
            f"{name}: {data_bytes} bytes of tensors, the header says {end}", hint=COPY_ANEW
        )


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
