"""Pictures are made once, whoever asks again; a stop loses none that were made."""

from dataclasses import replace

import numpy as np
import pytest

from lora_ci.core.errors import Interrupted
from lora_ci.core.settings import QaSettings
from lora_ci.ruler.album import BATCH, Album, Maker
from lora_ci.ruler.classic import ClassicEmbedder

SETTINGS = QaSettings()
PROMPTS = [f"a thing {i}" for i in range(BATCH)]


class Counting:
    """Draws noise by prompt, seed and weight, and counts."""

    def __init__(self):
        self.asked = []

    def generate(self, requests):
        self.asked += requests
        return [self.draw(r) for r in requests]

    def draw(self, r):
        source = np.random.default_rng([r.seed, *r.prompt.encode(), int(100 * r.weight)])
        return source.integers(0, 256, (r.height, r.width, 3), np.uint8)


def maker(generator, *identity, weight=1.0):
    return Maker(identity=identity or ("base", "adapter"), generator=generator, weight=weight)


def album(tmp_path, settings=SETTINGS, stop=lambda: False):
    return Album(
        settings=settings,
        side=16,
        embedder=ClassicEmbedder(),
        cache=tmp_path,
        told=lambda _: None,
        stop=stop,
    )


def test_a_second_album_makes_nothing_and_gives_the_same(tmp_path):
    first, second = Counting(), Counting()
    made = album(tmp_path).pictures(maker(first), PROMPTS[:3], range(2))
    again = album(tmp_path).pictures(maker(second), PROMPTS[:3], range(2))
    assert (len(first.asked), len(second.asked)) == (6, 0)
    for prompt in PROMPTS[:3]:
        assert np.array_equal(made[prompt], again[prompt])


@pytest.mark.parametrize(
    ("identity", "weight", "settings"),
    [
        (("base", "other"), 1.0, SETTINGS),
        (("base", "adapter"), 0.8, SETTINGS),
        (("base", "adapter"), 1.0, replace(SETTINGS, steps=7)),
        (("base", "adapter"), 1.0, replace(SETTINGS, negative_prompt="ugly")),
    ],
)
def test_another_adapter_weight_or_sampler_is_another_picture(tmp_path, identity, weight, settings):
    album(tmp_path).pictures(maker(Counting()), PROMPTS[:1], range(1))
    other = Counting()
    album(tmp_path, settings).pictures(maker(other, *identity, weight=weight), PROMPTS[:1], [0])
    assert len(other.asked) == 1


def test_gates_and_embedders_share_pictures(tmp_path):
    album(tmp_path).pictures(maker(Counting()), PROMPTS[:1], range(1))
    other = Counting()
    settings = replace(SETTINGS, gates={"identity": ">= 0.1"}, embedder="path:x", seeds=9)
    album(tmp_path, settings).pictures(maker(other), PROMPTS[:1], range(1))
    assert other.asked == []


def test_a_damaged_picture_is_made_again(tmp_path):
    album(tmp_path).pictures(maker(Counting()), PROMPTS[:1], range(1))
    (kept,) = tmp_path.rglob("*.png")
    kept.write_bytes(kept.read_bytes()[:40])
    again = Counting()
    album(tmp_path).pictures(maker(again), PROMPTS[:1], range(1))
    assert len(again.asked) == 1


def test_a_stop_keeps_what_was_made(tmp_path):
    generator = Counting()
    with pytest.raises(Interrupted):
        album(tmp_path, stop=lambda: bool(generator.asked)).pictures(
            maker(generator), PROMPTS, range(2)
        )
    rest = Counting()
    album(tmp_path).pictures(maker(rest), PROMPTS, range(2))
    assert (len(generator.asked), len(rest.asked)) == (BATCH, BATCH)


def test_features_are_by_prompt_and_seed(tmp_path):
    seen = album(tmp_path)
    made = seen.pictures(maker(Counting()), PROMPTS[:3], range(2))
    features = seen.features(made, PROMPTS[:3])
    assert features.shape[:2] == (3, 2)
    assert np.allclose(features[1, 1], seen.embed([made[PROMPTS[1]][1]])[0])
    assert seen.embed([]).shape[0] == 0
