"""PNG bytes, as far as a page must know them."""

from __future__ import annotations

import struct

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A browser that opens the page must be able to decode all of its pictures.
MOST_PIXELS_A_SIDE = 8192


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
