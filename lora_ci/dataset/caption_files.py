"""The caption of each image, from files of any bytes."""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lora_ci.core.captions import (
    MAX_METADATA_BYTES,
    METADATA,
    SIDECARS,
    Caption,
    is_metadata,
    parse_metadata,
)
from lora_ci.core.finding import Finding
from lora_ci.dataset.files import shown
from lora_ci.dataset.rules import finding

MAX_BYTES = 64 * 1024
# A path in a `metadata.jsonl` may be of any length.
MOST_OF_A_NAME = 200
WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)

Tell = Callable[[Finding], None]


def read_captions(
    folder: Path,
    images: Iterable[str],
    names: frozenset[str],
    missing: frozenset[str],
    tell: Tell,
) -> dict[str, Caption]:
    """Captions by image: from the text file beside it, else from a `metadata.jsonl`.

    A file that DVC could not fetch is no missing caption. What is wrong goes to `tell`.
    """
    found: dict[str, Caption] = {}
    used: set[str] = set()
    images, known = list(images), names | missing
    if images and not any(name.endswith(SIDECARS) or is_metadata(name) for name in known):
        example = images[0].rpartition(".")[0] + ".txt"
        message = f"none of the {len(images)} images has a caption"
        hint = f"write a text file beside each, such as {short_name(example)}"
        tell(finding("caption.missing", message, hint=hint))
        return {}
    listed = _read_metadata(folder, names, tell)
    elsewhere = [name for name in missing if is_metadata(name)]
    for image in images:
        stem = image.rpartition(".")[0]
        sidecars = [stem + suffix for suffix in SIDECARS if stem + suffix in known]
        used.update(sidecars)
        if sidecars:
            if len(sidecars) > 1:
                message = f"two captions of one image; {short_name(sidecars[0])} counts"
                hint = "remove one of them: other trainers may read the other"
                tell(finding("caption.two-files", message, file=sidecars[1], hint=hint))
            if sidecars[0] not in missing:
                text = _read_sidecar(folder, sidecars[0], tell)
                if text is not None:
                    found[image] = Caption(text=text, file=sidecars[0], line=1)
        elif caption := listed.get(image):
            if _is_fine(image, caption, tell):
                found[image] = caption
        elif not any(_covers(name, image) for name in elsewhere):
            tell(finding("caption.missing", "no caption", file=image, hint=_what_to_write(stem)))
    _tell_orphans(names - used, missing, listed, frozenset(images), tell)
    return found


def short_name(name: str) -> str:
    """A name as it may stand in a message."""
    return shown(name if len(name) <= MOST_OF_A_NAME else name[:MOST_OF_A_NAME] + "…")


def _what_to_write(stem: str) -> str:
    return f"write {short_name(stem + SIDECARS[0])} beside it; the name has the same capitals"


def _covers(metadata: str, image: str) -> bool:
    """True if the file may have the caption of the image."""
    return image.startswith(metadata.removesuffix(METADATA))


def _is_fine(image: str, caption: Caption, tell: Tell) -> bool:
    """True for a caption out of a list that is there and not too long."""
    if not caption.text:
        message = f"an empty caption of {short_name(image)}"
        tell(finding("caption.empty", message, file=caption.file, line=caption.line))
        return False
    if len(caption.text) > MAX_BYTES:
        message = f"a caption of {len(caption.text)} characters; at most {MAX_BYTES} are read"
        tell(finding("caption.too-large", message, file=caption.file, line=caption.line))
        return False
    return True


def _read_metadata(folder: Path, names: frozenset[str], tell: Tell) -> Mapping[str, Caption]:
    """Captions by image name from every `metadata.jsonl`."""
    files = {}
    for name in sorted(filter(is_metadata, names)):
        data = _read_bytes(folder, name, MAX_METADATA_BYTES, tell)
        if data is not None:
            files[name] = data
    listed = parse_metadata(files)
    for problem in listed.findings:
        tell(problem)
    return listed.captions


def _tell_orphans(
    unused: frozenset[str],
    missing: frozenset[str],
    listed: Mapping[str, Caption],
    images: frozenset[str],
    tell: Tell,
) -> None:
    """Captions without an image; one that DVC could not fetch counts as there."""
    stems = {name.rpartition(".")[0] for name in missing}
    capitals: dict[str, str] | None = None
    for name in sorted(unused):
        stem = name.rpartition(".")[0]
        if not name.endswith(SIDECARS) or stem in stems:
            continue
        if capitals is None:
            capitals = {image.rpartition(".")[0].lower(): image for image in images}
        near = capitals.get(stem.lower())
        hint = f"{short_name(near)} differs in capitals: rename one of them" if near else None
        tell(finding("caption.orphan", "a caption without an image", file=name, hint=hint))
    for image, caption in listed.items():
        if image not in images and image not in missing:
            message = f"a caption of {short_name(image)}, which is not there"
            tell(finding("caption.orphan", message, file=caption.file, line=caption.line))


def _read_sidecar(folder: Path, name: str, tell: Tell) -> str | None:
    data = _read_bytes(folder, name, MAX_BYTES, tell)
    if data is None:
        return None
    text = _decoded(data, name, tell)
    if text is None:
        return None
    text = text.strip()
    if not text:
        tell(finding("caption.empty", "an empty caption", file=name, line=1))
        return None
    return text


def _decoded(data: bytes, name: str, tell: Tell) -> str | None:
    """The text, without its byte order mark; None where it is no UTF-8, which is told."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = data.startswith(WIDE_BOMS)
        problem = "UTF-16 or UTF-32" if wide else f"not UTF-8 (byte {error.start})"
        tell(_undecodable(problem, name, data.count(b"\n", 0, error.start) + 1))
        return None
    zero = text.find("\0")
    if zero >= 0:
        problem = f"a NUL character (number {zero + 1})"
        tell(_undecodable(problem, name, text.count("\n", 0, zero) + 1))
        return None
    if data.startswith(codecs.BOM_UTF8):
        message = "begins with a byte order mark; other trainers learn it as a token"
        hint = "save the file as UTF-8 without one"
        tell(finding("caption.bom", message, file=name, line=1, hint=hint))
    return text


def _undecodable(problem: str, name: str, line: int) -> Finding:
    hint = "save the file as UTF-8"
    return finding("caption.encoding", problem, file=name, line=line, hint=hint)


def _read_bytes(folder: Path, name: str, limit_bytes: int, tell: Tell) -> bytes | None:
    """The whole file; None where it is not read, which is told."""
    path = os.path.join(folder, name)
    data = read_bytes(path, limit_bytes)
    if data is None:
        size_bytes = _size(path)
        if size_bytes > limit_bytes:
            message = f"{size_bytes} bytes; at most {limit_bytes} are read"
            tell(finding("caption.too-large", message, file=name))
        else:
            message = "not a regular file that can be read"
            tell(finding("caption.unreadable", message, file=name))
    return data


def _size(path: str) -> int:
    """Of a regular file, else 0."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def read_bytes(path: str | Path, limit_bytes: int) -> bytes | None:
    """A whole file; None for a larger one, for what is no regular file, or may not be read.

    Links are not followed, and a pipe without a writer does not hang.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with io.FileIO(opened) as file:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
            return None
        return file.readall()
