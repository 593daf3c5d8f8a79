"""Bytes of pictures that are damaged, disguised, too large or something else besides."""

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

GARBAGE = bytes(range(256)) * 12


def texture(seed: int = 0, side: int = 256) -> Image.Image:
    """A picture that no check has anything against: soft shapes with sharp edges."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 235, (8, 8, 3), dtype=np.uint8))
    ground = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
    lines = rng.integers(0, 2, (side // 4, side // 4, 1)).repeat(4, 0).repeat(4, 1) * 40
    return Image.fromarray((ground + lines).clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def jpeg(seed: int = 0, **options: object) -> bytes:
    return saved(texture(seed), "JPEG", quality=90, **options)


def png(seed: int = 0, **options: object) -> bytes:
    return saved(texture(seed), "PNG", **options)


def webp(seed: int = 0, **options: object) -> bytes:
    return saved(texture(seed), "WEBP", lossless=True, **options)


def chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return (
        struct.pack("!I", len(content))
        + name
        + content
        + struct.pack("!I", zlib.crc32(name + content))
    )


def hollow_png(side: int) -> bytes:
    """A PNG of side² pixels in a few hundred bytes."""
    head = chunk(b"IHDR", struct.pack("!IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def lying_jpeg(side: int) -> bytes:
    """A JPEG whose head claims side² pixels."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack("!HH", side, side)
    return bytes(data)


def flipped(data: bytes, count: int = 5) -> bytes:
    """Single bytes changed in the middle, as a failing disk does."""
    changed = bytearray(data)
    for i in range(count):
        changed[len(data) // 2 + 97 * i] ^= 0x5A
    return bytes(changed)


def zeroed(data: bytes, count: int) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(count) + data[middle + count :]


def bad_crc(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[data.index(b"IDAT") + 40] ^= 1
    return bytes(changed)


def text_bomb() -> bytes:
    """A PNG with a text of 60 MB in some KB."""
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(60_000_000), 9))
    data = png()
    end_of_head = data.index(b"IDAT") - 4
    return data[:end_of_head] + bomb + data[end_of_head:]


def many_scans() -> bytes:
    """A progressive JPEG that refines its pixels hundreds of times."""
    data = jpeg(progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    return data[:second] + data[first:second] * 400 + data[second:]


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.png", png())
    return data.getvalue()


def pickled() -> bytes:
    return pickle.dumps({"weights": [1.0, 2.0]}, protocol=4)


def with_text(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text)
    return png(pnginfo=info)


def of_a_camera() -> bytes:
    """An MPO: a second picture behind the first, announced in its head."""
    return saved(texture(), "MPO", save_all=True, append_images=[texture(1)])


def in_other_colors() -> bytes:
    """A JPEG whose profile goes by another name than sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return jpeg(
        icc_profile=bytes(profile).replace(b"s\0R\0G\0B", b"A\0d\0o\0b").replace(b"sRGB", b"Adob")
    )


def turned() -> bytes:
    """A JPEG of 256 × 128 that is to be shown upright as 128 × 256."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(texture().crop((0, 0, 256, 128)), "JPEG", exif=exif, quality=90)


def deep_gray() -> bytes:
    """16 bits a pixel, nearly all above 255: cut instead of scaled, it would be white."""
    levels = np.asarray(texture().convert("L"), np.uint16) * 257
    return saved(Image.fromarray(levels), "PNG")


def deep_colors() -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    side = 128
    levels = np.asarray(texture(side=side), ">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    head = chunk(b"IHDR", struct.pack("!IIBBBBB", side, side, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def see_through() -> Image.Image:
    picture = texture().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def indexed() -> bytes:
    return saved(texture().quantize(32), "PNG", transparency=3)


def huge() -> bytes:
    """As many pixels as are allowed, with transparency: what takes most memory."""
    return saved(texture(side=512).convert("RGBA").resize((8000, 8000), 0), "PNG", compress_level=1)


def media(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + GARBAGE
