"""References that were trained on are found, also where they were saved anew."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_ci.ruler.references import Reference, read_references
from lora_ci.ruler.seen import find_seen

PICTURES = Path("examples/emoji/pictures")


@pytest.fixture(scope="module")
def training():
    return read_references(PICTURES / "fluent3d", 64)[:30]


@pytest.fixture(scope="module")
def held_out():
    return read_references(PICTURES / "fluent3d-references", 64)


def saved_anew(reference):
    file = io.BytesIO()
    Image.fromarray(reference.picture).save(file, "JPEG", quality=95)
    return Reference(name="copy.jpg", picture=np.asarray(Image.open(file)), caption="")


def test_held_out_pictures_are_not_seen(held_out, training):
    assert find_seen(held_out, training) == ()


def test_the_very_same_picture_is_named(held_out, training):
    (found,) = find_seen([*held_out, training[7]], training)
    assert found.reference == found.training == training[7].name


def test_a_picture_saved_anew_is_named(held_out, training):
    (found,) = find_seen([held_out[0], saved_anew(training[3])], training)
    assert (found.reference, found.training) == ("copy.jpg", training[3].name)


def test_a_picture_made_darker_is_another(training):
    darker = np.clip(training[3].picture.astype(int) - 20, 0, 255).astype(np.uint8)
    assert find_seen([Reference(name="darker.png", picture=darker, caption="")], training) == ()


def test_nothing_is_seen_of_nothing(training):
    assert find_seen([], training) == find_seen(training, []) == ()
