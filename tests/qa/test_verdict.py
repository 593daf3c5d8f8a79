"""One failed gate fails; what was not measured is never a pass; reasons are named."""

import numpy as np
import pytest

from lora_ci.core.step import Outcome
from lora_ci.qa.comparison import compare, paired_difference
from lora_ci.qa.five_tests import (
    Cost,
    Following,
    artifact_test,
    consistency_test,
    flexibility_test,
    identity_test,
    performance_test,
)
from lora_ci.qa.scores import PASS_MARK, Anchors, Score, overall, unmeasured
from lora_ci.qa.side_effects import leakage, memorization, variety
from lora_ci.qa.step import seed_rounds
from lora_ci.qa.verdict import Measured, judge
from lora_ci.ruler.likeness import find_scale
from lora_ci.ruler.statistics import mean_of

D = 24
NAMES = ("identity", "flexibility", "artifact", "consistency", "performance")


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Features as a good embedder would give them: concept, prompt and noise in own directions."""

    def __init__(self, prompts=8, seeds=3):
        self.shape, self.source = (prompts, seeds), np.random.default_rng(0)
        self.contexts = unit(np.eye(D)[4 : 4 + prompts])
        self.references = unit(np.eye(D)[0] + self.noise((12,), 0.1))
        self.base = self.pictures(identity=0.0)
        self.scale, problem = find_scale(self.references, self.base)
        assert not problem

    def noise(self, shape, size):
        return size * self.source.normal(size=(*shape, D))

    def pictures(self, *, identity, following=1.0, spread=0.05):
        """[prompts, seeds, d] of an adapter with these properties."""
        concept = identity * np.eye(D)[0] + (1 - identity) * np.eye(D)[1]
        context = np.eye(D)[4 : 4 + self.shape[0]][:, None]
        return unit(concept + following * 0.5 * context + self.noise(self.shape, spread))


@pytest.fixture(scope="module")
def world():
    return World()


def test_scores_follow_their_anchors():
    rising, falling = Anchors(0, 0.5, 1), Anchors(3, 1.5, 0.5)
    assert [rising.score(x) for x in (-1, 0, 0.25, 0.5, 1, 2)] == [0, 0, 0.4, 0.8, 1, 1]
    assert [falling.score(x) for x in (4, 1.5, 0.5, 0)] == [0, PASS_MARK, 1, 1]


@pytest.mark.parametrize(("identity", "passes"), [(0.05, False), (0.7, True), (1.0, True)])
def test_identity(world, identity, passes):
    test, value = identity_test(world.scale, world.pictures(identity=identity), world.base)
    assert (test.score >= PASS_MARK) is passes
    assert value.low < value.mean < value.high


def test_flexibility_needs_both_identity_and_following(world):
    def score(identity, following):
        given = Following(
            adapter=world.pictures(identity=identity, following=following),
            base=world.base,
            contexts=world.contexts,
        )
        return flexibility_test(world.scale, given)[0].score

    assert score(1.0, 1.0) > PASS_MARK
    assert score(1.0, 0.0) < 0.3  # draws the concept, whatever is asked
    assert score(0.0, 1.0) < 0.3  # follows the prompt, without the concept


def test_flexibility_is_unmeasured_where_the_base_does_not_follow(world):
    deaf = world.pictures(identity=0.0, following=0.0)
    given = Following(adapter=deaf, base=deaf, contexts=world.contexts)
    test, value = flexibility_test(world.scale, given)
    assert (test.score, value) == (None, None)
    assert "does not follow" in test.why


def test_consistency_falls_with_the_spread_over_seeds(world):
    steady, _ = consistency_test(world.scale, world.pictures(identity=0.9, spread=0.02))
    lucky = np.array([0.0, 1.0, 0.0])[None, :, None]
    mixed = lucky * world.pictures(identity=1.0) + (1 - lucky) * world.pictures(identity=0.0)
    wild, _ = consistency_test(world.scale, mixed)
    assert steady.score > 0.95 > wild.score
    single, _ = consistency_test(world.scale, world.pictures(identity=0.9)[:, :1])
    assert single.score is None


def test_artifacts_are_counted_and_named():
    test, _ = artifact_test([()] * 18 + [("blank",), ("blank", "saturation")])
    assert test.why.startswith("18 of 20")
    assert "blank, saturation" in test.why
    assert artifact_test([("blank",)] * 20)[0].score == 0


def test_performance_is_the_worse_of_speed_and_size():
    def score(latency, share):
        cost = Cost(attach_s=0.1, latency_ratio=latency, size_bytes=10, size_share=share)
        return performance_test(cost).score

    assert score(1.0, 0.04) == 1.0
    assert score(1.8, 0.04) < PASS_MARK
    assert score(1.0, 0.9) < PASS_MARK


def test_leakage_and_copies(world):
    assert leakage(world.scale, world.base, world.base).mean == 0
    assert leakage(world.scale, world.pictures(identity=0.8), world.base).mean > 0.5
    training = unit(np.eye(D)[0] + world.noise((6,), 0.3))
    copies = np.repeat(training[None, :3], 4, axis=0)
    assert memorization(copies, training, world.references).mean == 1
    fresh = world.pictures(identity=0.5)
    assert memorization(fresh, training, world.references).mean == 0


def measured(scores, *, difference=None, comparison=None, metrics=None):
    tests = tuple(
        unmeasured(name, "no references")
        if score is None
        else Score(name=name, score=score, low=score - 0.02, high=min(1, score + 0.02), why="x")
        for name, score in zip(NAMES, scores, strict=True)
    )
    return Measured(
        tests=tests, metrics=metrics or {}, difference=difference, comparison=comparison
    )


def test_a_good_adapter_passes():
    assert judge(measured([0.9, 0.85, 1, 0.9, 1]), {}).outcome is Outcome.PASSED


def test_a_bad_one_fails_and_its_weakest_test_is_named():
    verdict = judge(measured([0.1, 0.1, 0.2, 0.9, 1]), {})
    assert verdict.outcome is Outcome.FAILED
    assert "weakest: identity 0.10" in verdict.findings[0].message


def test_an_unmeasured_test_makes_the_verdict_inconclusive():
    verdict = judge(measured([1, None, 1, 1, 1]), {})
    assert verdict.overall is None
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_failed_gate_outweighs_an_inconclusive_one():
    verdict = judge(measured([1, None, 1, 1, 1], metrics={"leakage": 0.5}), {"leakage": "<= 0.1"})
    assert verdict.outcome is Outcome.FAILED


def losses(level, seed=0):
    """Losses that differ much from picture to picture, and little from adapter to adapter."""
    hard = np.random.default_rng(1).uniform(0.05, 0.5, 24)
    return hard * (level + np.random.default_rng(seed).normal(0, 0.02, 24))


def test_falling_behind_the_released_adapter_fails():
    worse = paired_difference(losses(1.2, seed=2), losses(1.0, seed=3))
    comparison = compare(worse, "1.0.0")
    assert "higher than that of v1.0.0" in comparison.why
    verdict = judge(measured([1] * 5, difference=worse, comparison=comparison), {})
    assert verdict.outcome is Outcome.FAILED
    assert "loss.against-released" in verdict.findings[0].message
    better = paired_difference(losses(0.9, seed=2), losses(1.0, seed=3))
    verdict = judge(measured([1] * 5, difference=better, comparison=compare(better, None)), {})
    assert verdict.outcome is Outcome.PASSED


def test_a_collapsed_adapter_fails_though_it_looks_like_the_references(world):
    one = np.broadcast_to(unit(np.eye(D)[0] + 0.1), (*world.shape, D)).astype(np.float32)
    assert identity_test(world.scale, one, world.base)[0].score > PASS_MARK
    collapsed = variety(world.scale, one, world.base)
    assert collapsed.mean < 0.01
    good = variety(world.scale, world.pictures(identity=0.9), world.base)
    assert good.low > 0.5
    verdict = judge(measured([1] * 5, metrics={"variety": collapsed}), {})
    assert verdict.outcome is Outcome.FAILED


def test_the_config_can_ask_for_less():
    low = {"variety": 0.1}
    assert judge(measured([1] * 5, metrics=low), {}).outcome is Outcome.FAILED
    assert judge(measured([1] * 5, metrics=low), {"variety": ">= 0"}).outcome is Outcome.PASSED


def test_an_unsure_comparison_is_no_pass():
    unsure = mean_of([0.4, -0.5, 0.1, -0.2]).interval()
    verdict = judge(measured([1] * 5, difference=unsure, comparison=compare(unsure, "1.0.0")), {})
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_overall_is_the_mean_with_errors_added_in_squares():
    found = overall(measured([0.8, 0.8, 0.8, 0.8, 0.8]).tests)
    assert found.mean == pytest.approx(0.8)
    assert found.mean - found.low == pytest.approx(0.02 * 5**0.5 / 5)


@pytest.mark.parametrize(
    ("most", "rounds"), [(1, [1]), (2, [2]), (3, [2, 3]), (8, [2, 4, 8]), (9, [2, 4, 8, 9])]
)
def test_seeds_are_added_until_the_budget_ends(most, rounds):
    assert list(seed_rounds(most)) == rounds
