"""A picture file → a small picture of it for a page; called in the process apart that decodes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from lora_ci.dataset.decode import UnreadableError, read_file
from lora_ci.dataset.normalise import open_upright
from lora_ci.report.picture import LADDER, Preview, shrunk


def make_preview(path: Path, sha256: str, most_bytes: int) -> Preview | None:
    """A JPEG of pixels alone; None for a file of another content, or that cannot be decoded."""
    try:
        data = read_file(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        picture = open_upright(data, about=LADDER[0][0])
    except (UnreadableError, MemoryError):
        return None
    # Of pixels alone: what Pillow knows of the file would be written with them.
    return shrunk(Image.fromarray(np.asarray(picture)), most_bytes)
