"""The adapters of known worth: what is wrong with them is wrong, and the table tells it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from tools.emoji_world.faults import GOOD, TRIGGER, VARIANTS, WORLD, Spoil, Variant
from tools.emoji_world.judged import TESTS, Judged, by_variant, summary, table

BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A copy of the style's pictures."""
    return shutil.copytree(WORLD / "pictures" / TRIGGER, tmp_path / "dataset")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A small adapter of random values."""
    torch = pytest.importorskip("torch")
    chance = torch.Generator().manual_seed(0)
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_{}"
    layers = {
        name.format(part): LoraLayer(
            down=torch.randn(4, 32, generator=chance),
            up=torch.randn(32, 4, generator=chance),
            alpha=4.0,
        )
        for part in "kqv"
    }
    write_adapter(Adapter(layers=layers), path := tmp_path / "good.st", Format.DIFFUSERS)
    return path


def prepared(name: str, dataset: Path, seed: int = 0) -> dict[str, tuple[bytes, str]]:
    """Picture and caption by name, after the variant's change."""
    change = BY_NAME[name].prepare
    assert change
    change(dataset, seed)
    return pairs(dataset)


def pairs(dataset: Path) -> dict[str, tuple[bytes, str]]:
    """Picture and caption by name."""
    paths = sorted(dataset.glob("*.png"))
    return {p.stem: (p.read_bytes(), p.with_suffix(".txt").read_text()) for p in paths}


def spoil(name: str) -> Spoil:
    """How the variant spoils an adapter."""
    change = BY_NAME[name].spoil
    assert change
    return change


def test_another_trigger_is_in_every_caption_and_the_own_one_in_none(dataset: Path) -> None:
    """The pictures stay."""
    before = pairs(dataset)
    after = prepared("wrong-trigger", dataset)
    assert [picture for picture, _ in after.values()] == [picture for picture, _ in before.values()]
    trigger = BY_NAME["wrong-trigger"].trigger
    assert all(text.endswith(trigger + "\n") or trigger in text for _, text in after.values())
    assert not any(TRIGGER in text for _, text in after.values())


def test_no_picture_keeps_its_caption_when_captions_are_exchanged(dataset: Path) -> None:
    """All captions are still there."""
    before = pairs(dataset)
    after = prepared("mislabelled", dataset)
    assert sorted(text for _, text in after.values()) == sorted(t for _, t in before.values())
    assert not any(after[name][1] == before[name][1] for name in before)


def test_one_picture_is_all_that_is_left(dataset: Path) -> None:
    """Which one depends on the seed."""
    other = shutil.copytree(dataset, dataset.with_name("other"))
    first, second = prepared("one-picture", dataset, 0), prepared("one-picture", other, 1)
    assert len(set(first.values())) == len(set(second.values())) == 1
    assert len(first) == len(second) == 8
    assert set(first.values()) != set(second.values())


def test_line_drawings_are_dark_lines_on_white_paper(dataset: Path) -> None:
    """Of the same number and with the same captions."""
    before = pairs(dataset)
    after = prepared("other-style", dataset)
    assert [text for _, text in after.values()] == [text for _, text in before.values()]
    for path in dataset.glob("*.png"):
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
        assert (pixels == pixels[..., :1]).all()
        assert np.median(pixels) > 200
        assert pixels.min() < 80


def test_another_set_has_the_judged_trigger_in_its_captions(dataset: Path) -> None:
    """None of the style's own pictures is left."""
    own = {picture for picture, _ in pairs(dataset).values()}
    after = prepared("other-set", dataset)
    assert after
    assert not own & {picture for picture, _ in after.values()}
    assert all(TRIGGER in text for _, text in after.values())


@pytest.mark.parametrize(("name", "why"), [("cut-short", "spoilt"), ("nan", "NaN")])
def test_a_spoilt_file_is_refused(name: str, why: str, adapter: Path, tmp_path: Path) -> None:
    """The file it was made of is none of that."""
    assert not [f for f in check_adapter(read_adapter(adapter)) if f.rule != "adapter.family"]
    spoil(name)(adapter, tmp_path / "spoilt.st", 0)
    with pytest.raises(InputError, match=why):
        read_adapter(tmp_path / "spoilt.st")


