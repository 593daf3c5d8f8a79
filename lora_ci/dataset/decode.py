"""An image file → what it is and what was measured of it; nothing in a file is trusted."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms

from lora_ci.dataset.features import perceptual_hashes, thumbnails
from lora_ci.dataset.measure import edges_of, figures_of
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.privacy import personal_problems
from lora_ci.dataset.sniff import (
    JPEG,
    MAX_SCANS,
    SUFFIXES_OF,
    Structure,
    hidden_in,
    kind_of,
    structure_of,
    tail_bytes,
)

SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
MAX_BYTES = 64 * 1024 * 1024
# Colors, hashes and exposure are those of the picture scaled to about this shorter side.
SMALL_SIDE = 256
ORIENTATION = 0x0112

Problem = tuple[str, str]
Pixels = NDArray[np.uint8]


def measure(path: Path, max_pixels: int) -> Measured:
    """Reads one file, decodes it wholly and measures it."""
    try:
        data = read_file(path)
    except UnreadableError as error:
        return Measured(path=path, problems=(error.problem,))
    return replace(measure_bytes(data, max_pixels), path=path)


def measure_bytes(data: bytes, max_pixels: int) -> Measured:
    """The same of a file's bytes."""
    kind = kind_of(data[:4096])
    found = Measured(path=Path(), kind=kind, sha256=hashlib.sha256(data).hexdigest())
    if kind not in SUFFIXES_OF:
        return replace(found, problems=(_no_image(kind),))
    structure = structure_of(data, kind)
    problems = tuple(_structure_problems(data, structure))
    if any(rule == "image.unreadable" for rule, _ in problems):
        return replace(found, problems=problems)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decoded(replace(found, problems=problems), data, structure, max_pixels)
    except (Image.DecompressionBombError, MemoryError):
        problem = ("image.too-large", "too large to decode")
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on broken files
        text = f"damaged: {type(error).__name__}: {error}"[:200]
        problem = ("image.unreadable", text)
    return replace(found, problems=(*problems, problem))


class UnreadableError(Exception):
    """A file that could not be read; carries what to say of it."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.problem = (rule, message)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file, at most 64 MiB.

    Neither follows a link nor waits for a pipe. Raises UnreadableError.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise UnreadableError("image.link", "a link, folder or special file")
        with open(path, "rb", buffering=0, opener=_not_through_links) as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BYTES:
                message = f"{before.st_size:,} bytes; at most {MAX_BYTES:,} are read"
                raise UnreadableError("image.too-large", message)
            data = file.readall() if stat.S_ISREG(before.st_mode) else b""
            after = os.fstat(file.fileno())
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise UnreadableError("image.unreadable", message) from error
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise UnreadableError("image.changed", "changed while it was read")
    return data


def _not_through_links(path: str, flags: int) -> int:
    """Opens nothing through a link, and waits for no pipe that came instead of the file."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _no_image(kind: str) -> Problem:
    if kind.endswith("pointer"):
        return "image.pointer", f"a {kind}, not the picture itself"
    article = "an" if kind[0] in "aeiouAEIOH" and not kind.startswith(("HT", "HE")) else "a"
    return "image.format", f"{article} {kind}; PNG, JPEG or WebP is expected"


def _structure_problems(data: bytes, structure: Structure) -> list[Problem]:
    if structure.end is None:
        return [("image.unreadable", "cut off: the end of the picture is missing")]
    if structure.scans > MAX_SCANS:
        message = f"damaged or hostile: {structure.scans} scans; at most {MAX_SCANS} are decoded"
        return [("image.unreadable", message)]
    if hidden := hidden_in(data, structure):
        return [("image.payload", f"{hidden}")]
    if extra := tail_bytes(data, structure):
        return [("image.trailing-data", f"{extra:,} bytes behind the end of the picture")]
    return []


