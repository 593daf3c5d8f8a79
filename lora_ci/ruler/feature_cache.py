"""Features, each made once: kept in memory and on disk by what embeds and what is embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError, machine_error
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Embedder, Features, TextEmbedder, unit_vectors
from lora_ci.store.cache import prune, read_cached, write_cached

T = TypeVar("T")

FOLDER = "features"
SUFFIX = ".f32"
# What is kept of all embedders together, some hundred thousand pictures; beyond it the least
# recently used goes.
LIMIT_BYTES = 512 * 2**20
# So much is written before the folder is looked through again.
LOOK_EVERY_BYTES = 16 * 2**20
STORED = np.dtype("<f4")
PART = 256


@dataclass(slots=True, kw_only=True)
class FeatureCache:
    """Vectors on disk below `cache`, by the embedder's identity and the digest of the content.

    `read_by` are the libraries that work for the embedder, with their versions: another one may
    give other vectors. Processes share it; a file that was damaged is none.
    """

    cache: Path
    read_by: tuple[str, ...] = ()
    limit_bytes: int = LIMIT_BYTES
    # More than any limit: the first that is written looks.
    _unlooked_bytes: int = LOOK_EVERY_BYTES

    def get(self, identity: str, digest: str) -> Features | None:
        """The vector [d]; None if it is not kept, or damaged."""
        payload = read_cached(self._path(identity, digest))
        if not payload or len(payload) % STORED.itemsize:
            return None
        return np.frombuffer(payload, STORED).astype(np.float32)

    def put(self, identity: str, digest: str, vector: Features) -> None:
        """Keeps a vector [d]. Raises OSError if the disk is full or refuses."""
        payload = vector.astype(STORED).tobytes()
        write_cached(self._path(identity, digest), payload)
        self._unlooked_bytes += len(payload)
        if self._unlooked_bytes >= min(LOOK_EVERY_BYTES, self.limit_bytes):
            self._unlooked_bytes = 0
            prune([self.cache / FOLDER], self.limit_bytes)

    def _path(self, identity: str, digest: str) -> Path:
        named = "\0".join((identity, *self.read_by, digest))
        key = hashlib.sha256(named.encode()).hexdigest()
        return self.cache / FOLDER / key[:2] / f"{key[2:]}{SUFFIX}"


@dataclass(slots=True, kw_only=True, eq=False)
class CachedEmbedder:
    """An embedder that is opened only when something is asked that is not kept.

    `identity` stands for all that its answers depend on: the spec, its files, the code that reads
    them. `license` is an SPDX id, None if it is not known. Without a `cache` the memory keeps
    what there is.
    """

    spec: str
    identity: str
    license: str | None
    knows_texts: bool
    opener: Callable[[], Embedder]
    cache: FeatureCache | None
    _opened: Embedder | None = None
    _width: int | None = None
    _kept: dict[str, Features] = field(default_factory=dict)

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        """Unit vectors [n, d] of pictures [height, width, 3], each embedded once; [0, 0] of none.

        Raises:
            InputError: it cannot be opened, or what it gives is no vector for each picture.
            InfrastructureError: what it needs is not installed, or its program fails.
        """
        keys = [picture_digest(picture) for picture in pictures]
        return self._embed(keys, pictures, lambda some: self._open().embed_pictures(some))

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Unit vectors [n, d] of texts in the space of the pictures; [0, 0] of none.

        Raises InputError if it knows no texts, and otherwise as for pictures.
        """
        keys = [sha256_bytes(b"text\0" + text.encode()) for text in texts]
        return self._embed(keys, texts, self._place_texts)

    def _place_texts(self, texts: Sequence[str]) -> Features:
        opened = self._open()
        if not self.knows_texts or not isinstance(opened, TextEmbedder):
            raise InputError(f"embedder `{self.spec}` knows no texts", rule="embedder.no-texts")
        return opened.embed_texts(texts)

    def _embed(
        self, keys: Sequence[str], items: Sequence[T], make: Callable[[Sequence[T]], Features]
    ) -> Features:
        if not keys:
            return np.zeros((0, 0), np.float32)
        absent: dict[str, T] = {}
        for key, item in zip(keys, items, strict=True):
            if key not in self._kept and key not in absent and not self._find(key):
                absent[key] = item
        # In parts: what a kill costs at most, and what is in memory at once.
        for start in range(0, len(absent), PART):
            part = dict(islice(absent.items(), start, start + PART))
            made = unit_vectors(make(list(part.values())), len(part), self._width, self.spec)
            for key, vector in zip(part, made, strict=True):
                self._keep(key, vector)
                self._store(key, vector)
        return np.stack([self._kept[key] for key in keys])

    def _find(self, key: str) -> bool:
        """True if the disk had it."""
        found = self.cache.get(self.identity, key) if self.cache else None
        if found is None or (self._width is not None and len(found) != self._width):
            return False
        self._keep(key, found)
        return True

    def _keep(self, key: str, vector: Features) -> None:
        self._width = len(vector)
        self._kept[key] = vector

    def _store(self, key: str, vector: Features) -> None:
        """A disk that is full or refuses takes no more; all is embedded anew the next time."""
        try:
            if self.cache:
                self.cache.put(self.identity, key, vector)
        except OSError as error:
            if machine_error(error) is None:
                raise
            self.cache = None

    def _open(self) -> Embedder:
        if self._opened is None:
            self._opened = self.opener()
        return self._opened


def picture_digest(picture: Picture) -> str:
    """Hex sha256 of size and pixels."""
    return sha256_bytes(repr(picture.shape).encode() + picture.tobytes())
