"""What one image file turned out to be: values, and their bytes for pipes and caches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

HASHES_SHAPE = (8, 32)
THUMBNAILS_SHAPE = (4, 16, 16, 3)
EDGES_SIDE = 32


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good a picture is, in numbers; thresholds come later. Levels are 0 to 255.

    `blur` is the least of what the strongest edges lose to one more blur (0 to 1), `octaves` how
    much detail fades from the finest scale on (see measure.py), `noise` the standard deviation of
    what flat places hold, `blockiness` how much stronger differences are where JPEG's blocks met,
    `dark` the 99th percentile of luma, `washed` the share of pixels that are white in at least two
    colors (0 where the picture stands on white), `chroma` the mean distance of a color from gray,
    `border` the share of the area that one-colored bars cover.
    """

    blur: float
    octaves: tuple[float, ...]
    noise: float
    blockiness: float
    dark: float
    washed: float
    chroma: float
    border: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one image file turned out to be; `problems` are (rule, message).

    `kind` is the format, or in words what else it is. `sha256` is that of the file, `pixels` that
    of the decoded pixels, `hashes` [variants] of 256 bits each as uint8 [8, 32], `thumbnails` uint8
    [4, 16, 16, 3], the whole picture first, `edges` where edges are, bits [32, 32] packed. All but
    the first three are empty where nothing could be decoded. Sizes are those of the upright
    picture.
    """

    path: Path
    kind: str = ""
    problems: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    width: int = 0
    height: int = 0
    pixels: str = ""
    hashes: NDArray[np.uint8] | None = None
    thumbnails: NDArray[np.uint8] | None = None
    edges: bytes = b""
    figures: Figures | None = None

    @property
    def blur(self) -> float:
        """What the strongest edges lose to one more blur, 0 to 1; 0 where nothing was decoded."""
        return self.figures.blur if self.figures else 0.0


class _Row(msgspec.Struct, array_like=True):
    """The same as bytes; arrays empty where there is none."""

    kind: str
    problems: tuple[tuple[str, str], ...]
    sha256: str
    width: int
    height: int
    pixels: str
    hashes: bytes
    thumbnails: bytes
    edges: bytes
    figures: Figures | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode


def to_bytes(measured: Measured) -> bytes:
    """All but the path."""
    return _encode(
        _Row(
            measured.kind,
            measured.problems,
            measured.sha256,
            measured.width,
            measured.height,
            measured.pixels,
            b"" if measured.hashes is None else measured.hashes.tobytes(),
            b"" if measured.thumbnails is None else measured.thumbnails.tobytes(),
            measured.edges,
            measured.figures,
        )
    )


def from_bytes(path: Path, data: bytes) -> Measured:
    """The value again. Raises ValueError for bytes of another shape."""
    row = _decode(data)
    hashes = thumbnails = None
    if row.hashes:
        hashes = np.frombuffer(row.hashes, np.uint8).reshape(HASHES_SHAPE)
        thumbnails = np.frombuffer(row.thumbnails, np.uint8).reshape(THUMBNAILS_SHAPE)
    return Measured(
        path=path,
        kind=row.kind,
        problems=row.problems,
        sha256=row.sha256,
        width=row.width,
        height=row.height,
        pixels=row.pixels,
        hashes=hashes,
        thumbnails=thumbnails,
        edges=row.edges,
        figures=row.figures,
    )
