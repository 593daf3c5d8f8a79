"""Identity is 0 for the base, 1 for the real thing, and unmeasured without power."""

import numpy as np
import pytest

from lora_ci.ruler.likeness import find_scale, identity_by_prompt, similarity


def cloud(center, n, spread, seed):
    """Unit vectors around a direction, [n, d]."""
    source = np.random.default_rng(seed)
    points = center + spread * source.normal(size=(n, len(center)))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


REAL, OTHER = np.eye(16)[0], np.eye(16)[1]


def pictures(mix, seed, prompts=8, seeds=3):
    """Features [prompts, seeds, d] that lie `mix` of the way from the base to the real ones."""
    return cloud(mix * REAL + (1 - mix) * OTHER, prompts * seeds, 0.08, seed).reshape(
        prompts, seeds, -1
    )


@pytest.fixture
def scale():
    found, problem = find_scale(cloud(REAL, 12, 0.08, 1), pictures(0.0, 2))
    assert problem == ""
    return found


def test_the_base_is_0_and_the_real_thing_is_1(scale):
    base = pictures(0.0, 2)
    assert abs(identity_by_prompt(scale, base, base).mean()) < 1e-9
    assert identity_by_prompt(scale, pictures(1.0, 3), base).mean() == pytest.approx(1, abs=0.05)


def test_more_of_the_concept_is_more_identity(scale):
    base = pictures(0.0, 2)
    found = [identity_by_prompt(scale, pictures(m, 4), base).mean() for m in (0.1, 0.3, 0.5, 0.9)]
    assert found == sorted(found)


def test_what_is_far_from_both_is_no_real_thing(scale):
    noise = cloud(np.zeros(16), 24, 1.0, 5).reshape(8, 3, -1)
    assert identity_by_prompt(scale, noise, pictures(0.0, 2)).mean() < 0.75


def test_similarity_orders_base_adapter_and_references(scale):
    found = similarity(scale, pictures(0.5, 6))
    assert found["base"].high < found["adapter"].low
    assert found["adapter"].high < found["references"].low


def test_an_embedder_that_sees_no_difference_measures_nothing():
    same = cloud(OTHER, 12, 0.08, 7)
    scale, problem = find_scale(same, pictures(0.0, 8))
    assert scale is None
    assert "cannot tell references from base pictures" in problem


@pytest.mark.parametrize(
    ("references", "prompts", "words"), [(0, 8, "0 references"), (2, 8, "2 ref"), (9, 1, "one")]
)
def test_too_little_to_measure_says_what_is_needed(references, prompts, words):
    given = cloud(REAL, max(references, 1), 0.1, 1)[:references]
    scale, problem = find_scale(given, pictures(0.0, 2, prompts=prompts))
    assert scale is None
    assert words in problem
