"""PNG bytes in a page."""

from __future__ import annotations

import struct
from base64 import b64encode

from lora_ci.report.markup import text

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A browser that opens the page must be able to decode all of its pictures.
MOST_PIXELS_A_SIDE = 8192
# Smaller pictures are enlarged pixel by pixel: no filter flatters or blurs them.
SMALL_SIDE = 128


def picture(png: bytes, alt: str) -> str:
    """The picture as an element with its bytes, `alt` being foreign text; else a gap."""
    size = png_size(png)
    if size is None:
        return '<span class="missing">not in this page</span>'
    small = ' class="small"' if max(size) < SMALL_SIDE else ""
    return (
        f'<img{small} width="{size[0]}" height="{size[1]}" alt="{text(alt)}" '
        f'src="data:image/png;base64,{b64encode(png).decode()}">'
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