def test_flipped_bits_leave_the_header_and_change_the_effect(adapter: Path, tmp_path: Path) -> None:
    """One byte in a thousand is another."""
    before = adapter.read_bytes()
    spoil("flipped-bits")(adapter, tmp_path / "spoilt.st", 0)
    after = (tmp_path / "spoilt.st").read_bytes()
    start = 8 + int.from_bytes(before[:8], "little")
    assert after[:start] == before[:start]
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert changed == (len(before) - start) // 1000
    assert changed > 0


def test_three_times_is_three_times_the_effect(adapter: Path, tmp_path: Path) -> None:
    """In every layer."""
    spoil("three-times")(adapter, tmp_path / "spoilt.st", 0)
    good, spoilt = read_adapter(adapter), read_adapter(tmp_path / "spoilt.st")
    for name, layer in good.layers.items():
        np.testing.assert_allclose(spoilt.layers[name].delta(), 3 * layer.delta(), rtol=1e-3)


def test_scrambled_values_are_the_same_values_elsewhere(adapter: Path, tmp_path: Path) -> None:
    """The file passes the contract as the good one does."""
    spoil("scrambled")(adapter, tmp_path / "spoilt.st", 0)
    good, spoilt = read_adapter(adapter), read_adapter(tmp_path / "spoilt.st")
    for name, layer in good.layers.items():
        other = spoilt.layers[name]
        np.testing.assert_array_equal(np.sort(layer.up.ravel()), np.sort(other.up.ravel()))
        assert not np.allclose(layer.delta(), other.delta())
    assert check_adapter(spoilt) == check_adapter(good)


def judged(
    variant: Variant, outcome: Outcome, overall: float | None, *failed: str, seed: int = 0
) -> Judged:
    """A judgement."""
    return Judged(
        variant=variant.name,
        seed=seed,
        outcome=outcome,
        overall=overall,
        scores=dict.fromkeys(TESTS, overall),
        failed=failed,
        warned=(),
        named=bool(failed) if variant.named_by else None,
        metrics={} if overall is None else {"overall": overall},
        took_s=1.0,
    )


def test_the_good_one_is_first_where_it_passed_though_a_failed_one_scores_more() -> None:
    """Outcome first, score second."""
    found = [
        judged(BY_NAME[GOOD], Outcome.PASSED, 0.9),
        judged(BY_NAME["mislabelled"], Outcome.FAILED, 0.95, "following"),
        judged(BY_NAME["cut-short"], Outcome.FAILED, None),
    ]
    said = summary(found)
    assert "2 of 2 faulty adapters failed, 0 passed; of 1 the fault was named" in said
    assert "seed 0: `good` is number 1 of 3" in said
    good, other, refused = table(found).splitlines()[2:]
    assert good.endswith("|  |  |  |")
    assert other.startswith("| mislabelled | 0 | failed | 0.95 | 0.95 |")
    assert other.endswith("| `following` |  | yes |")
    assert refused.endswith("| – | – | – | – | – | – |  |  | no |")


def test_a_faulty_one_that_passed_with_more_is_told_to_be_before_the_good_one() -> None:
    """So the table cannot hide it."""
    found = [
        judged(BY_NAME[GOOD], Outcome.INCONCLUSIVE, 0.99),
        judged(BY_NAME["mislabelled"], Outcome.PASSED, 0.85),
    ]
    assert "seed 0: `good` is number 2 of 2, after mislabelled" in summary(found)
    assert "0 of 1 faulty adapters failed, 1 passed" in summary(found)


def test_in_short_only_what_was_said_with_every_seed_is_told() -> None:
    """And the range over the seeds."""
    found = [
        judged(BY_NAME["mislabelled"], Outcome.FAILED, 0.7, "following", "overall"),
        judged(BY_NAME["mislabelled"], Outcome.INCONCLUSIVE, 0.8, "following", seed=1),
        judged(BY_NAME["mislabelled"], Outcome.FAILED, 0.75, "following", seed=2),
    ]
    (line,) = by_variant(found).splitlines()[2:]
    fault = BY_NAME["mislabelled"].fault
    start = f"| mislabelled | {fault} | 2 failed, 1 inconclusive | 0.70 … 0.80 | – |"
    assert line.startswith(start)
    assert line.endswith("| `following` |")
