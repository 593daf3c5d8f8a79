"""Batches of real, tiny models: encoded once, whole, and the same however they came about."""

import multiprocessing
import random
import shutil
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora_ci.core.errors import InfrastructureError, InputError, Interrupted
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.training.data import read_samples
from lora_ci.training.material import VALIDATION_TIMES, Material, build_material
from lora_ci.training.shards import Part
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(resolution=64, bucket_step=16, batch_size=3, seed=3)


def base(folder: Path, content_id: str = "b1") -> BaseModel:
    return load_base(folder, content_id=content_id)


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Six squares, and three pictures that are wide or high."""
    folder = write_dataset(tmp_path / "dataset")
    chance = random.Random(1)
    for number, size in enumerate([(96, 64), (100, 70), (64, 128)]):
        picture = Image.frombytes("RGB", size, chance.randbytes(3 * size[0] * size[1]))
        picture.save(folder / f"shaped-{number}.png")
        (folder / f"shaped-{number}.txt").write_text(f"mei, shaped, number {number}, wide, b, c")
    return folder


def build(
    folder: Path, dataset: Path, cache: Path, settings: TrainSettings = SETTINGS, **other: object
) -> Material:
    model = base(folder)
    return build_material(
        model, read_samples(dataset, "mei"), settings, trigger="mei", cache=cache, **other
    )


def same(one: Material, other: Material, steps: int = 12) -> bool:
    return all(
        torch.equal(a.latents, b.latents)
        and torch.equal(a.noise, b.noise)
        and torch.equal(a.times, b.times)
        and a.captions == b.captions
        and torch.equal(a.conditioning.tokens, b.conditioning.tokens)
        for a, b in ((one.batch(step), other.batch(step)) for step in range(steps))
    )


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl", "tiny_flux"])
def test_batches_of_all_families_fit_their_model(family, request, dataset, tmp_path):
    from lora_ci.diffusion.denoise import denoise

    folder = request.getfixturevalue(family)
    model = base(folder)
    settings = replace(SETTINGS, flip=True, crop="random", noise_offset=0.1, validation_share=0.2)
    samples = read_samples(dataset, "mei")
    material = build_material(model, samples, settings, trigger="mei", cache=tmp_path / "cache")
    assert material.epoch_images == 7
    shapes = set()
    for batch in (*(material.batch(step) for step in range(8)), *material.validation):
        noisy = material.objective.add_noise(batch.latents, batch.noise, batch.times)
        with torch.no_grad():
            out = denoise(model, noisy, batch.times, batch.conditioning)
        assert out.shape == batch.latents.shape == batch.noise.shape
        assert (batch.sizes is not None) == (family == "tiny_sdxl")
        shapes.add(batch.latents.shape[2:])
    assert len(shapes) > 1
    assert sum(len(batch.latents) for batch in material.validation) == 2 * VALIDATION_TIMES


def test_a_second_training_encodes_nothing_and_reads_neither_vae_nor_text_encoder(
    tiny_sd, dataset, tmp_path
):
    first = build(tiny_sd, dataset, tmp_path / "cache", replace(SETTINGS, shuffle_captions=True))
    # Six captions of three parts, three with six; and the empty one.
    assert first.encoded_pictures == 9
    assert first.encoded_captions > 9
    bare = tmp_path / "bare"
    shutil.copytree(tiny_sd, bare)
    weights = [
        file for part in ("vae", "text_encoder") for file in bare.glob(f"{part}/*.safetensors")
    ]
    for file in weights:
        file.write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        build(bare, dataset, tmp_path / "elsewhere")
    second = build(bare, dataset, tmp_path / "cache", replace(SETTINGS, shuffle_captions=True))
    assert (second.encoded_pictures, second.encoded_captions) == (0, 0)
    assert same(first, second)


def test_what_another_training_encoded_beside_changes_no_bytes(tiny_sd, dataset, tmp_path):
    alone = build(tiny_sd, dataset, tmp_path / "one")
    build(tiny_sd, dataset, tmp_path / "two", replace(SETTINGS, flip=True, crop="random"))
    shared = build(tiny_sd, dataset, tmp_path / "two")
    assert shared.encoded_captions == 0
    assert same(alone, shared)


def test_other_pictures_another_base_or_shape_are_encoded_anew(tiny_sd, dataset, tmp_path):
    cache = tmp_path / "cache"
    build(tiny_sd, dataset, cache)
    square = build(tiny_sd, dataset, cache, replace(SETTINGS, buckets=False))
    # The squares are what they were.
    assert (square.encoded_pictures, square.encoded_captions) == (3, 0)
    samples = read_samples(dataset, "mei")
    other = build_material(base(tiny_sd, "b2"), samples, SETTINGS, trigger="mei", cache=cache)
    assert (other.encoded_pictures, other.encoded_captions) == (9, 10)
    (dataset / "00.txt").write_text("mei, changed")
    Image.new("RGB", (64, 64), "red").save(dataset / "01.png")
    changed = build(tiny_sd, dataset, cache)
    assert (changed.encoded_pictures, changed.encoded_captions) == (1, 1)


def test_damaged_entries_are_made_again(tiny_sd, dataset, tmp_path):
    cache = tmp_path / "cache"
    first = build(tiny_sd, dataset, cache)
    entries = sorted(path for path in cache.rglob("*.tensors"))
    assert len(entries) == 19
    content = bytearray(entries[0].read_bytes())
    content[len(content) // 2] ^= 1
    entries[0].write_bytes(content)
    entries[1].write_bytes(entries[1].read_bytes()[:50])
    entries[-1].unlink()
    second = build(tiny_sd, dataset, cache)
    assert second.encoded_pictures + second.encoded_captions == 3
    assert same(first, second)


def test_what_does_not_fit_in_memory_is_read_for_each_step(tiny_sd, dataset, tmp_path):
    cache = tmp_path / "cache"
    whole = build(tiny_sd, dataset, cache)
    tight = build(tiny_sd, dataset, cache, memory_bytes=5000)
    assert same(whole, tight)
    shutil.rmtree(cache)
    assert same(whole, whole)
    with pytest.raises(InfrastructureError, match="gone from the cache"):
        same(whole, tight)


def test_the_cache_is_bounded_but_keeps_what_is_used(tiny_sd, dataset, tmp_path):
    cache = tmp_path / "cache"
    old = cache / "latents" / "00" / "old.tensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x" * 1000)
    material = build(tiny_sd, dataset, cache, limit_bytes=100)
    assert not old.exists()
    assert [f.rule for f in material.findings] == ["train.cache-large"]
    assert len(list(cache.rglob("*.tensors"))) == 19


def test_every_picture_is_seen_once_an_epoch_and_regularization_as_often(
    tiny_sd, dataset, tmp_path
):
    others = write_dataset(tmp_path / "others", images=2, trigger="a person")
    settings = replace(SETTINGS, batch_size=1, prior_weight=0.5, caption_dropout=0.0)
    material = build(
        tiny_sd, dataset, tmp_path / "cache", settings, regularization=read_samples(others, "")
    )
    assert (material.epoch_images, material.dataset_pictures) == (18, 9)
    seen, weights = Counter(), Counter()
    for step in range(18 * 2):
        batch = material.batch(step)
        seen[batch.captions[0]] += 1
        weights[float(batch.weights[0])] += 1
    ours = {caption: count for caption, count in seen.items() if caption.startswith("mei")}
    assert set(ours.values()) == {2}
    assert len(ours) == 9
    assert weights == {1.0: 18, 0.5: 18}


def test_rows_of_a_batch_are_those_of_the_whole(tiny_sdxl, dataset, tmp_path):
    batch = build(tiny_sdxl, dataset, tmp_path / "cache").batch(4)
    parts = [batch.rows(slice(0, 1)), batch.rows(slice(1, 3))]
    for name in ("latents", "noise", "times", "weights", "sizes"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(batch, name)), name
    assert parts[0].captions + parts[1].captions == batch.captions
    assert torch.equal(parts[1].conditioning.pooled, batch.conditioning.pooled[1:])


def test_sdxl_is_told_height_before_width_and_where_the_cut_is(tiny_sdxl, tmp_path):
    dataset = tmp_path / "wide"
    dataset.mkdir()
    Image.new("RGB", (300, 100), "red").save(dataset / "a.png")
    settings = replace(SETTINGS, bucket_step=8, flip=True, crop="random")
    material = build(tiny_sdxl, dataset, tmp_path / "cache", settings)
    sizes = torch.cat([material.batch(step).sizes for step in range(20)])
    # 300 × 100 fills 80 × 40 as 120 × 40: 40 pixels are cut, of them 0, 13, 26 or 40 at the left,
    # and the others of a mirrored picture.
    assert material.buckets == {"80x40": 1}
    found = {tuple(row) for row in sizes.int().tolist()}
    assert found == {(100, 300, 0, left, 40, 80) for left in (0, 13, 26, 40, 27, 14)}


def test_dropped_captions_are_empty_and_shuffled_ones_keep_the_trigger(tiny_sd, dataset, tmp_path):
    settings = replace(SETTINGS, caption_dropout=0.5, shuffle_captions=True, keep_tags=0)
    material = build(tiny_sd, dataset, tmp_path / "cache", settings)
    captions = [c for step in range(60) for c in material.batch(step).captions]
    assert 0.35 < captions.count("") / len(captions) < 0.65
    shaped = {c for c in captions if "number 1, " in c or "wide" in c}
    assert len(shaped) > 6
    assert all(caption.startswith("mei, ") for caption in captions if caption)


def test_text_encoders_that_learn_get_captions_and_nothing_is_encoded(tiny_sdxl, dataset, tmp_path):
    settings = replace(SETTINGS, text_encoder=True)
    material = build(tiny_sdxl, dataset, tmp_path / "cache", settings)
    batch = material.batch(0)
    assert batch.conditioning is None
    assert len(batch.captions) == len(batch.sizes) == 3
    assert material.encoded_captions == 0


def test_validation_is_the_same_in_every_training(tiny_sd, dataset, tmp_path):
    settings = replace(SETTINGS, validation_share=0.2)
    one = build(tiny_sd, dataset, tmp_path / "cache", settings)
    other = build(tiny_sd, dataset, tmp_path / "cache", replace(settings, seed=9, flip=True))
    assert len(one.validation) == len(other.validation) > 0
    for a, b in zip(one.validation, other.validation, strict=True):
        assert torch.equal(a.latents, b.latents)
        assert torch.equal(a.noise, b.noise)
        assert torch.equal(a.times, b.times)
        assert a.captions == b.captions
    rows = torch.cat([batch.noise.flatten(1) for batch in one.validation])
    assert len(rows.unique(dim=0)) == 2 * VALIDATION_TIMES
    # What is held out is not mirrored: nine views, then the mirror images of seven.
    assert (one.encoded_pictures, other.encoded_pictures) == (9, 7)
    held = {caption for batch in one.validation for caption in batch.captions}
    assert not held & {c for step in range(40) for c in one.batch(step).captions}


def test_shards_share_out_what_is_learned_and_all_measure_on_what_is_held_out(
    tiny_sd, dataset, tmp_path
):
    settings = replace(SETTINGS, validation_share=0.2)
    whole = build(tiny_sd, dataset, tmp_path / "cache", settings)
    parts = [
        build(tiny_sd, dataset, tmp_path / "cache", settings, part=Part(number=number, count=3))
        for number in (1, 2, 3)
    ]
    seen = [[picture.sample.name for picture in part.pictures] for part in parts]
    assert sorted(map(len, seen)) == [2, 2, 3]
    assert sorted(chain(*seen)) == sorted(picture.sample.name for picture in whole.pictures)
    assert [part.epoch_images for part in parts] == list(map(len, seen))
    for part in parts:
        for mine, all_of_it in zip(part.validation, whole.validation, strict=True):
            assert torch.equal(mine.latents, all_of_it.latents)
            assert torch.equal(mine.noise, all_of_it.noise)
    with pytest.raises(InputError, match="7 images to learn from, for 8 shards"):
        build(tiny_sd, dataset, tmp_path / "cache", settings, part=Part(number=1, count=8))


def test_one_picture_is_enough_and_small_ones_are_told(tiny_sd, tmp_path):
    dataset = tmp_path / "one"
    dataset.mkdir()
    Image.new("RGB", (40, 40), "red").save(dataset / "a.png")
    settings = replace(SETTINGS, validation_share=0.5)
    material = build(tiny_sd, dataset, tmp_path / "cache", settings)
    assert material.epoch_images == 1
    assert material.validation == ()
    assert material.batch(7).latents.shape == (3, 4, 32, 32)
    rules = {finding.rule: finding.message for finding in material.findings}
    assert rules["train.enlarged"].startswith(
        "1 of 1 pictures are enlarged to the resolution 64, up to 1.6 times"
    )
    assert "train.caption-missing" in rules


def test_a_stop_while_encoding_is_heeded_and_what_was_made_is_kept(tiny_sd, dataset, tmp_path):
    def told(done: int, total: int, what: str) -> None:
        if done == 5:
            raise Interrupted(f"{done} of {total} {what}")

    with pytest.raises(Interrupted, match="5 of 9 pictures encoded"):
        build(tiny_sd, dataset, tmp_path / "cache", told=told)
    assert build(tiny_sd, dataset, tmp_path / "cache").encoded_pictures == 4


def test_processes_with_the_same_task_share_it(tiny_sd, dataset, tmp_path):
    alone = build(tiny_sd, dataset, tmp_path / "alone")
    context = multiprocessing.get_context("fork")
    counts = context.SimpleQueue()
    ready = context.Barrier(2)

    def take_part(begin: float) -> None:
        torch.set_num_threads(1)
        ready.wait(60)
        made = build(tiny_sd, dataset, tmp_path / "cache", begin=begin)
        counts.put((made.encoded_pictures, made.encoded_captions))

    workers = [
        context.Process(target=take_part, args=(begin,), daemon=True) for begin in (0.0, 0.5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    pictures, captions = zip(counts.get(), counts.get(), strict=True)
    # Both may make the same one at the same moment; that does no harm.
    assert 9 <= sum(pictures) < 18
    assert 10 <= sum(captions) < 20
    shared = build(tiny_sd, dataset, tmp_path / "cache")
    assert (shared.encoded_pictures, shared.encoded_captions) == (0, 0)
    assert same(alone, shared)


def test_a_latent_that_is_no_number_names_its_picture(tiny_sd, dataset, tmp_path):
    model = base(tiny_sd)
    torch.nn.init.constant_(model.vae.encoder.conv_in.bias, float("nan"))
    samples = read_samples(dataset, "mei")
    with pytest.raises(InputError, match=r"00\.png: the base model's VAE"):
        build_material(model, samples, SETTINGS, trigger="mei", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.tensors"))


def test_a_picture_too_large_for_memory_is_the_machine_s_fault(tiny_sd, dataset, tmp_path):
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = base(tiny_sd)
    model.vae.encoder.register_forward_pre_hook(refuse)
    with pytest.raises(InfrastructureError, match=r"one picture of 64 × 64 pixels is too much"):
        build_material(
            model, read_samples(dataset, "mei"), SETTINGS, trigger="mei", cache=tmp_path / "cache"
        )
