"""Broken pictures are told from sound ones, without calling sound ones broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_ci.ruler.defects import defects, sound_range
from lora_ci.ruler.references import read_references
from lora_ci.ruler.repetition import repetition
from lora_ci.ruler.structure import luma

PICTURES = Path("examples/emoji/pictures")


@pytest.fixture(scope="module")
def real():
    return [r.picture for r in read_references(PICTURES / "fluent3d", 64)]


@pytest.fixture(scope="module")
def sound(real):
    return sound_range(real[:50])


def test_held_out_real_pictures_are_sound(sound):
    held_out = read_references(PICTURES / "fluent3d-references", 64)
    assert len(held_out) == 24
    assert not [r.name for r in held_out if defects(r.picture, sound)]


def noisy(picture):
    noise = np.random.default_rng(0).normal(0, 70, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def blank(picture):
    return np.full_like(picture, 255)


def burnt(picture):
    return np.where(picture.astype(int) > 127, 255, 0).astype(np.uint8)


# Burning a grey or white thing changes little: not all of those can be told.
@pytest.mark.parametrize(("damage", "share"), [(noisy, 0.9), (blank, 1.0), (burnt, 0.6)])
def test_damage_is_found(real, sound, damage, share):
    found = [bool(defects(damage(p), sound)) for p in real[50:]]
    assert np.mean(found) >= share


def test_blank_pictures_are_called_blank(real, sound):
    assert defects(blank(real[0]), sound) == ("blank",)


def repeated(picture):
    return np.tile(picture[::2, ::2], (2, 2, 1))


def beside_itself(picture):
    left = picture[:, :32]
    return np.concatenate([left, left], axis=1)


def soft(picture):
    small = Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))


def in_blocks(picture):
    small = Image.fromarray(picture).resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small.resize((64, 64), Image.Resampling.NEAREST))


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (repeated, "repetition"),
        (beside_itself, "repetition"),
        (soft, "high frequencies"),
        (in_blocks, "blockiness"),
    ],
)
def test_damage_has_its_name(real, sound, damage, name):
    assert np.mean([name in defects(damage(p), sound) for p in real[50:]]) >= 0.95


def test_a_picture_is_measured_alike_at_any_size(real):
    for picture in real[:5]:
        large = np.asarray(Image.fromarray(picture).resize((512, 512), Image.Resampling.BICUBIC))
        assert repetition(luma(large) / 255) == pytest.approx(
            repetition(luma(picture) / 255), abs=0.15
        )
    assert repetition(np.zeros((64, 64))) == 0