def _decoded(found: Measured, data: bytes, structure: Structure, max_pixels: int) -> Measured:
    problems = list(found.problems)
    with Image.open(io.BytesIO(data), formats=[found.kind]) as file:
        if file.width * file.height > max_pixels:
            text = f"{file.width} × {file.height} pixels; at most {max_pixels:,} are decoded"
            return replace(found, problems=(*problems, ("image.too-large", text)))
        problems += _head_problems(file, structure)
        turn = _orientation(file)
        profile = file.info.get("icc_profile") or b""
        if found.kind == JPEG and file.mode in ("RGB", "L"):
            gray, small = _jpeg(data)
        else:
            if found.kind == JPEG:
                simplejpeg.decode_jpeg(data, "CMYK")  # Pillow passes over damage
            file.load()
            if _see_through(file):
                problems.append(("image.transparent", "has transparency"))
            gray, small = _other(file)
        problems += personal_problems(file.info)
    problem, small = _in_srgb(profile, small)
    problems += problem
    gray, small = _upright(gray, turn), np.ascontiguousarray(_upright(small, turn))
    if not np.ptp(gray) and not np.ptp(small, axis=(0, 1)).max():
        problems.append(("image.blank", "all pixels have one color"))
    digest = hashlib.sha256(np.ascontiguousarray(gray).data)
    digest.update(small.data)
    digest.update(repr(gray.shape).encode())
    return replace(
        found,
        problems=tuple(problems),
        width=gray.shape[1],
        height=gray.shape[0],
        pixels=digest.hexdigest(),
        hashes=perceptual_hashes(small),
        thumbnails=thumbnails(small),
        edges=edges_of(small),
        figures=figures_of(gray, small),
    )


def _head_problems(file: Image.Image, structure: Structure) -> list[Problem]:
    problems = []
    frames = int(getattr(file, "n_frames", 1))
    if frames > 1 and not structure.several:
        problems.append(("image.animated", f"{frames} frames; one is expected"))
    mode = file.mode
    if mode in ("CMYK", "I", "F", "LAB", "YCCK") or mode.startswith("I;") or structure.depth > 8:
        depth = f", {structure.depth} bits a channel" if structure.depth > 8 else ""
        problems.append(("image.mode", f"color mode {mode}{depth}; 8-bit RGB is expected"))
    return problems


def _jpeg(data: bytes) -> tuple[Pixels, Pixels]:
    """Luma in full and RGB scaled. Strict: Pillow passes over changed bytes without a word."""
    gray = simplejpeg.decode_jpeg(data, "GRAY")[:, :, 0]
    small = simplejpeg.decode_jpeg(data, "RGB", min_height=SMALL_SIDE, min_width=SMALL_SIDE)
    return gray, small


def _other(picture: Image.Image) -> tuple[Pixels, Pixels]:
    upon = on_white(picture)
    factor = max(1, min(upon.size) // SMALL_SIDE)
    small = upon.reduce(factor) if factor > 1 else upon
    return np.asarray(upon.convert("L")), np.asarray(small)


def _see_through(picture: Image.Image) -> bool:
    if "A" in picture.getbands():
        return bool(np.asarray(picture.getchannel("A")).min() < 255)
    return "transparency" in picture.info


def on_white(picture: Image.Image) -> Image.Image:
    """RGB of 8 bits a channel, transparency flattened on white."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        # Pillow cuts 16-bit gray at 255 rather than scaling it.
        levels = np.asarray(picture.convert("F") if picture.mode.startswith("I;") else picture)
        picture = Image.fromarray((levels.clip(0, 65535) // 257).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        layers = picture.convert("RGBA")
        white = Image.new("RGB", layers.size, (255, 255, 255))
        white.paste(layers, mask=layers.getchannel("A"))
        return white
    return picture.convert("RGB")


def _orientation(file: Image.Image) -> int:
    """EXIF's orientation as far as the head of the file has it, as training reads it."""
    exif = Image.Exif()
    try:
        exif.load(file.info.get("exif") or b"")
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - metadata may hold anything; then the picture is upright
        return 1


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """[h, w, …] as EXIF's orientation 1 to 8 asks for."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _in_srgb(profile: bytes, small: Pixels) -> tuple[list[Problem], Pixels]:
    """The picture in sRGB's colors, and a problem if its profile is another or broken."""
    if not profile:
        return [], small
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return [], small  # of gray or print colors, which the mode tells of
        name = ImageCms.getProfileDescription(source).strip()[:60]
        if "srgb" in name.lower():
            return [], small
        converted = ImageCms.profileToProfile(
            Image.fromarray(small), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None  # only `inPlace` gives None
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return [("image.profile", f"its color profile cannot be used: {error}"[:120])], small
    message = f"color profile {name!r}; training reads the numbers as sRGB"
    return [("image.profile", message)], np.asarray(converted)
