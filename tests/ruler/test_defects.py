"""Broken pictures are told from sound ones, without calling sound ones broken."""

from pathlib import Path

import numpy as np
import pytest

from lora_ci.ruler.defects import defects, sound_range
from lora_ci.ruler.references import read_references

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
