"""Copies by pixels: of real pictures none is one of another, altered copies are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lora_ci.ruler.pixel_copies import pixel_copies
from lora_ci.ruler.references import read_references

PICTURES = Path("examples/emoji/pictures")


@pytest.fixture(scope="module")
def training():
    return [r.picture for r in read_references(PICTURES / "fluent3d", 64)]


@pytest.fixture(scope="module")
def held_out():
    return [r.picture for r in read_references(PICTURES / "fluent3d-references", 64)]


def noisy(picture):
    noise = np.random.default_rng(0).normal(0, 25, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def soft(picture):
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))


def moved(picture):
    return np.roll(picture, 1, axis=1)


def test_held_out_pictures_are_no_copies(training, held_out):
    assert not pixel_copies(held_out, training, held_out).any()
    # Nor is one training picture of the others.
    assert not pixel_copies(training[:20], training[20:], held_out).any()


@pytest.mark.parametrize("change", [noisy, soft, moved])
def test_altered_copies_are(training, held_out, change):
    found = pixel_copies([change(p) for p in training], training, held_out)
    assert found.mean() > 0.9


def test_a_picture_that_is_there_twice_has_itself_for_no_other(training, held_out):
    repeated = [training[0]] * 8
    assert pixel_copies([noisy(training[0])], repeated, held_out).all()
    assert not pixel_copies(held_out[1:], repeated, held_out[:1]).any()
