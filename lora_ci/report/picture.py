"""Pictures in a page: previews with their bytes inside; the originals stay in the store."""

from __future__ import annotations

import struct
from base64 import b64encode
from dataclasses import dataclass
from typing import Literal

from lora_ci.report.markup import text

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A browser that opens the page must be able to decode all of its pictures.
MOST_PIXELS_A_SIDE = 8192
# Smaller pictures are enlarged pixel by pixel: no filter flatters or blurs them.
SMALL_SIDE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """An encoded picture of `width` × `height` pixels; `small`: its original is no larger."""

    kind: Literal["png", "jpeg"]
    data: bytes
    width: int
    height: int
    small: bool = False


def picture(preview: Preview | None, alt: str) -> str:
    """The picture as a button that enlarges it, `alt` being foreign text; else a gap."""
    if preview is None:
        return '<span class="missing">not in this page</span>'
    small = ' class="small"' if preview.small else ""
    source = f"data:image/{preview.kind};base64,{b64encode(preview.data).decode()}"
    return (
        f'<button type="button" class="zoom"><img{small} width="{preview.width}" '
        f'height="{preview.height}" alt="{text(alt)}" src="{source}"></button>'
    )


def as_it_is(png: bytes) -> Preview | None:
    """A PNG as its own preview; None for what is none, or too large to show."""
    size = png_size(png)
    if size is None:
        return None
    return Preview(
        kind="png", data=png, width=size[0], height=size[1], small=max(size) < SMALL_SIDE
    )


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header; None for what is no PNG, or too large to show.

    Source: PNG specification, third edition, 5.2 and 11.2.1.
    """
    if len(data) < 24 or not data.startswith(SIGNATURE) or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= MOST_PIXELS_A_SIDE and 0 < height <= MOST_PIXELS_A_SIDE):
        return None
    return width, height
