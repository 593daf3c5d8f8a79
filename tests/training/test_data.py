"""Pictures and captions as they come: all kinds of files, missing and broken ones, held out."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lora_ci.core.buckets import Bucket, views_of
from lora_ci.core.errors import InputError
from lora_ci.training.captions import ORDERS, has_trigger, orders_of
from lora_ci.training.data import MOST_HELD_OUT, Sample, hold_out, read_samples
from lora_ci.training.findings import caption_findings
from lora_ci.training.pictures import load_views, read_size


def sample_of(path: Path) -> Sample:
    return Sample(path=path, caption="mei", sha256="0" * 64, name=path.name)


def pixels_of(path: Path, side: int = 16) -> torch.Tensor:
    """The middle square of the picture, [3, side, side]."""
    sample = sample_of(path)
    views = views_of(read_size(sample), Bucket(width=side, height=side), "center")
    return load_views(sample, views)[0]


def save(path: Path, picture: Image.Image, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **how)
    return path


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """Red rises to the right, green downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_transparent_pixels_are_white_and_have_no_color_of_their_own(tmp_path, suffix):
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    path = save(tmp_path / f"a.{suffix}", picture, lossless=True)
    assert torch.equal(pixels_of(path), torch.ones(3, 16, 16))


def test_a_transparent_color_of_a_palette_is_white(tmp_path):
    picture = Image.new("P", (16, 16), 3)
    picture.putpalette([0, 0, 0] * 256)
    path = save(tmp_path / "a.png", picture, transparency=3)
    assert torch.equal(pixels_of(path), torch.ones(3, 16, 16))


def test_sixteen_bits_of_gray_are_scaled_not_cut(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.full((16, 16), 32896, np.uint16)))
    assert pixels_of(path)[:, 0, 0].tolist() == pytest.approx([0.0039] * 3, abs=1e-3)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "LA", "P"])
