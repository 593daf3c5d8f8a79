"""Measures of sets of features against loops written out, closed forms and published examples."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.ruler.clip_score import clip_score
from lora_ci.ruler.copies import find_twins
from lora_ci.ruler.kernels import cubic, cubic_of_cosines, discrepancy, linear, share_of
from lora_ci.ruler.opening import open_embedder
from lora_ci.ruler.vendi import vendi_score

SOURCE = np.random.default_rng(0)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_clip_scores_by_hand():
    """Cosines of 0.6, 1 and -0.6."""
    pictures = np.array([[0.6, 0.8], [1.0, 0.0], [-0.6, 0.8]], np.float32)
    texts = np.array([[1.0, 0.0]] * 3, np.float32)
    assert clip_score(pictures, texts) == pytest.approx([1.5, 2.5, 0.0], abs=1e-6)


@pytest.mark.slow
def test_clip_scores_are_transformers_logits():
    """Of the shipped model: its logits are the cosines times exp(logit_scale)."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    folder = Path("examples/emoji/clip")
    pictures = [SOURCE.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]
    texts = ["a red apple", "a smiling face", "a house"]
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
    processor = CLIPProcessor.from_pretrained(folder)
    given = processor(
        text=texts, images=pictures, return_tensors="pt", padding="max_length", truncation=True
    )
    with torch.no_grad():
        logits = model(**given).logits_per_image.diagonal() / model.logit_scale.exp()
    embedder = open_embedder("path:clip", folder)
    found = clip_score(embedder.embed_pictures(pictures), embedder.embed_texts(texts))
    assert found == pytest.approx(2.5 * logits.clamp(min=0).numpy(), abs=1e-4)
    assert found.max() > 0


def kid_by_loops(one, other):
    """Unbiased: all pairs of different pictures within, all pairs between."""

    def k(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(some):
        pairs = [k(x, y) for i, x in enumerate(some) for j, y in enumerate(some) if i != j]
        return sum(pairs) / len(pairs)

    between = [k(x, y) for x in one for y in other]
    return within(one) + within(other) - 2 * sum(between) / len(between)


def test_kernel_distance_by_loops():
    one, other = SOURCE.normal(size=(7, 5)), SOURCE.normal(0.4, 1.2, size=(9, 5))
    found = discrepancy(one[:, None], other[:, None], cubic)
    assert found.value == pytest.approx(kid_by_loops(one, other))


def test_the_cubic_kernel_of_unit_vectors():
    one, other = unit(SOURCE.normal(size=(4, 6))), unit(SOURCE.normal(size=(5, 6)))
    assert cubic_of_cosines(one, other) == pytest.approx(cubic(6**0.5 * one, 6**0.5 * other))


def test_errors_are_the_jackknifes():
    """Left out one by one, units of either set change the discrepancy as their shares tell."""
    one, other = SOURCE.normal(size=(6, 2, 5)), SOURCE.normal(0.4, 1, size=(8, 1, 5))
    whole = discrepancy(one, other, cubic)
    for at in range(6):
        less = discrepancy(np.delete(one, at, axis=0), other, cubic).value
        assert whole.one[at] == pytest.approx(6 * whole.value - 5 * less)
    for at in range(8):
        less = discrepancy(one, np.delete(other, at, axis=0), cubic).value
        assert whole.other[at] == pytest.approx(8 * whole.value - 7 * less)


def test_a_linear_kernel_measures_the_means():
    """For gaussians of any spread it is |mu1 - mu2|² on average, here 4; the error is honest."""
    source = np.random.default_rng(3)
    found, errors, held = [], [], []
    for _ in range(400):
        effect = source.normal(size=(12, 1, 3))
        one = effect + source.normal(size=(12, 2, 3)) + np.array([2.0, 0, 0])
        estimate = discrepancy(one, 0.5 * source.normal(size=(20, 1, 3)), linear).estimate()
        interval = estimate.interval()
        found.append(estimate.mean)
        errors.append(estimate.error)
        held.append(interval.low <= 4 <= interval.high)
    assert np.mean(found) == pytest.approx(4, abs=4 * np.std(found) / 20)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.15)
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_sets_of_the_same_source_differ_by_nothing_on_average():
    source = np.random.default_rng(4)
    found = [
        discrepancy(source.normal(size=(6, 2, 4)), source.normal(size=(9, 1, 4)), cubic).value
        for _ in range(400)
    ]
    assert min(found) < 0
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / 20)


