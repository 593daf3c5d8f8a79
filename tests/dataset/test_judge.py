"""Planted faults are measured as large as they are, and judged by the settings."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.decode import measure_bytes
from lora_ci.dataset.judge import image_findings, softness
from lora_ci.dataset.measured import Measured

SIDE = 768


def scene(seed: int = 0) -> Image.Image:
    """Shapes of all sizes, as photographs have them: strength falls with fineness."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((SIDE, SIDE, 3))
    for size in (3, 6, 12, 24, 48, 96, 192, 384, 768):
        plane = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        picture += (np.asarray(plane.resize((SIDE, SIDE)), np.float64) - 128) / size**0.5
    low, high = np.percentile(picture, (1, 99))
    return Image.fromarray(((picture - low) / (high - low) * 190 + 30).clip(0, 255).astype("uint8"))


def measured(picture: Image.Image, **options: object) -> Measured:
    data = io.BytesIO()
    picture.save(data, options.pop("format", "PNG"), **options)
    return measure_bytes(data.getvalue(), 10**8)


def rules(*pictures: Measured, **settings: object) -> list[list[str]]:
    names = [f"{i}.png" for i in range(len(pictures))]
    pictures = [replace(one, kind="PNG") for one in pictures]
    found = image_findings(names, pictures, ValidateSettings(**settings))
    return [[f.rule for f in found if f.file == name] for name in names]


def noisy(picture: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, sigma, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def recompressed(picture: Image.Image) -> Image.Image:
    data = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(2)).save(data, "JPEG", quality=5)
    return Image.open(data).convert("RGB").crop((3, 5, SIDE, SIDE))


def boxed(picture: Image.Image) -> Image.Image:
    box = Image.new("RGB", picture.size)
    box.paste(picture.crop((0, 0, SIDE, SIDE - 200)), (0, 100))
    return box


FAULTS = {
    "image.noisy": lambda p: noisy(p.filter(ImageFilter.GaussianBlur(3)), 25),
    "image.blocky": recompressed,
    "image.dark": lambda p: p.point(lambda v: v // 6),
    "image.washed-out": lambda p: p.point(lambda v: min(255, v * 3)),
    "image.border": boxed,
    "image.blurred": lambda p: p.filter(ImageFilter.GaussianBlur(3)),
}


def test_a_scene_without_faults_has_no_finding():
    assert rules(measured(scene())) == [[]]


@pytest.mark.parametrize("rule", FAULTS)
def test_a_planted_fault_is_told(rule):
    (found,) = rules(measured(FAULTS[rule](scene())))
    assert rule in found


@pytest.mark.parametrize("sigma", [5, 15, 30])
def test_noise_is_measured_in_levels(sigma):
    flat = Image.new("RGB", (SIDE, SIDE), (120, 120, 120))
    # Of luma: the mean of three independent colors is quieter.
    share = np.linalg.norm([0.299, 0.587, 0.114])
    assert measured(noisy(flat, sigma)).figures.noise == pytest.approx(sigma * share, rel=0.15)


def test_more_blur_is_softer():
    scores = [
        softness(measured(scene().filter(ImageFilter.GaussianBlur(s))).figures) for s in (0, 1, 2)
    ]
    assert scores == sorted(scores)


def test_a_gray_picture_is_told_in_a_colored_set_alone():
    colored, gray = measured(scene()), measured(scene().convert("L"))
    assert rules(*[colored] * 9, gray)[-1] == ["image.gray"]
    assert rules(*[gray] * 10)[-1] == []


def test_a_thing_on_white_is_neither_washed_out_nor_in_a_frame():
    on_white = Image.new("RGB", (1000, 1000), "white")
    on_white.paste(scene().resize((600, 600)), (200, 200))
    assert rules(measured(on_white)) == [[]]


def test_sizes_are_held_against_the_training():
    picture = measured(scene())
    assert rules(picture, resolution=768) == [[]]
    assert rules(picture, resolution=1024) == [["image.enlarged"]]
    wide = measured(scene().resize((2400, 800)))
    assert rules(wide, resolution=512) == [["image.cut"]]
