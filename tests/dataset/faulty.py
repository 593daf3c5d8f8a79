"""A deliberately bad dataset: each fault once, among sound pictures."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

PICTURES = Path(__file__).parents[2] / "examples" / "emoji" / "pictures" / "fluent3d"
SOUND = 12
HOSTILE_NAME = '<img src=x onerror="alert(1)">.png'
HOSTILE_CAPTION = "a fluent3d </p><script>alert(2)</script> & emoji"


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def scene(seed: int, side: int = 512) -> Image.Image:
    """Colored shapes with grain, as sharp as a photograph."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 250, (side // 13, side // 13, 3), dtype=np.uint8)
    shapes = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.NEAREST))
    wave = 25 * np.sin(np.arange(side) / (3 + seed % 4))[None, :, None]
    grain = rng.normal(0, 2, shapes.shape)
    return Image.fromarray(np.clip(shapes + wave + grain, 0, 255).astype(np.uint8))


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("run.sh", "echo")
    return data.getvalue()


def faulty_images() -> dict[str, tuple[str, bytes]]:
    """The rule and the bytes of each file."""
    photo = saved(scene(1), "PNG")
    soft = scene(9).filter(ImageFilter.GaussianBlur(9))
    barred = scene(11)
    barred.paste((0, 0, 0), (0, 0, 512, 90))
    barred.paste((0, 0, 0), (0, 422, 512, 512))
    frames = {"save_all": True, "append_images": [scene(4, 128)]}
    return {
        "cut-off.png": ("image.unreadable", photo[: len(photo) // 2]),
        "web-page.png": ("image.format", b"<!doctype html><p>404"),
        "pointer.png": ("image.pointer", b"version https://git-lfs.github.com/spec/v1\noid"),
        "one-color.png": ("image.blank", saved(Image.new("RGB", (256, 256), (200, 30, 30)), "PNG")),
        "tiny.png": ("image.too-small", saved(scene(2, 32), "PNG")),
        "bomb.png": ("image.too-large", saved(Image.new("1", (20_000, 20_000)), "PNG")),
        "moving.webp": ("image.animated", saved(scene(3, 128), "WEBP", **frames)),
        "print.jpg": ("image.mode", saved(scene(5).convert("CMYK"), "JPEG", quality=95)),
        "named-png.png": ("image.wrong-extension", saved(scene(6), "JPEG", quality=95)),
        "tail.png": ("image.trailing-data", saved(scene(7), "PNG") + b"x" * 99),
        "payload.png": ("image.payload", saved(scene(8), "PNG") + zipped()),
        "blurred.png": ("image.blurred", saved(soft, "PNG")),
        "dark.png": ("image.dark", saved(scene(10).point(lambda v: v // 8), "PNG")),
        "barred.png": ("image.border", saved(barred, "PNG")),
        "gray.png": ("image.gray", saved(scene(12).convert("L").convert("RGB"), "PNG")),
    }


def faulty_captions(copied: bytes) -> dict[str, tuple[str, str | bytes | None]]:
    """The rule and the caption of each picture, none of them without one."""
    return {
        "no-caption": ("caption.missing", None),
        "empty-caption": ("caption.empty", b" \n"),
        "latin": ("caption.encoding", "a fluent3d café".encode("latin-1")),
        "marked": ("caption.bom", b"\xef\xbb\xbfa fluent3d emoji of a lamp"),
        "no-trigger": ("caption.trigger-missing", "an emoji of a boat"),
        "misspelled": ("caption.trigger-misspelled", "a fluent3b emoji of a kite"),
        "twice": ("caption.trigger-repeated", "a fluent3d emoji of a fluent3d plum"),
        "leftover": ("caption.leftover", "a fluent3d emoji of {name}"),
        "markup": ("caption.markup", HOSTILE_CAPTION),
        "invisible": ("caption.characters", "a fluent3d emoji of a \u202egrape"),
        "lines": ("caption.several-lines", "a fluent3d emoji\nof a stone"),
        "both": ("caption.contradiction", "a fluent3d girl with red hair and blue hair"),
        "weights": ("caption.prompt-syntax", "a fluent3d emoji of a (feather:1.3)"),
        "copied": ("caption.copy", copied),
    }


def write_faulty(folder: Path) -> dict[str, str]:
    """Writes `folder/set` and `folder/references`; the rule planted at each file."""
    where, references = folder / "set", folder / "references"
    where.mkdir(parents=True)
    references.mkdir()
    sound = sorted(PICTURES.glob("*.png"))[:SOUND]
    for path in sound:
        shutil.copy(path, where)
        shutil.copy(path.with_suffix(".txt"), where)
    planted: dict[str, str] = {}

    def put(name: str, data: bytes, caption: str | bytes | None = "") -> None:
        (where / name).write_bytes(data)
        if caption is not None:
            text = caption or f"a fluent3d emoji of {name.rpartition('.')[0]}"
            beside = (where / name).with_suffix(".txt")
            beside.write_bytes(text if isinstance(text, bytes) else text.encode())

    for name, (rule, data) in faulty_images().items():
        put(name, data)
        planted[name] = rule
    captions = faulty_captions(sound[3].with_suffix(".txt").read_bytes())
    for seed, (name, (rule, caption)) in enumerate(captions.items(), 20):
        put(f"{name}.png", saved(scene(seed, 256), "PNG"), caption)
        planted[f"{name}.png"] = rule
    first, second, third = (Image.open(path).convert("RGB") for path in sound[:3])
    put("the-same.png", saved(first, "PNG"))
    mirrored = second.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    put("mirrored.png", saved(mirrored.resize((60, 60)).resize((128, 128)), "PNG"))
    (references / "held-out.png").write_bytes(saved(third.resize((80, 80)), "PNG"))
    put(HOSTILE_NAME, saved(scene(50, 256), "PNG"), "a fluent3d emoji of a trap")
    put("Twin.png", saved(scene(51, 256), "PNG"))
    put("twin.png", saved(scene(52, 256), "PNG"))
    (where / "link.png").symlink_to(sound[0])
    (where / "link.txt").write_text("a fluent3d emoji of a link")
    (where / "alone.txt").write_text("a fluent3d emoji of nothing")
    (where / "notes.pdf").write_bytes(b"%PDF-1.4")
    return planted | {
        "the-same.png": "duplicate.exact",
        # The larger of two that are alike is kept.
        sound[1].name: "duplicate.near",
        sound[2].name: "duplicate.leak",
        "twin.png": "path.collision",
        "link.png": "image.link",
        "alone.txt": "caption.orphan",
        "notes.pdf": "dataset.unknown-file",
    }
