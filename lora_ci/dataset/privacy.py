"""What the metadata of a picture tells of the person who took it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

# Exif 2.32, tables 4, 7 and 8.
BASE = {0x013B: "artist", 0x9C9D: "author"}
DETAILS = {
    0xA430: "owner of the camera",
    0xA431: "serial number of the camera",
    0xA435: "serial number of the lens",
}
# Latitude, longitude and their destinations'; a GPS part may hold its version alone.
PLACES = frozenset({2, 4, 20, 22})
XMP = {
    re.compile(rb"exif:GPS(Dest)?L(at|ong)itude"): "place",
    re.compile(rb"(aux|exifEX):(Body|Lens)?SerialNumber"): "serial number of the camera",
    re.compile(rb"(aux:OwnerName|exifEX:CameraOwnerName)"): "owner of the camera",
}
MAX_BYTES = 1 << 20


def personal_problems(info: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """(rule, message) if the metadata that Pillow found in a file tells of a person.

    Metadata that cannot be read tells nothing; a maker's own notes are not read.
    """
    found = {*_in_exif(info.get("exif")), *_in_xmp(info.get("xmp"))}
    if not found:
        return []
    return [("privacy.metadata", f"its metadata tells of a person: {', '.join(sorted(found))}")]


def _in_exif(data: object) -> set[str]:
    if not isinstance(data, bytes):
        return set()
    exif = Image.Exif()
    try:
        exif.load(data[:MAX_BYTES])
        places = {"place"} if PLACES & set(exif.get_ifd(ExifTags.IFD.GPSInfo)) else set()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        base = {name for tag, name in BASE.items() if _says(exif.get(tag))}
        return places | base | {name for tag, name in DETAILS.items() if _says(details.get(tag))}
    except Exception:  # noqa: BLE001 - metadata may hold anything
        return set()


def _says(value: object) -> bool:
    """True for a text that is not blank."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return isinstance(text, str) and bool(text.strip(" \0"))


def _in_xmp(data: object) -> set[str]:
    if isinstance(data, str):
        data = data.encode(errors="replace")
    if not isinstance(data, bytes):
        return set()
    return {name for pattern, name in XMP.items() if pattern.search(data[:MAX_BYTES])}