def test_all_color_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    save(path, Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode))
    assert pixels_of(path).min() > 0.98


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    path = tmp_path / "a.webp"
    save(path, frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert pixels_of(path).min() > 0.98


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_picture_stands_upright_as_pillow_turns_it(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", gradient(), exif=exif, quality=100)
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB")
    sample = sample_of(path)
    assert read_size(sample) == upright.size
    bucket = Bucket(width=upright.width, height=upright.height)
    pixels = load_views(sample, views_of(upright.size, bucket, "center"))[0]
    wanted = torch.from_numpy(np.array(upright)).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(pixels, wanted)


def test_views_are_cuts_of_one_scaling_and_mirrors_of_each_other(tmp_path):
    path = save(tmp_path / "a.png", gradient())
    views = views_of((40, 24), Bucket(width=24, height=24), "random")
    cuts = load_views(sample_of(path), [*views, replace(views[0], mirrored=True)])
    assert torch.equal(cuts[4], cuts[0].flip(-1))
    # From the left end to the right one.
    reds = [float(cut[0].mean()) for cut in cuts[:4]]
    assert reds == sorted(reds)
    assert cuts[0][0, 0, 0] == -1
    assert cuts[3][0, 0, -1] == 1


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a" + b"\0" * 50])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: the image cannot be decoded") as told:
        read_size(sample_of(path))
    assert told.value.findings[0].file == "a.png"


@given(st.binary(max_size=400), st.integers(0, 2000))
@limits(max_examples=60)
def test_a_damaged_picture_is_decoded_or_named_and_nothing_else(tmp_path_factory, junk, place):
    path = save(tmp_path_factory.mktemp("junk") / "a.png", gradient())
    whole = bytearray(path.read_bytes())
    place %= len(whole)
    whole[place : place + len(junk)] = junk
    path.write_bytes(whole[: max(1, len(whole) - place // 2)])
    # Anything but an InputError would be a crash.
    with suppress(InputError):
        assert pixels_of(path).shape == (3, 16, 16)


def write(folder: Path, name: str, caption: str | bytes | None = None) -> None:
    color = tuple(hashlib.sha256(name.encode()).digest()[:3])
    path = save(folder / name, Image.new("RGB", (8, 8), color))
    if isinstance(caption, str):
        path.with_suffix(".txt").write_text(caption)
    elif caption is not None:
        path.with_suffix(".caption").write_bytes(caption)


def test_samples_have_captions_repeats_and_names(tmp_path):
    write(tmp_path, "b/2.png", "mei, two\n")
    write(tmp_path, "a/1.png", b"\xef\xbb\xbfmei, one")
    write(tmp_path, "a/3.png")
    write(tmp_path, "4.png", "  ")
    write(tmp_path, "a/5.png")
    line = {"file_name": "5.png", "text": "mei, five"}
    (tmp_path / "a" / "metadata.jsonl").write_text(json.dumps(line))
    (tmp_path / "folder.png").mkdir()
    samples = read_samples(tmp_path, "mei", {"a": 3})
    assert [(s.name, s.caption, s.repeats, s.captioned) for s in samples] == [
        ("4.png", "mei", 1, False),
        ("a/1.png", "mei, one", 3, True),
        ("a/3.png", "mei", 3, False),
        ("a/5.png", "mei, five", 3, True),
        ("b/2.png", "mei, two", 1, True),
    ]
    assert len({sample.sha256 for sample in samples}) == 5


def test_an_empty_dataset_and_an_unreadable_caption_are_told(tmp_path):
    with pytest.raises(InputError, match="no image"):
        read_samples(tmp_path, "mei")
    write(tmp_path, "a/1.png", b"m\xffi")
    with pytest.raises(InputError, match=r"a/1\.caption: the caption is no UTF-8 text"):
        read_samples(tmp_path, "mei")


def test_captions_without_the_trigger_and_missing_ones_are_warned_of(tmp_path):
    write(tmp_path, "1.png", "a meindl")
    write(tmp_path, "2.png", "Mei at home")
    write(tmp_path, "3.png")
    samples = read_samples(tmp_path, "mei")
    rules = {f.rule: f.message for f in caption_findings(samples, "mei", "pictures")}
    assert rules["train.caption-missing"].startswith("1 of 3 pictures have no caption")
    assert rules["train.trigger-absent"].startswith("1 of 3 captions do not contain")
    assert caption_findings(samples[1:2], "mei", "pictures") == []


def numbered(count: int) -> list[Sample]:
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]
    return [
        Sample(path=Path(f"{n}.png"), caption="", sha256=digest, name=f"{n}.png")
        for n, digest in enumerate(digests)
    ]


@given(st.integers(1, 60), st.floats(0.001, 0.5), st.integers(1, 5))
def test_some_are_held_out_never_all_and_further_pictures_move_few(count, share, more):
    samples = numbered(count + more)
    learned, held = hold_out(samples[:count], share)
    assert sorted([*learned, *held], key=lambda s: s.path) == sorted(
        samples[:count], key=lambda s: s.path
    )
    assert learned
    assert len(held) == min(max(1, round(share * count)), count - 1)
    now = {sample.name for sample in hold_out(samples, share)[1]}
    # A picture that comes takes the place of one at most.
    assert len({sample.name for sample in held} - now) <= more
    assert {s.name for s in hold_out(samples[:count][::-1], share)[1]} == {s.name for s in held}


def test_a_large_dataset_holds_out_no_more_than_a_loss_needs():
    learned, held = hold_out(numbered(1000), 0.5)
    assert (len(learned), len(held)) == (1000 - MOST_HELD_OUT, MOST_HELD_OUT)


def test_copies_of_a_picture_are_held_out_together():
    samples = numbered(4) * 2
    learned, held = hold_out(samples, 0.25)
    assert (len(learned), len(held)) == (6, 2)
    assert hold_out(numbered(1) * 3, 0.5)[1] == []
    assert hold_out(samples, 0.0) == (samples, [])


PARTS = st.lists(st.text("abc ", min_size=1, max_size=4).filter(str.strip), max_size=7)


@given(PARTS, st.integers(0, 3))
def test_an_order_has_the_same_parts_with_the_kept_ones_in_front(parts, keep):
    caption = ",".join([*parts, "mei smiles"])
    given_parts = [part.strip() for part in caption.split(",")]
    orders = orders_of(caption, "mei", keep)
    assert len(orders) == ORDERS
    assert orders_of(caption, "mei", keep) == orders
    front = [p for i, p in enumerate(given_parts) if i < keep or has_trigger(p, "mei")]
    for order in orders:
        found = [part.strip() for part in order.split(",")]
        assert sorted(found) == sorted(given_parts)
        if len(given_parts) - len(front) > 1:
            assert found[: len(front)] == front


def test_many_parts_come_in_many_orders():
    orders = orders_of("a, b, mei, c, d, e, f", "mei", 1)
    assert len(set(orders)) == ORDERS
    assert all(order.startswith("a, mei, ") for order in orders)
    assert set(orders_of("one part", "mei", 1)) == {"one part"}
