"""The table: file name → how it is made → the rule that tells of it, None if nothing does."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.dataset.hostile import pictures as p

Make = Callable[[], bytes] | Callable[[Path], None]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12345\n" % (b"a" * 64)
DVC = b"outs:\n- md5: 0123456789abcdef0123456789abcdef\n  size: 4\n  path: x.jpg\n"

ROWS: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "empty.jpg": (lambda: b"", "image.format"),
    "garbage.png": (lambda: p.GARBAGE, "image.format"),
    "text.jpg": (lambda: b"hello, I am a caption", "image.format"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html>404 not found</html>", "image.format"),
    "lfs.png": (lambda: LFS, "image.pointer"),
    "dvc.jpg": (lambda: DVC, "image.pointer"),
    "zip.png": (p.zipped, "image.format"),
    "gzip.png": (lambda: b"\x1f\x8b\x08" + p.GARBAGE, "image.format"),
    "program.png": (lambda: b"\x7fELF\x02\x01" + p.GARBAGE, "image.format"),
    "pickle.jpg": (p.pickled, "image.format"),
    "eps.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image.format"),
    "svg.png": (lambda: b"<?xml?><svg xmlns='http://www.w3.org/2000/svg'/>", "image.format"),
    "pdf.jpg": (lambda: b"%PDF-1.7\n" + p.GARBAGE, "image.format"),
    "heic.jpg": (lambda: p.media(b"heic"), "image.format"),
    "avif.jpg": (lambda: p.media(b"avif"), "image.format"),
    "video.jpg": (lambda: p.media(b"isom"), "image.format"),
    "psd.png": (lambda: b"8BPS\0\1" + p.GARBAGE, "image.format"),
    "gif.png": (lambda: p.saved(p.texture(), "GIF"), "image.format"),
    "tiff.png": (lambda: p.saved(p.texture(), "TIFF"), "image.format"),
    "bmp.png": (lambda: p.saved(p.texture(), "BMP"), "image.format"),
    "half.jpg": (lambda: p.jpeg()[: len(p.jpeg()) // 2], "image.unreadable"),
    "nearly.jpg": (lambda: p.jpeg()[: len(p.jpeg()) * 99 // 100], "image.unreadable"),
    "no-end.jpg": (lambda: p.jpeg()[:-2], "image.unreadable"),
    "half.png": (lambda: p.png()[: len(p.png()) // 2], "image.unreadable"),
    "half.webp": (lambda: p.webp()[: len(p.webp()) // 2], "image.unreadable"),
    "head-only.png": (lambda: p.png()[:60], "image.unreadable"),
    "magic-only.jpg": (lambda: b"\xff\xd8\xff", "image.unreadable"),
    "flipped.jpg": (lambda: p.flipped(p.jpeg()), "image.unreadable"),
    "flipped-cmyk.jpg": (
        lambda: p.flipped(p.saved(p.texture().convert("CMYK"), "JPEG", quality=90)),
        "image.unreadable",
    ),
    "zeroed.jpg": (lambda: p.zeroed(p.jpeg(), 4096), "image.unreadable"),
    "bad-crc.png": (lambda: p.bad_crc(p.png()), "image.unreadable"),
    "text-bomb.png": (p.text_bomb, "image.unreadable"),
    "scans.jpg": (p.many_scans, "image.unreadable"),
    "lying-in-bounds.jpg": (lambda: p.lying_jpeg(7000), "image.unreadable"),
    "lying.jpg": (lambda: p.lying_jpeg(65000), "image.too-large"),
    "bomb-1-kb.png": (lambda: p.hollow_png(40000), "image.too-large"),
    "bomb.png": (lambda: p.saved(Image.new("1", (20000, 20000)), "PNG"), "image.too-large"),
    "bomb-12000.png": (lambda: p.saved(Image.new("1", (12000, 12000)), "PNG"), "image.too-large"),
    "huge.png": (p.huge, None),
    "16-bit-gray.png": (p.deep_gray, "image.mode"),
    "16-bit.png": (p.deep_colors, "image.mode"),
    "cmyk.jpg": (lambda: p.saved(p.texture(2).convert("CMYK"), "JPEG"), "image.mode"),
    "garbage-profile.jpg": (lambda: p.jpeg(3, icc_profile=p.GARBAGE), "image.profile"),
    "other-profile.jpg": (p.in_other_colors, "image.profile"),
    "turned.jpg": (p.turned, None),
    "jpeg.png": (lambda: p.jpeg(4), "image.wrong-extension"),
    "png.jpg": (lambda: p.png(5), "image.wrong-extension"),
    "animated.webp": (
        lambda: p.webp(6, save_all=True, append_images=[p.texture(7)]),
        "image.animated",
    ),
    "animated.png": (
        lambda: p.png(8, save_all=True, append_images=[p.texture(9)]),
        "image.animated",
    ),
    "one-color.png": (lambda: p.saved(Image.new("RGB", (64, 64), "red"), "PNG"), "image.blank"),
    "tiny.png": (lambda: p.saved(p.texture().resize((3, 3)), "PNG"), "image.too-small"),
    "strip.png": (lambda: p.saved(p.texture().resize((4096, 8)), "PNG"), "image.too-small"),
    "zip-behind.jpg": (lambda: p.jpeg(10) + p.zipped(), "image.payload"),
    "pickle-behind.png": (lambda: p.png(11) + p.pickled(), "image.payload"),
    "script-behind.webp": (lambda: p.webp(12) + b"#!/bin/sh\nrm x\n", "image.payload"),
    "php-in-comment.jpg": (lambda: p.jpeg(13, comment=b"<?php system(1);"), "image.payload"),
    "script-in-text.png": (lambda: p.with_text("<script>alert(1)</script>"), "image.payload"),
    "junk-behind.jpg": (lambda: p.jpeg(14) + b"junk" * 100, "image.trailing-data"),
    "zeros-behind.jpg": (lambda: p.jpeg(15) + bytes(4096), None),
    "camera.jpg": (p.of_a_camera, None),
}


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_link_up(path: Path) -> None:
    path.symlink_to("../../..")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def make_large(path: Path) -> None:
    """300 MB that take no room on the disk."""
    with path.open("wb") as file:
        file.write(p.jpeg())
        file.truncate(300_000_000)


PLACES: dict[str, tuple[Callable[[Path], None], str]] = {
    "link.png": (make_link, "image.link"),
    "link-up.png": (make_link_up, "image.link"),
    "folder.png": (Path.mkdir, "image.link"),
    "pipe.jpg": (os.mkfifo, "image.link"),
    "socket.jpg": (make_socket, "image.link"),
    "large.jpg": (make_large, "image.too-large"),
}
# Names as bytes, as they need not be text; → the rule, or None.
NAMES: dict[bytes, str | None] = {
    b"line\nbreak.png": "path.name",
    "turned\u202egnp.png".encode(): "path.name",
    b"latin-\xe9.png": "path.name",
    "\U0001f600.png".encode(): None,
    "na\u00efve.png".encode(): None,
    ("\u00e9" * 125 + ".png").encode(): None,
    b"Case.png": None,
    b"case.png": "path.collision",
    "cafe\u0301.png".encode(): None,
    "caf\u00e9.png".encode(): "path.collision",
}
