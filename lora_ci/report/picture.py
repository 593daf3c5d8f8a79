"""Pictures in a page: previews with their bytes inside; the originals stay in the store."""

from __future__ import annotations

import struct
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from lora_ci.report.markup import text

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A browser that opens the page must be able to decode all of its pictures.
MOST_PIXELS_A_SIDE = 8192
# Smaller pictures are enlarged pixel by pixel: no filter flatters or blurs them.
SMALL_SIDE = 128
# Where the script of a page shows a picture enlarged.
LARGE = (
    '<dialog aria-label="picture, enlarged"><button type="button" class="close">close</button>'
    '<div class="large"></div><p></p></dialog>'
)
# (pixels of the longer side, quality), tried from the best on. JPEG, as WebP takes ten times as
# long to encode for a tenth less.
LADDER = ((320, 82), (320, 65), (256, 60), (192, 50), (128, 40), (96, 30))


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


def shrunk(shown: Image.Image, most_bytes: int) -> Preview | None:
    """The best preview of an RGB picture within so many bytes; None where there is none."""
    small = max(shown.size) < SMALL_SIDE
    for side, quality in LADDER:
        shown = _within(shown, side)
        data = BytesIO()
        shown.save(data, "JPEG", quality=quality)
        if data.tell() <= most_bytes:
            return Preview(
                kind="jpeg",
                data=data.getvalue(),
                width=shown.width,
                height=shown.height,
                small=small,
            )
    return None


def _within(shown: Image.Image, side: int) -> Image.Image:
    """The picture with no side longer than `side`; averaged over areas, so nothing flickers."""
    from PIL import Image

    scale = side / max(shown.size)
    if scale >= 1:
        return shown
    width, height = (max(1, round(length * scale)) for length in shown.size)
    return shown.resize((width, height), Image.Resampling.BOX)
