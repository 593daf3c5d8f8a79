"""Image files → measurements. Decoding happens in child processes: a decoder that hangs or
crashes costs one file, not the run.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lora_ci.dataset.features import blur_ratio, perceptual_hashes, thumbnails

FORMATS = {"PNG": {".png"}, "JPEG": {".jpg", ".jpeg"}, "WEBP": {".webp"}}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
SECONDS_A_FILE = 20
BATCH = 32
MEMORY_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one image file turned out to be; `problems` are (rule, message).

    `pixels` is the sha256 of the decoded RGB pixels, `hashes` [variants] of 256 bits each as
    uint8 [variants, 32], `thumbnails` uint8
    [crops, 16, 16, 3], the whole picture first.
    """

    path: Path
    problems: tuple[tuple[str, str], ...] = ()
    width: int = 0
    height: int = 0
    pixels: str = ""
    hashes: NDArray[np.uint8] | None = None
    thumbnails: NDArray[np.uint8] | None = None
    blur: float = 0.0
    notes: tuple[str, ...] = field(default=())


def measure_files(
    paths: Sequence[Path], max_pixels: int, progress: Callable[[int], None]
) -> list[Measured]:
    """Measures every file, in order; never raises for what is in a file."""
    measured: list[Measured] = []
    batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
    with _Workers() as workers:
        for batch in batches:
            measured.extend(workers.measure(batch, max_pixels))
            progress(len(measured))
    return measured


class _Workers:
    """A pool of two that is replaced when a file breaks it."""

    def __enter__(self) -> _Workers:
        self._pool = _new_pool()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def measure(self, batch: Sequence[Path], max_pixels: int) -> Iterator[Measured]:
        """A batch at once; after an accident one file at a time, so that only it is lost."""
        try:
            limit = SECONDS_A_FILE * len(batch)
            yield from self._pool.submit(_measure_batch, list(batch), max_pixels).result(limit)
        except (BrokenProcessPool, TimeoutError):
            self._replace()
            if len(batch) == 1:
                message = f"decoding it crashed or took over {SECONDS_A_FILE} s"
                yield Measured(path=batch[0], problems=(("image.unreadable", message),))
                return
            for path in batch:
                yield from self.measure([path], max_pixels)

    def _replace(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = _new_pool()


def _new_pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(1, mp_context=context, initializer=_limit_worker)


def _limit_worker() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _measure_batch(paths: list[Path], max_pixels: int) -> list[Measured]:
    return [measure(path, max_pixels) for path in paths]


def measure(path: Path, max_pixels: int) -> Measured:
    """Decodes one file wholly and measures it."""
    if path.is_symlink() or not path.is_file():
        return Measured(path=path, problems=(("image.link", "not a regular file"),))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _measure(path, max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        problem = ("image.too-large", f"more than {max_pixels:,} pixels, or too large to decode")
        return Measured(path=path, problems=(problem,))
    except UnidentifiedImageError:
        message = "no PNG, JPEG or WebP image"
        return Measured(path=path, problems=(("image.unreadable", message),))
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on broken files
        message = f"cannot be decoded: {type(error).__name__}: {error}"[:200]
        return Measured(path=path, problems=(("image.unreadable", message),))


def _measure(path: Path, max_pixels: int) -> Measured:
    problems: list[tuple[str, str]] = []
    with Image.open(path, formats=list(FORMATS)) as file:
        kind, mode = str(file.format), file.mode
        if file.width * file.height > max_pixels:
            text = f"{file.width} × {file.height} pixels; at most {max_pixels:,} are decoded"
            return Measured(path=path, problems=(("image.too-large", text),))
        frames = int(getattr(file, "n_frames", 1))
        if frames > 1:
            problems.append(("image.animated", f"{frames} frames; one is expected"))
        file.load()
        upright = ImageOps.exif_transpose(file)
    if path.suffix.lower() not in FORMATS[kind]:
        problems.append(("image.wrong-extension", f"a {kind} file named {path.suffix}"))
    if mode in ("CMYK", "I", "F") or mode.startswith("I;"):
        problems.append(("image.mode", f"color mode {mode}; 8-bit RGB is expected"))
    pixels = np.asarray(on_white(upright))
    if np.ptp(pixels, axis=(0, 1)).max() == 0:
        problems.append(("image.blank", "all pixels have one color"))
    return Measured(
        path=path,
        problems=tuple(problems),
        width=upright.width,
        height=upright.height,
        pixels=hashlib.sha256(pixels.tobytes() + repr(pixels.shape).encode()).hexdigest(),
        hashes=perceptual_hashes(pixels),
        thumbnails=thumbnails(pixels),
        blur=blur_ratio(pixels),
    )


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, transparency flattened on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
