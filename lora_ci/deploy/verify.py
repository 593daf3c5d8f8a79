"""Verifies a release in a folder: who signed it, every byte of it, and that it is an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError, IntegrityError
from lora_ci.deploy.release import MANIFEST, MAX_BYTES, Release, ReleaseFile, parse_release
from lora_ci.formats.layout import check_layout
from lora_ci.signing.dsse import MAX_BYTES as MAX_SIGNATURE_BYTES
from lora_ci.signing.envelope import FILE_NAME as SIGNATURE
from lora_ci.signing.envelope import verify_signature
from lora_ci.signing.files import check_folder, read_plain, shown
from lora_ci.signing.signers import Signer, Signers


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A release that is what its signer released; `digest` is the sha256 of its manifest."""

    release: Release
    signer: Signer
    digest: str
    files: tuple[ReleaseFile, ...]


def verify_release(folder: Path, signers: Signers, today: date) -> Verified:
    """The release in a folder. Nothing of it is used before the signature held.

    Raises:
        IntegrityError: names the file and says what is wrong with it.
    """
    data = read_plain(folder / SIGNATURE, MAX_SIGNATURE_BYTES)
    signed = verify_signature(data, signers, today)
    check_folder(folder, signed.digests, but=SIGNATURE)
    manifest = read_plain(folder / MANIFEST, MAX_BYTES)
    release = parse_release(manifest)
    listed = {f.name: f.sha256 for f in release.files} | {MANIFEST: sha256_bytes(manifest)}
    if listed != signed.digests:
        names = sorted(n for n, _ in listed.items() ^ dict(signed.digests).items())
        raise IntegrityError(f"{MANIFEST}: says otherwise than {SIGNATURE} about {shown(names[0])}")
    for file in release.files:
        _check_file(folder / file.name, file)
    sizes = (
        (MANIFEST, listed[MANIFEST], len(manifest)),
        (SIGNATURE, sha256_bytes(data), len(data)),
    )
    signing = (ReleaseFile(name=n, sha256=d, size=s) for n, d, s in sizes)
    return Verified(
        release=release,
        signer=signed.signer,
        digest=listed[MANIFEST],
        files=(*release.files, *signing),
    )


def _check_file(path: Path, file: ReleaseFile) -> None:
    if path.stat().st_size != file.size:
        size = path.stat().st_size
        raise IntegrityError(f"{file.name}: {size} bytes, {MANIFEST} says {file.size}")
    if path.suffix != ".safetensors":
        return
    try:
        check_layout(path)
    except InputError as error:
        raise IntegrityError(str(error)) from error