def test_the_share_of_the_way_that_is_left():
    """Half of the way to the references leaves a quarter of the squared distance of means."""
    source = np.random.default_rng(5)
    held, ratios = [], []
    for _ in range(300):
        effect = source.normal(size=(10, 1, 3))
        base = effect + 0.3 * source.normal(size=(10, 2, 3))
        adapter = effect + 0.3 * source.normal(size=(10, 2, 3)) + np.array([3.0, 0, 0])
        real = source.normal(size=(16, 1, 3)) + np.array([6.0, 0, 0])
        left = share_of(discrepancy(adapter, real, linear), discrepancy(base, real, linear))
        interval = left.interval()
        ratios.append(left.mean)
        held.append(interval.low <= 0.25 <= interval.high)
    assert np.median(ratios) == pytest.approx(0.25, abs=0.02)
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_two_units_are_too_few():
    with pytest.raises(ValueError, match="needs 3 of each"):
        discrepancy(np.zeros((2, 4, 3)), np.zeros((5, 1, 3)), cubic)


@pytest.mark.parametrize(("groups", "each"), [(1, 6), (6, 1), (3, 4), (5, 2)])
def test_equal_groups_count_as_so_many(groups, each):
    """Friedman and Dieng 2023: g groups of the same, equal in size, have a score of g."""
    pictures = np.repeat(np.eye(8)[:groups], each, axis=0)
    assert vendi_score(pictures) == pytest.approx(groups)


def test_unequal_groups_have_the_entropy_of_their_shares():
    pictures = np.repeat(np.eye(4)[:2], [6, 2], axis=0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert vendi_score(pictures) == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize(
    ("cosines", "wanted"),
    [
        ([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], 2.1573),
        (np.exp(-np.abs(np.subtract.outer(*[[0.0, 0, 10, 10, 20, 20]] * 2))), 2.9999),
    ],
)
def test_published_scores(cosines, wanted):
    """Examples of the authors' README, https://github.com/vertaix/Vendi-Score."""
    values, vectors = np.linalg.eigh(np.array(cosines))
    pictures = vectors * np.sqrt(np.maximum(values, 0))
    assert vendi_score(pictures) == pytest.approx(wanted, abs=1e-4)


def test_two_pictures_by_hand():
    """The eigenvalues of [[1, c], [c, 1]] / 2 are (1 + c) / 2 and (1 - c) / 2."""
    pictures = np.array([[1.0, 0.0], [0.6, 0.8]])
    assert vendi_score(pictures) == pytest.approx(0.8**-0.8 * 0.2**-0.2)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_a_score_lies_between_1_and_all(n, d, seed):
    pictures = unit(np.random.default_rng(seed).normal(size=(n, d)))
    assert 1 - 1e-9 <= vendi_score(pictures) <= min(n, d) + 1e-9


def test_no_pictures_have_no_score():
    with pytest.raises(ValueError, match="no pictures"):
        vendi_score(np.zeros((0, 3), np.float32))


def test_copies_are_told_from_pictures_drawn_anew():
    training = unit(SOURCE.normal(size=(12, 16)))
    copies = unit(training[[3, 3, 7]] + 0.02 * SOURCE.normal(size=(3, 16)))
    found = find_twins(copies, training)
    assert found.nearest.tolist() == [3, 3, 7]
    assert not found.authentic.any()
    crowd = unit(np.eye(16)[0] + 0.1 * SOURCE.normal(size=(12, 16)))
    assert find_twins(unit(np.eye(16)[0] + np.eye(16)[1])[None], crowd).authentic.all()


def test_twins_by_hand():
    training = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = find_twins(np.array([[0.96, 0.28], [-0.6, 0.8]]), training)
    assert found.nearest.tolist() == [0, 2]
    assert found.cosine == pytest.approx([0.96, 0.8])
    assert found.own == pytest.approx([0.8, 0.6])
    assert found.authentic.tolist() == [False, False]


def test_a_generator_of_new_pictures_has_half_of_them_authentic():
    source = np.random.default_rng(6)
    shares = [
        find_twins(
            unit(source.normal(size=(30, 8))), unit(source.normal(size=(30, 8)))
        ).authentic.mean()
        for _ in range(200)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_whoever_copies_a_picture_that_is_there_twice_is_caught():
    training = unit(SOURCE.normal(size=(4, 16)))[[0, 0, 1, 2, 3]]
    assert not find_twins(training[:1], training).authentic.any()


@pytest.mark.parametrize("copies", [1, 5])
def test_one_training_picture_has_no_other(copies):
    with pytest.raises(ValueError, match="needs two different ones"):
        find_twins(np.eye(3)[:2], np.repeat(np.eye(3)[:1], copies, axis=0))
