"""Pictures and captions that are encoded when a step first needs them."""

import os
from dataclasses import replace

import pytest
import torch

from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import load_base
from lora_ci.training.data import read_samples
from lora_ci.training.material import build_material
from lora_ci.training.shelf import CAPTIONS, LATENTS
from lora_ci.training.supply import encoders_may_stay
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(resolution=16, batch_size=2, seed=3, flip=True, caption_dropout=0.3)
ENCODERS = {"vae", "text_encoder", "text_encoder_2"}


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "dataset")


def build(model, dataset, cache, settings=SETTINGS, **more):
    samples = read_samples(dataset, "mei")
    return build_material(model, samples, settings, trigger="mei", cache=cache, **more)


def entries(cache) -> list[bytes]:
    """What the cache holds, whatever it is called."""
    found = (path for kind in (LATENTS, CAPTIONS) for path in (cache / kind).glob("*/*"))
    return sorted(path.read_bytes() for path in found)


def in_memory(model) -> set[str]:
    return ENCODERS & set(model.models.kept())


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl"])
def test_batches_and_cache_are_the_same_bytes(family, request, dataset, tmp_path):
    model = load_base(request.getfixturevalue(family), content_id="b1")
    early = build(model, dataset, tmp_path / "early")
    assert (early.encoded_pictures, early.encoded_captions) == (12, 7)
    assert in_memory(model) == set()
    late = build(model, dataset, tmp_path / "late", at_once=False)
    assert (late.encoded_pictures, late.encoded_captions) == (0, 0)
    seen = []
    for step in range(60):
        one, other = early.batch(step), late.batch(step)
        assert torch.equal(one.latents, other.latents)
        assert torch.equal(one.conditioning.tokens, other.conditioning.tokens)
        seen.append(late.encoded_pictures)
    assert 1 <= seen[0] <= 2
    assert seen[-1] == 12
    assert late.encoded_captions == 7
    assert entries(tmp_path / "early") == entries(tmp_path / "late")


def test_encoders_leave_memory_when_all_is_encoded_once(tiny_sd, dataset, tmp_path):
    model = load_base(tiny_sd, content_id="b1")
    late = build(model, dataset, tmp_path / "cache", at_once=False)
    late.batch(0)
    assert in_memory(model) == {"vae", "text_encoder"}
    for step in range(60):
        late.batch(step)
    assert in_memory(model) == set()


def test_what_another_process_made_or_an_earlier_attempt_is_not_made_again(
    tiny_sd, dataset, tmp_path
):
    first = build(load_base(tiny_sd, content_id="b1"), dataset, tmp_path / "c", at_once=False)
    for step in range(3):
        first.batch(step)
    second = build(load_base(tiny_sd, content_id="b1"), dataset, tmp_path / "c", at_once=False)
    for step in range(60):
        second.batch(step)
    assert 0 < second.encoded_pictures == 12 - first.encoded_pictures


def test_held_out_pictures_are_encoded_before_the_first_step(tiny_sd, dataset, tmp_path):
    model = load_base(tiny_sd, content_id="b1")
    settings = replace(SETTINGS, validation_share=0.3)
    late = build(model, dataset, tmp_path / "cache", settings, at_once=False)
    held = len({name for batch in late.validation for name in batch.names})
    assert held == late.encoded_pictures == late.encoded_captions == 2


def test_a_cache_that_is_too_small_is_told_once_it_is_full(tiny_sd, dataset, tmp_path):
    model = load_base(tiny_sd, content_id="b1")
    late = build(model, dataset, tmp_path / "cache", at_once=False, limit_bytes=10)
    assert "train.cache-large" not in {finding.rule for finding in late.findings}
    late.batch(0)
    assert "train.cache-large" in {finding.rule for finding in late.findings}


def test_encoders_stay_where_half_of_the_memory_is_left(tiny_sd, monkeypatch):
    model = load_base(tiny_sd, content_id="b1")
    weights = sum(path.stat().st_size for path in tiny_sd.glob("*/*.safetensors"))
    for pages, may in ((2 * weights, True), (2 * weights - 1, False)):
        units = {"SC_PHYS_PAGES": pages, "SC_PAGE_SIZE": 1}
        monkeypatch.setattr(os, "sysconf", units.__getitem__)
        assert encoders_may_stay(model) is may
