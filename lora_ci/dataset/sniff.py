"""The bytes of a file → what it is, whatever its name says, and what hides in or behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass

JPEG, PNG, WEBP = "JPEG", "PNG", "WEBP"
# What can be trained on, and the endings that trainers look for.
SUFFIXES_OF = {PNG: {".png"}, JPEG: {".jpg", ".jpeg"}, WEBP: {".webp"}}

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# First bytes → what to call it. Longer ones first where one begins another.
MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (PNG_MAGIC, PNG),
    (b"GIF8", "GIF image"),
    (b"II*\0", "TIFF image"),
    (b"MM\0*", "TIFF image"),
    (b"BM", "BMP image"),
    (b"8BPS", "Photoshop file"),
    (b"%PDF", "PDF document"),
    (b"%!PS", "PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "PostScript file"),
    (b"\0\0\1\0", "icon"),
    (b"\xff\x0a", "JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "JPEG 2000 image"),
    (b"\x1aE\xdf\xa3", "Matroska video"),
    (b"\0\0\1\xba", "MPEG video"),
    (b"PK\3\4", "zip archive"),
    (b"Rar!\x1a\7", "rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\x7fELF", "Linux program"),
    (b"MZ", "Windows program"),
    (b"version https://git-lfs.github.com/spec/", "Git LFS pointer"),
)
# Brands of ISO media files (bytes 8 to 12).
BRANDS = {
    b"heic": "HEIC image",
    b"heix": "HEIC image",
    b"hevc": "HEIC image",
    b"mif1": "HEIC image",
    b"msf1": "HEIC image",
    b"avif": "AVIF image",
    b"avis": "AVIF image",
}
# What an interpreter, a loader or an unpacker would take for its own, wherever it begins.
PAYLOADS = (
    (b"PK\3\4", "a zip archive"),
    (b"Rar!\x1a\7", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x7fELF", "a Linux program"),
    (b"MZ\x90\0", "a Windows program"),
    (b"<?php", "PHP code"),
    (b"<script", "a script"),
)
# Too short to look for anywhere: only where something else begins.
BEGINNINGS = (
    (re.compile(rb"\x80[\x02-\x05][\x95c\]}(X\x8c]"), "a pickle"),
    (re.compile(rb"#! ?/"), "a script"),
)
# Of a JPEG's scans: a marker that is neither a stuffed zero, a restart nor a filler.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MAX_TEXT_BYTES = 512
# Two markers a picture are usual; thousands of scans are made to keep a decoder busy.
MAX_SCANS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What walking through a file's blocks found.

    `end` is where the picture ends by its own account (None: it does not), `asides` the blocks
    of comments and metadata, `scans` of a JPEG how often its pixels are refined, `depth` the bits
    a channel where the head tells them, `several` whether pictures behind the first are announced.
    """

    end: int | None
    asides: tuple[bytes, ...] = ()
    scans: int = 0
    depth: int = 8
    several: bool = False


def kind_of(head: bytes) -> str:
    """JPEG, PNG, WEBP, or what else the first bytes look like, in words."""
    if not head:
        return "empty file"
    if head[:4] == b"RIFF":
        return WEBP if head[8:12] == b"WEBP" else "RIFF file"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "video")
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return _text_kind(head[:MAX_TEXT_BYTES])


def _text_kind(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"outs:") or (b"\nmd5:" in text and b"path:" in text):
        return "DVC pointer"
    if b"<svg" in text:
        return "SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML page"
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in head)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return "file of no known kind"
    return "text" if printable == len(head) else "file of no known kind"


def structure_of(data: bytes, kind: str) -> Structure:
    """Walks through the blocks of a JPEG, PNG or WEBP; decodes nothing."""
    if kind == JPEG:
        return _jpeg(data)
    return _png(data) if kind == PNG else _webp(data)


def _jpeg(data: bytes) -> Structure:
    asides: list[bytes] = []
    scans, depth, several, at = 0, 8, False, 2
    while True:
        found = MARKER.search(data, at)
        if found is None:
            return Structure(end=None, asides=tuple(asides), scans=scans, depth=depth)
        marker, start = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return Structure(
                end=start, asides=tuple(asides), scans=scans, depth=depth, several=several
            )
        if marker in (0x01, 0xD8):
            at = start
            continue
        length = int.from_bytes(data[start : start + 2])
        block = data[start + 2 : start + max(length, 2)]
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            asides.append(block)
            several = several or (marker == 0xE2 and block.startswith(b"MPF\0"))
        elif marker in (0xC0, 0xC1, 0xC2) and block:
            depth = block[0]
        elif marker == 0xDA:
            scans += 1
        at = start + max(length, 2)


def _png(data: bytes) -> Structure:
    asides, at = [], len(PNG_MAGIC)
    depth = data[24] if len(data) > 24 else 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if name in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            asides.append(data[at + 8 : at + 8 + length])
        at += 12 + length
        if name == b"IEND":
            return Structure(end=at, asides=tuple(asides), depth=depth)
    return Structure(end=None, asides=tuple(asides), depth=depth)


def _webp(data: bytes) -> Structure:
    size = int.from_bytes(data[4:8], "little")
    end = 8 + size + size % 2
    asides, at = [], 12
    while at + 8 <= min(end, len(data)):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"EXIF", b"XMP "):
            asides.append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return Structure(end=end if end <= len(data) else None, asides=tuple(asides))


def hidden_in(data: bytes, structure: Structure) -> str | None:
    """What could be run or unpacked, in a comment or behind the picture; None if nothing is."""
    for aside in structure.asides:
        for magic, name in PAYLOADS:
            if magic in aside:
                return f"{name} in its metadata"
    tail = b"" if structure.end is None else data[structure.end :]
    if structure.several and tail.startswith(b"\xff\xd8"):
        return None  # the further pictures of a camera's MPO or HDR file
    for magic, name in PAYLOADS:
        if magic in tail:
            return f"{name} behind the picture"
    for pattern, name in BEGINNINGS:
        if pattern.match(tail.lstrip(b"\0\r\n ")):
            return f"{name} behind the picture"
    return None


def tail_bytes(data: bytes, structure: Structure) -> int:
    """Bytes behind the picture that mean nothing there; padding with zeros is none."""
    if structure.end is None:
        return 0
    tail = data[structure.end :]
    if structure.several and tail.startswith(b"\xff\xd8"):
        return 0
    return len(tail.strip(b"\0\r\n "))
