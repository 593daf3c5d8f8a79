"""Encoded pictures and captions on disk, by what they were made from.

LoRAs, runs and processes share them. A file is written aside and moved into place, so a reader sees
all of it or none; it begins with the digest of the rest, so that one that was damaged is made anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

Tensors: TypeAlias = dict[str, torch.Tensor]

# What is kept of all kinds together; beyond it the least recently used goes.
LIMIT_BYTES = 20 * 2**30
SUFFIX = ".tensors"
DIGEST_BYTES = 32
# A file that is still written is not so old.
TORN_AFTER_S = 3600.0
_numbers = count()


def entry_path(folder: Path, *key: str) -> Path:
    """Where the entry of a key lies below the folder of its kind."""
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()
    return folder / digest[:2] / f"{digest[2:]}{SUFFIX}"


def read_entry(path: Path) -> Tensors | None:
    """The tensors of an entry, now the most recently used; None if it is absent or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    payload = memoryview(content)[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != content[:DIGEST_BYTES]:
        return None
    try:
        tensors: Tensors = load(bytes(payload))
    except SafetensorError:
        return None
    mark_used(path)
    return tensors


def write_entry(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes an entry in one move. Other processes may write the same at the same time.

    Nothing waits for the disk: the digest tells what a power failure left half written.

    Raises:
        OSError: the disk is full or refuses; nothing is left behind.
    """
    payload = save(dict(tensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{next(_numbers)}")
    try:
        with aside.open("wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
        aside.replace(path)
    except OSError as error:
        # Writing to a file that is open names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


def prune(folders: Collection[Path], limit_bytes: int, kept: Collection[Path] = ()) -> int:
    """Removes the least recently used files until at most `limit_bytes` are left; how many went.

    `kept` stay, even if they are more than the limit. Half-written files of processes that are
    gone are removed too.
    """
    staying = set(kept)
    found = []
    now = time.time()
    for path in (path for folder in folders for path in folder.glob("*/*")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if not path.name.startswith("."):
            found.append((stat.st_mtime_ns, stat.st_size, path))
        elif now - stat.st_mtime > TORN_AFTER_S:
            path.unlink(missing_ok=True)
    excess = sum(size for _, size, _ in found) - limit_bytes
    removed = 0
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        if path not in staying:
            path.unlink(missing_ok=True)
            excess, removed = excess - size, removed + 1
    return removed


def mark_used(path: Path) -> None:
    """Marks the file as used; one that somebody else owns or has just removed stays as it is."""
    try:
        os.utime(path)
    except OSError:
        return
