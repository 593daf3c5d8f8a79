"""Look-alikes: all that a comparison of each with each finds, and one of each group is kept."""

from pathlib import Path

import numpy as np
import pytest

from lora_ci.dataset import compared, duplicates
from lora_ci.dataset.compared import find_pairs_anew
from lora_ci.dataset.duplicates import find_pairs, groups_of
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.verdicts import FILE, Verdicts

THUMBNAILS = np.full((4, 16, 16, 3), 90, np.uint8)


def made(count: int, seed: int = 0, near: int = 0) -> list[Measured]:
    """Pictures with random hashes; the first `near` of them have a look-alike further on."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (count, 8, 32), dtype=np.uint8)
    for i in range(near):
        bits = np.unpackbits(hashes[i, 0])
        bits[rng.choice(256, int(rng.integers(0, 41)), replace=False)] ^= 1
        hashes[count // 2 + i, int(rng.integers(8))] = np.packbits(bits)
    return [
        Measured(
            path=Path(f"{seed}-{i}"),
            width=64 + i % 7,
            height=64,
            pixels=f"{seed}-{i}",
            hashes=one,
            thumbnails=THUMBNAILS,
        )
        for i, one in enumerate(hashes)
    ]


def found(pairs) -> set[tuple[int, int, int]]:
    return {(p.first, p.second, p.distance) for p in pairs}


@pytest.mark.slow
@pytest.mark.parametrize("distance", [20, 40])
def test_tables_find_what_comparing_each_with_each_does(monkeypatch, distance):
    pictures, others = made(1400, near=300), made(1000, seed=1)
    others[:50] = pictures[50:100]
    by_tables = (
        found(find_pairs(pictures, pictures, distance)),
        found(find_pairs(pictures, others, distance)),
    )
    monkeypatch.setattr(duplicates, "MAX_EACH_WITH_EACH", 10**9)
    each_with_each = (
        found(find_pairs(pictures, pictures, distance)),
        found(find_pairs(pictures, others, distance)),
    )
    assert by_tables == each_with_each
    assert len(each_with_each[0]) >= 300 * (distance + 1) / 41 * 0.7
    assert len(each_with_each[1]) >= 50


def test_what_was_compared_is_not_compared_again(tmp_path, monkeypatch):
    pictures = made(400, near=60)
    notes = Verdicts(tmp_path)
    whole = find_pairs(pictures, pictures, 40)
    assert find_pairs_anew(pictures, 40, notes, "set") == whole
    changed = [*pictures[5:], *made(10, seed=2), pictures[250]]
    asked = []
    real = compared.find_pairs
    monkeypatch.setattr(
        compared, "find_pairs", lambda a, b, d: asked.append((len(a), len(b))) or real(a, b, d)
    )
    assert find_pairs_anew(changed, 40, notes, "set") == find_pairs(changed, changed, 40)
    assert asked == [(10, 405)]


@pytest.mark.parametrize("content", [b"", b"\x93", b"\x92\x90\x91\x93\x00\x05\x01"])
def test_a_damaged_note_is_none(tmp_path, content):
    pictures = made(30, near=5)
    notes = Verdicts(tmp_path)
    find_pairs_anew(pictures, 40, notes, "set")
    notes.keep_note("compared/1/40/set", content)
    assert find_pairs_anew(pictures, 40, notes, "set") == find_pairs(pictures, pictures, 40)
    assert (tmp_path / FILE).is_file()


def test_a_group_is_no_chain_and_the_largest_is_kept():
    pictures = made(4)
    bits = np.unpackbits(pictures[0].hashes[0])
    for step in range(4):
        # Each is near the next; the first is far from the third.
        bits[step * 30 : step * 30 + 30] ^= step > 0
        pictures[step].hashes[0] = np.packbits(bits)
    pairs = find_pairs(pictures, pictures, 40)
    assert found(pairs) == {(0, 1, 30), (1, 2, 30), (2, 3, 30)}
    groups = groups_of(pairs, pictures)
    assert [(g.kept, [i for i, _ in g.others]) for g in groups] == [(3, [2]), (1, [0])]


def test_equal_pictures_are_told_once_however_many():
    one = made(1)[0]
    same = [one] * 500
    pairs = find_pairs(same, same, 40)
    assert len(pairs) == 499
    assert all(pair.exact and pair.first == 0 for pair in pairs)
