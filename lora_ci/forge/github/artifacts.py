"""Artifacts of workflow runs as a place that a store fetches objects from.

Anybody who may push can upload one, so a zip is read with care, and only what has the digest that
a record asks for is believed.
Source: https://docs.github.com/en/rest/actions/artifacts
"""

from __future__ import annotations

import errno
import hashlib
import re
import stat
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import msgspec

from lora_ci.core.errors import IntegrityError
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient
from lora_ci.store.store import ArtifactStore

OBJECT = re.compile(r"objects/([0-9a-f]{2})/([0-9a-f]{62})")
MAX_BYTES = 16 << 30
MAX_ENTRIES = 100_000
PART, MAX_PART_BYTES = "part.json", 64 << 20
PIECE_BYTES = 1 << 20
# Asked for by name one after the other; if there are more, all are listed.
MOST_ASKED = 20
GONE = (404, 410)
# All that zipfile raises at a file that somebody made up.
NO_ZIP = (
    BadZipFile,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
    struct.error,
    zlib.error,
)


class _Run(msgspec.Struct, frozen=True):
    repository_id: int | None = None
    head_repository_id: int | None = None


class _Listed(msgspec.Struct, frozen=True):
    id: int
    name: str
    size_in_bytes: int
    expired: bool
    workflow_run: _Run | None = None

    @property
    def is_usable(self) -> bool:
        """True if it can be had and was made by a run of this repository, not of a fork."""
        run = self.workflow_run
        ours = run is None or run.head_repository_id == run.repository_id
        return ours and not self.expired and self.size_in_bytes <= MAX_BYTES


class _Page(msgspec.Struct, frozen=True):
    artifacts: tuple[_Listed, ...]


class ActionsArtifacts:
    """The workflow artifacts of a repository. Implements `store.layered.Remote`.

    `kept_in` tells which artifacts carry an object, by their names: `GitRecords.kept_in`.
    """

    def __init__(
        self, client: GitHubClient, repo: str, kept_in: Callable[[str], tuple[str, ...]]
    ) -> None:
        self._client = client
        self._path = f"/repos/{repo}/actions/artifacts"
        self._kept_in = kept_in
        self._known: dict[str, list[_Listed]] = {}
        self._all_known = False
        self._unpacked: set[int] = set()

    def has(self, sha256: str) -> bool:
        return any(self._carriers(sha256))

    def fetch(self, sha256: str, store: ArtifactStore) -> None:
        for carrier in self._carriers(sha256):
            # What is damaged, or was put there by somebody, hides no other of its name.
            with suppress(IntegrityError):
                self._unpack(carrier, sha256, store)
                store.get(sha256)
                return
        hint = "next: lora-ci run --retrain, which makes it anew"
        message = f"artifact {sha256[:12]} is in none of the workflow artifacts that should have it"
        raise IntegrityError(message, hint=hint)

    def _carriers(self, sha256: str) -> Iterator[_Listed]:
        for name in self._kept_in(sha256):
            yield from self.named(name)

    def named(self, name: str) -> list[_Listed]:
        """The artifacts of a name that can be had, the newest first."""
        if name not in self._known and not self._all_known:
            if len(self._known) < MOST_ASKED:
                self._known[name] = self._list({"name": name})
            else:
                self._known = {}
                self._all_known = True
                for listed in self._list({}):
                    self._known.setdefault(listed.name, []).append(listed)
        return self._known.get(name, [])

    def _list(self, params: dict[str, str | int]) -> list[_Listed]:
        pages = self._client.pages(self._path, _Page, params)
        usable = (a for page in pages for a in page.artifacts if a.is_usable)
        return sorted(usable, key=lambda listed: listed.id, reverse=True)

    def _unpack(self, carrier: _Listed, wanted: str, store: ArtifactStore) -> None:
        """Puts the objects of an artifact into the store, once; one that is gone has none."""
        if carrier.id in self._unpacked:
            return
        self._unpacked.add(carrier.id)
        with tempfile.TemporaryDirectory(prefix="lora-ci-") as folder:
            place = Path(folder) / "artifact.zip"
            try:
                self._client.download(
                    f"{self._path}/{carrier.id}/zip", place, limit_bytes=MAX_BYTES
                )
            except Refused as refused:
                if refused.status in GONE:
                    return
                raise
            unpack_objects(place, wanted, store)


def fetch_bundle(
    client: GitHubClient, repo: str, run: int, name: str, *, place: Path, store: ArtifactStore
) -> bytes | None:
    """The `part.json` of the artifact of that name of a workflow run; its objects are in the store.

    None where there is no such artifact, or it has expired. Raises IntegrityError for one that is
    no zip of a bundle.
    """
    pages = client.pages(f"/repos/{repo}/actions/runs/{run}/artifacts", _Page, {"name": name})
    usable = [a for page in pages for a in page.artifacts if a.name == name and a.is_usable]
    zipped = place / "artifact.zip"
    for carrier in sorted(usable, key=lambda listed: listed.id, reverse=True):
        try:
            path = f"/repos/{repo}/actions/artifacts/{carrier.id}/zip"
            client.download(path, zipped, limit_bytes=MAX_BYTES)
        except Refused as refused:
            if refused.status in GONE:
                continue
            raise
        unpack_objects(zipped, name, store)
        return _part_of(zipped, name)
    return None


def _part_of(zipped: Path, name: str) -> bytes:
    try:
        with ZipFile(zipped) as file, file.open(PART) as part:
            data = part.read(MAX_PART_BYTES + 1)
    except (KeyError, RuntimeError, *NO_ZIP) as error:
        message = f"the workflow artifact {name} is no bundle: {error}"
        raise IntegrityError(message, hint="next: the log of that job") from error
    if len(data) > MAX_PART_BYTES:
        raise IntegrityError(f"the workflow artifact {name} has a part.json that is too large")
    return data


def unpack_objects(zipped: Path, wanted: str, store: ArtifactStore) -> None:
    """Puts the objects of a zip into a store: what has the digest that its name says.

    What the store has is passed over, but for the `wanted` one. Raises IntegrityError if it is
    no zip that can be read, or one that gets larger than any bundle.
    """
    try:
        with ZipFile(zipped) as file, tempfile.TemporaryDirectory(prefix="lora-ci-") as folder:
            for entry, sha256 in _objects(file):
                if sha256 == wanted or not store.has(sha256):
                    _take(file, entry, sha256, Path(folder) / "object", store)
    except (*NO_ZIP, OSError) as error:
        # Offsets before the start of the file; all else is the machine's fault.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        message = f"the workflow artifact with {wanted[:12]} is no zip of a bundle: {error}"
        raise IntegrityError(message, hint="it was damaged; run again to make it anew") from error


def _objects(file: ZipFile) -> Iterator[tuple[ZipInfo, str]]:
    entries = file.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"{len(entries)} entries, expected at most {MAX_ENTRIES}")
    total = 0
    for entry in entries:
        named = OBJECT.fullmatch(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG) and not entry.flag_bits & 1
        if not named or not plain or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            continue
        # Never more is read from an entry than it says it has.
        total += entry.file_size
        if total > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES} bytes unpacked")
        yield entry, named[1] + named[2]


def _take(file: ZipFile, entry: ZipInfo, sha256: str, place: Path, store: ArtifactStore) -> None:
    digest = hashlib.sha256()
    with file.open(entry) as source, place.open("wb") as target:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            target.write(piece)
    if digest.hexdigest() == sha256:
        store.put(place)
