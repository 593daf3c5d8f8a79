"""Encoded pictures and captions on disk, by what they were made from; LoRAs and runs share them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lora_ci.store.cache import read_cached, write_cached

Tensors: TypeAlias = dict[str, torch.Tensor]

# What is kept of all kinds together; beyond it the least recently used goes.
LIMIT_BYTES = 20 * 2**30
SUFFIX = ".tensors"


def entry_path(folder: Path, *key: str) -> Path:
    """Where the entry of a key lies below the folder of its kind."""
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()
    return folder / digest[:2] / f"{digest[2:]}{SUFFIX}"


def read_entry(path: Path) -> Tensors | None:
    """The tensors of an entry, now the most recently used; None if it is absent or damaged."""
    payload = read_cached(path)
    if payload is None:
        return None
    try:
        tensors: Tensors = load(bytes(payload))
    except SafetensorError:
        return None
    return tensors


def write_entry(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes an entry in one move. Other processes may write the same at the same time.

    Raises:
        OSError: the disk is full or refuses; nothing is left behind.
    """
    write_cached(path, save(dict(tensors)))
