"""Adapters of the emoji world whose worth is known: one that was trained well, others with a fault.

Each variant says how its dataset or its settings are spoilt before the training, or the finished
adapter after it. What trains, trains with our own trainer and the settings of the demo.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image, ImageFilter, ImageOps

from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter

WORLD = Path(__file__).parents[2] / "examples" / "emoji"
TRIGGER, OTHER_TRIGGER = "fluent3d", "softclay"
GOOD = "good"
IMAGES_SEEN = 1600
COPIES = 8
# How findings about a file begin.
REFUSED = ("adapter.", "lora-ci.input")

# Changes a copy of the dataset; the number is the seed of what is left to chance.
Prepare = Callable[[Path, int], None]
# The good adapter's file → the spoilt one's.
Spoil = Callable[[Path, Path, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An adapter to judge.

    `named_by` are the metrics or rules of which one must say what is wrong with it; none of them
    for an adapter that is as good as the good one. It is trained unless `spoil` makes it.
    """

    name: str
    fault: str
    named_by: tuple[str, ...]
    images_seen: int = IMAGES_SEEN
    rank: int = 16
    trigger: str = TRIGGER
    prepare: Prepare | None = None
    spoil: Spoil | None = None


def drawn_in_ink(dataset: Path, _: int) -> None:
    """The same subjects as line drawings."""
    for path in dataset.glob("*.png"):
        with Image.open(path) as file:
            paper = Image.new("RGBA", file.size, "white")
            picture = Image.alpha_composite(paper, file.convert("RGBA")).convert("L")
        lines = picture.filter(ImageFilter.FIND_EDGES)
        # The filter calls the border of the picture an edge.
        lines = ImageOps.expand(ImageOps.crop(lines, 2), 2, 0)
        ImageOps.invert(ImageOps.autocontrast(lines)).convert("RGB").save(path)


def another_set(dataset: Path, _: int) -> None:
    """The pictures of the demo's other LoRA, under this one's trigger."""
    shutil.rmtree(dataset)
    shutil.copytree(WORLD / "pictures" / "mochi", dataset)
    for path in dataset.glob("*.txt"):
        path.write_text(path.read_text().replace("mochi", TRIGGER))


def another_trigger(dataset: Path, _: int) -> None:
    """Captions with a word that the config does not know."""
    for path in dataset.glob("*.txt"):
        path.write_text(path.read_text().replace(TRIGGER, OTHER_TRIGGER))


def one_picture(dataset: Path, seed: int) -> None:
    """One picture, several times."""
    kept = random.Random(seed).choice(sorted(dataset.glob("*.png")))
    for path in [*dataset.glob("*.png"), *dataset.glob("*.txt")]:
        if path.stem != kept.stem:
            path.unlink()
    for copy in range(1, COPIES):
        shutil.copy(kept, dataset / f"copy-{copy}.png")
        shutil.copy(kept.with_suffix(".txt"), dataset / f"copy-{copy}.txt")


def exchanged_captions(dataset: Path, seed: int) -> None:
    """Every picture has another one's caption."""
    paths = sorted(dataset.glob("*.txt"))
    random.Random(seed).shuffle(paths)
    texts = [path.read_text() for path in paths]
    for path, text in zip(paths, [*texts[1:], texts[0]], strict=True):
        path.write_text(text)


def cut_short(good: Path, spoilt: Path, _: int) -> None:
    """A download that broke off."""
    data = good.read_bytes()
    spoilt.write_bytes(data[: len(data) * 9 // 10])


def flipped_bits(good: Path, spoilt: Path, seed: int) -> None:
    """One bit in a thousand bytes is wrong, behind the header."""
    data, chance = bytearray(good.read_bytes()), random.Random(seed)
    start = 8 + int.from_bytes(data[:8], "little")
    for place in chance.sample(range(start, len(data)), (len(data) - start) // 1000):
        data[place] ^= 1 << chance.randrange(8)
    spoilt.write_bytes(data)


def with_nan(good: Path, spoilt: Path, _: int) -> None:
    """One value of one layer is no number: written past our writer, which would refuse."""
    data = bytearray(good.read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"
    spoilt.write_bytes(data)


def scrambled(good: Path, spoilt: Path, seed: int) -> None:
    """The values of each tensor in another order: a file that is sound and means nothing."""
    source = torch.Generator().manual_seed(seed)

    def shuffled(tensor: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(tensor.numel(), generator=source)
        return tensor.flatten()[order].reshape(tensor.shape)

    rewrite(good, spoilt, lambda la: replace(la, up=shuffled(la.up), down=shuffled(la.down)))


def three_times(good: Path, spoilt: Path, _: int) -> None:
    """Merged by mistake at three times its strength."""
    rewrite(good, spoilt, lambda layer: replace(layer, up=3 * layer.up))


def rewrite(good: Path, spoilt: Path, change: Callable[[LoraLayer], LoraLayer]) -> None:
    """Writes the adapter with every layer changed."""
    adapter = read_adapter(good)
    layers = {name: change(layer) for name, layer in adapter.layers.items()}
    changed = Adapter(layers=layers, family=adapter.family)
    write_adapter(changed, spoilt, Format.DIFFUSERS)


VARIANTS = (
    Variant(name=GOOD, fault="none", named_by=()),
    Variant(name="rank-1", fault="rank 1 instead of 16", named_by=(), rank=1),
    Variant(
        name="under-trained",
        fault="5 % of the images",
        named_by=("identity", "flexibility"),
        images_seen=IMAGES_SEEN // 20,
    ),
    Variant(
        name="over-trained",
        fault="20 times the images",
        named_by=("loss.gap", "loss-gap", "memorization"),
        images_seen=20 * IMAGES_SEEN,
    ),
    Variant(
        name="wrong-trigger",
        fault="taught under another word",
        named_by=("adapter.trigger",),
        prepare=another_trigger,
        trigger=OTHER_TRIGGER,
    ),
    Variant(
        name="other-style",
        fault="taught line drawings",
        named_by=("identity", "loss.against-base", "base-look"),
        prepare=drawn_in_ink,
    ),
    Variant(
        name="other-set",
        fault="taught another LoRA's pictures",
        named_by=("identity", "loss.against-base"),
        prepare=another_set,
    ),
    Variant(
        name="one-picture",
        fault="one picture, repeated",
        named_by=("memorization", "variety", "loss-gap"),
        prepare=one_picture,
    ),
    Variant(
        name="mislabelled",
        fault="captions exchanged",
        named_by=("following",),
        prepare=exchanged_captions,
    ),
    Variant(
        name="three-times",
        fault="3 times as strong",
        named_by=("loss.against-half", "strength"),
        spoil=three_times,
    ),
    Variant(
        name="scrambled",
        fault="values in another order",
        named_by=("identity", "flexibility"),
        spoil=scrambled,
    ),
    Variant(name="cut-short", fault="file cut off", named_by=REFUSED, spoil=cut_short),
    Variant(
        name="flipped-bits",
        fault="bits flipped",
        named_by=("loss.against-base", "sound", *REFUSED),
        spoil=flipped_bits,
    ),
    Variant(name="nan", fault="one value is NaN", named_by=REFUSED, spoil=with_nan),
)
