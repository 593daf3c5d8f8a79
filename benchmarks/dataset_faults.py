"""Real pictures, damaged in known ways: what checks are tuned and scored on.

Of each source two crops that do not overlap, each clean and with every fault. Sources with an even
number are for tuning, those with an odd one for scoring.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE = 1024
BITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file, the number of its source, which fault it has (`clean`: none), and how much of it."""

    path: Path
    source: int
    fault: str
    severity: str


Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _blur(sigma: float) -> Change:
    return lambda picture, _: picture.filter(ImageFilter.GaussianBlur(sigma))


def _motion(length: int) -> Change:
    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        pixels = np.asarray(picture, np.float32)
        if rng.random() < 0.5:
            moved = [np.roll(pixels, i, axis=1) for i in range(length)]
        else:
            moved = [np.roll(pixels, (i, i), axis=(0, 1)) for i in range(length)]
        return Image.fromarray(np.mean(moved, axis=0).astype(np.uint8))

    return change


def _upscaled(times: float) -> Change:
    def change(picture: Image.Image, _: object) -> Image.Image:
        side = round(SIDE / times)
        small = picture.resize((side, side), Image.Resampling.LANCZOS)
        return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)

    return change


def _noise(sigma: float) -> Change:
    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        pixels = np.asarray(picture, np.float32)
        noisy = pixels + rng.normal(0, sigma, pixels.shape)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    return change


def _light(factor: float) -> Change:
    return lambda picture, _: picture.point(lambda level: min(255, int(level * factor)))


def _recompressed(quality: int) -> Change:
    def change(picture: Image.Image, _: object) -> Image.Image:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality)
        # Cut since, so that its blocks are not where the file's own are.
        return Image.open(data).convert("RGB").crop((3, 5, SIDE, SIDE))

    return change


def _letterbox(picture: Image.Image, _: object) -> Image.Image:
    boxed = Image.new("RGB", picture.size)
    height = round(SIDE * 0.75)
    boxed.paste(picture.crop((0, 0, SIDE, height)), (0, (SIDE - height) // 2))
    return boxed


def _gray(picture: Image.Image, _: object) -> Image.Image:
    return picture.convert("L").convert("RGB")


FAULTS: dict[tuple[str, str], Change] = {
    ("blur", "sigma 1.5"): _blur(1.5),
    ("blur", "sigma 3"): _blur(3),
    ("blur", "sigma 6"): _blur(6),
    ("upscaled", "2.5 times"): _upscaled(2.5),
    ("upscaled", "4 times"): _upscaled(4),
    ("motion", "15 pixels"): _motion(15),
    ("noise", "sigma 20"): _noise(20),
    ("noise", "sigma 40"): _noise(40),
    ("blocks", "quality 15"): _recompressed(15),
    ("blocks", "quality 5"): _recompressed(5),
    ("dark", "times 0.25"): _light(0.25),
    ("dark", "times 0.1"): _light(0.1),
    ("bright", "times 2.5"): _light(2.5),
    ("bright", "times 5"): _light(5),
    ("gray", ""): _gray,
    ("border", "two bars of 12.5 %"): _letterbox,
}


def sources_in(folders: list[Path]) -> list[Image.Image]:
    """Photographs of at least two crops, in the order of their names; halved where very large."""
    found = []
    for path in sorted(p for folder in folders for p in folder.rglob("*.jpg")):
        picture = Image.open(path).convert("RGB")
        if min(picture.size) > 2.5 * SIDE:
            picture = picture.reduce(2)
        if picture.width >= 1.2 * SIDE and picture.height >= SIDE:
            found.append(picture)
    return found


def crops_of(picture: Image.Image) -> list[Image.Image]:
    """The left and the right, or only the left where there is no room for two."""
    top = (picture.height - SIDE) // 2
    lefts = [0, picture.width - SIDE] if picture.width >= 2 * SIDE else [0]
    return [picture.crop((left, top, left + SIDE, top + SIDE)) for left in lefts]


def write_cases(folders: list[Path], target: Path, seed: int = 0) -> Iterator[Case]:
    """Writes the benchmark's files."""
    for source, picture in enumerate(sources_in(folders)):
        for number, crop in enumerate(crops_of(picture)):
            rng = np.random.default_rng((seed, source, number))
            name = f"{source:03}-{number}"
            path = target / f"{name}-clean.jpg"
            crop.save(path, quality=int(rng.integers(85, 96)))
            yield Case(path=path, source=source, fault="clean", severity="")
            yield from _damaged(path.read_bytes(), source, target / name, rng)
            for (fault, severity), change in FAULTS.items():
                at = target / f"{name}-{fault}-{severity.replace(' ', '-')}.jpg"
                change(crop, rng).save(at, quality=95)
                yield Case(path=at, source=source, fault=fault, severity=severity)


def _damaged(data: bytes, source: int, name: Path, rng: np.random.Generator) -> Iterator[Case]:
    cut = Path(f"{name}-cut.jpg")
    cut.write_bytes(data[: int(len(data) * rng.uniform(0.3, 0.99))])
    yield Case(path=cut, source=source, fault="cut off", severity="")
    rotten = bytearray(data)
    for at in rng.integers(len(data) // 4, len(data) - 100, BITS):
        rotten[at] ^= int(rng.integers(1, 256))
    path = Path(f"{name}-rot.jpg")
    path.write_bytes(bytes(rotten))
    yield Case(path=path, source=source, fault="bit rot", severity="5 bytes")
