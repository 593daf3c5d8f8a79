"""Lays a release out in a folder: the adapter's files, the card, the manifest, the signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lora_ci.core.digest import sha256_file
from lora_ci.deploy.card import render_card
from lora_ci.deploy.disk import clear_folder, copy_file, sync_folder, write_file
from lora_ci.deploy.release import CARD, MANIFEST, Release, ReleaseFile, render_release
from lora_ci.deploy.stores import MAX_FILE_BYTES
from lora_ci.formats.layout import check_layout
from lora_ci.signing.envelope import FILE_NAME as SIGNATURE
from lora_ci.signing.envelope import sign_digests
from lora_ci.signing.files import digest_folder
from lora_ci.signing.keys import PrivateKey


def describe_files(files: Mapping[str, Path]) -> tuple[ReleaseFile, ...]:
    """What the manifest says of adapter files, by the names under which they are released.

    Raises InputError for a file that is no adapter.
    """
    for path in files.values():
        check_layout(path)
    return tuple(_describe(path, name) for name, path in sorted(files.items()))


def build_release(
    release: Release, files: Mapping[str, Path], folder: Path, key: PrivateKey
) -> None:
    """Makes the folder anew with all files of the release. Only digests meet the key."""
    clear_folder(folder)
    for name, path in files.items():
        copy_file(path, folder / name, limit_bytes=MAX_FILE_BYTES)
    write_file(folder / CARD, render_card(release).encode())
    whole = replace(release, files=(*release.files, _describe(folder / CARD, CARD)))
    write_file(folder / MANIFEST, render_release(whole))
    title = f"{release.lora}-{release.version}"
    write_file(folder / SIGNATURE, sign_digests(title, digest_folder(folder), key))
    sync_folder(folder)


def _describe(path: Path, name: str) -> ReleaseFile:
    return ReleaseFile(name=name, sha256=sha256_file(path), size=path.stat().st_size)
