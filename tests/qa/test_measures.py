"""Every test of an adapter: what a good one comes to, what a faulty one, and when there is none."""

from dataclasses import replace

import numpy as np
import pytest

from lora_ci.core.settings import QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa.gates import check_gate
from lora_ci.qa.measures.regression import WORST, against
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.scores import PASS_MARK
from lora_ci.qa.verdict import WARNING_ERRORS
from lora_ci.ruler.prompts import Prompts
from tests.judged_world import PROMPTS, TRIGGER, Traits, World, bench_of, look, seen_with

BY_NAME = {measure.name: measure for measure in MEASURES}
SCORED = ("identity", "flexibility", "artifact", "consistency", "performance")


def read(name, evidence):
    return BY_NAME[name].run(evidence)


def holds(name, metric, evidence):
    """How the test's own limit on a metric comes out."""
    condition = BY_NAME[name].limits[metric].condition
    reading = read(name, evidence)
    return check_gate(metric, condition, reading.metrics, WARNING_ERRORS).outcome


@pytest.fixture(scope="module")
def good():
    return seen_with(3, bench={"released": True, "companion": True})


@pytest.mark.parametrize("name", SCORED)
def test_a_good_adapter_scores_well(good, name):
    reading = read(name, good)
    assert reading.score.mean > 0.9
    assert reading.why
    assert not reading.lacking


@pytest.mark.parametrize("name", [m.name for m in MEASURES if m.limits])
def test_a_good_adapter_is_within_every_limit(good, name):
    if name == "safety":
        good = replace(good, unsafe=[()] * 45)
    metrics = read(name, good).metrics
    assert set(BY_NAME[name].metrics) == set(metrics)
    for metric in BY_NAME[name].limits:
        assert holds(name, metric, good) is Outcome.PASSED, metric


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("identity", {"identity": 0.1}),
        ("flexibility", {"following": 0.05}),
        ("flexibility", {"identity": 0.1}),
        ("artifact", {"broken": 0.6}),
        ("artifact", {"broken": 0.6, "damage": "blank"}),
        ("consistency", {"identity": 1.0, "moody": True}),
        ("performance", {"latency": 1.8}),
        ("performance", {"size": 0.9}),
    ],
)
def test_a_fault_is_scored_below_the_pass_mark(name, traits):
    assert read(name, seen_with(4, **traits)).score.mean < PASS_MARK


@pytest.mark.parametrize(
    ("name", "metric", "traits", "told"),
    [
        ("artifact", "blank", {"broken": 0.5, "damage": "blank"}, "blank ("),
        ("variety", "variety", {"one_thing": True}, "differ 0.00"),
        ("following", "following", {"following": 0.05}, "follow their prompts"),
        ("leakage", "leakage", {"leak": 0.8}, "without the trigger"),
        ("strength", "loss.against-half", {"loss": 0.9, "half": 0.7}, "above that at half"),
        ("strength", "recommended_weight", {"best": 0.3}, "best use 0.4"),
        ("memorization", "memorization", {"copies": 0.95}, "pictures are copies"),
        ("memorization", "memorization.recalled", {"recalls": 1.0}, "16 of 16"),
        ("loss-gap", "loss.against-base", {"loss": 1.4, "trained": 1.4}, "above the base's"),
        ("loss-gap", "loss.gap", {"loss": 0.9, "trained": 0.2}, "gap 7"),
        ("base-look", "base_look", {"identity": -0.3}, "as far from the references"),
    ],
)
def test_a_fault_is_beyond_its_limit(name, metric, traits, told):
    evidence = seen_with(**traits)
    assert holds(name, metric, evidence) is Outcome.FAILED
    assert told in read(name, evidence).why


@pytest.mark.parametrize(
    ("metric", "traits"),
    [("composability", {"beside": 0.2}), ("composability.other", {"drowns": 0.9})],
)
def test_what_drowns_beside_another_adapter_is_told(metric, traits):
    evidence = seen_with(bench={"companion": True}, **traits)
    assert holds("composability", metric, evidence) is Outcome.FAILED


@pytest.mark.parametrize(
    ("metric", "traits"),
    [
        ("loss.against-released", {"loss": 0.9}),
        ("identity.against-released", {"identity": 0.3}),
    ],
)
def test_falling_behind_the_released_adapter_is_told(metric, traits):
    evidence = seen_with(bench={"released": True}, **traits)
    assert holds("regression", metric, evidence) is Outcome.FAILED
    assert "v1.0.0" in read("regression", evidence).why


def test_what_a_scanner_finds_is_counted_by_name(good):
    found = replace(good, unsafe=[("gore",), (), ("gore", "text"), ()])
    assert holds("safety", "unsafe", found) is Outcome.FAILED
    assert read("safety", found).why.endswith("2 of 4 pictures: gore (2), text (1)")


WITHOUT = {"references": 0}
NO_TEXTS = {"knows_texts": False}
ONE_CONTEXT = {
    "prompts": replace(
        PROMPTS,
        identity=(f"{TRIGGER} alone", TRIGGER),
        flexibility=PROMPTS.flexibility[:1],
        contexts=PROMPTS.contexts[:1],
    )
}


@pytest.mark.parametrize(
    ("name", "bench", "told"),
    [
        ("identity", WITHOUT, "0 references, needs 3"),
        ("identity", {"references": 2}, "2 references, needs 3"),
        ("flexibility", WITHOUT, "0 references"),
        ("flexibility", NO_TEXTS, "knows no texts"),
        ("flexibility", ONE_CONTEXT, "flexibility prompts: 1, needs 3"),
        ("consistency", WITHOUT, "0 references"),
        ("variety", WITHOUT, "three references"),
        ("following", NO_TEXTS, "knows no texts"),
        ("following", ONE_CONTEXT, "2 prompts ask for more"),
        ("leakage", WITHOUT, "0 references"),
        ("leakage", {"prompts": replace(PROMPTS, bare=())}, "no prompts without the trigger"),
        ("strength", WITHOUT, "0 references"),
        ("memorization", WITHOUT, "references"),
        ("memorization", {"training": 0}, "training pictures"),
        ("loss-gap", WITHOUT, "references"),
        ("base-look", WITHOUT, "needs 3"),
        ("composability", {}, "`qa.compose_with`"),
        ("safety", {}, "`qa.safety`"),
        ("regression", {}, "nothing is released yet"),
    ],
)
def test_what_cannot_be_measured_says_why(name, bench, told):
    reading = read(name, seen_with(2, bench=bench))
    assert not reading.metrics
    assert reading.score is None
    assert told in reading.lacking


@pytest.mark.parametrize(
    ("name", "bench", "owed"),
    [
        ("variety", {"prompts": replace(PROMPTS, identity=PROMPTS.identity[:2])}, ("variety",)),
        ("following", ONE_CONTEXT, ("following",)),
        ("memorization", {"training": 0}, ()),
        ("safety", {}, ()),
        ("regression", {}, ()),
    ],
)
def test_a_gate_is_owed_where_what_it_takes_was_asked_for(name, bench, owed):
    assert read(name, seen_with(2, bench=bench)).owed == owed


def test_losses_of_the_base_that_are_no_number_are_owed(good):
    none = np.full(len(good.losses.base), np.inf)
    reading = read("loss-gap", replace(good, losses=replace(good.losses, base=none)))
    assert (reading.metrics, reading.owed) == ({}, ("loss.against-base",))
    trained = np.full(len(good.losses.base_trained), np.inf)
    reading = read("loss-gap", replace(good, losses=replace(good.losses, base_trained=trained)))
    assert (list(reading.metrics), reading.owed) == (["loss.against-base"], ("loss.gap",))


@pytest.mark.parametrize(
    "name", ["identity", "flexibility", "consistency", "leakage", "composability"]
)
@pytest.mark.parametrize(
    ("bench", "wanted"),
    [
        ({"prompts": replace(PROMPTS, identity=PROMPTS.identity[:1])}, "qa.prompts"),
        ({"references": 0}, "qa.references"),
        (
            {"references": 0, "prompts": replace(PROMPTS, identity=PROMPTS.identity[:1])},
            "qa.references",
        ),
    ],
)
def test_what_would_give_a_scale_is_what_is_lacking(name, bench, wanted):
    reading = read(name, seen_with(2, bench={"companion": True, **bench}))
    assert f"`{wanted}`" in reading.lacking
    assert f"`{wanted}`" in reading.settle


def test_one_seed_tells_no_spread():
    assert "2 seeds" in read("consistency", seen_with(1)).lacking


def test_nothing_timed_is_no_performance(good):
    assert read("performance", replace(good, cost=None)).lacking == "nothing was timed"


def test_a_base_that_does_not_draw_the_contexts_is_named():
    world = World(base_follows=0.0)
    reading = read("flexibility", look(bench_of(world), world))
    assert "the base itself does not surely draw" in reading.lacking
    assert any(f"`{context}`" in reading.lacking for context in PROMPTS.contexts)
    assert "qa.flexibility_prompts" in reading.settle


def test_the_blank_pictures_of_the_base_are_no_fault_of_the_adapter(good):
    black = {p: [np.zeros((24, 24, 3), np.uint8)] * 3 for p in PROMPTS.every}
    base = replace(good.base, pictures=black)
    adapter = replace(good.adapter, pictures=black)
    dark = replace(good, base=base, adapter=adapter)
    assert read("artifact", dark).metrics["blank"].mean == 0
    assert read("artifact", replace(dark, base=good.base)).metrics["blank"].mean == 1


def test_pictures_of_one_kind_are_no_copies():
    """All near to a training picture, and no nearer than training pictures are to each other."""
    world = World()
    evidence = look(bench_of(world), world)
    one = np.ones(32) / np.sqrt(32)
    source = np.random.default_rng(0)

    def near(shape, apart):
        vectors = one + apart * source.normal(size=(*shape, 32)) / np.sqrt(32)
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)

    like = {prompt: near((3,), 0.3) for prompt in PROMPTS.every}
    alike = replace(
        evidence,
        adapter=replace(evidence.adapter, features=like),
        training=replace(evidence.training, features=near((16,), 0.2)),
    )
    reading = read("memorization", alike)
    assert min(pair.similarity for pair in reading.pairs) > 0.9
    assert reading.metrics["memorization"].mean < 0.2


def test_a_reference_as_near_as_a_copy_is_named():
    evidence = seen_with(2, copies=1.0)
    assert "features cannot tell" not in read("memorization", evidence).why
    features = evidence.references.features.copy()
    features[1] = evidence.training.features[2]
    near = replace(evidence, references=replace(evidence.references, features=features))
    found = read("memorization", near)
    assert "reference reference-1.png is as near to training-2.png as a copy" in found.why
    assert found.metrics["memorization"].mean > 0.5, "by pixels"


def test_one_training_picture_repeated_is_found_by_its_caption():
    world = World(candidate=Traits(recalls=1.0))
    alone = replace(PROMPTS, recalled=PROMPTS.recalled[:1])
    bench = bench_of(world, prompts=alone, training=1)
    bench = replace(bench, training=bench.training * 8)
    reading = read("memorization", look(bench, world, 2))
    assert reading.metrics["memorization"].mean == 0
    recalled = reading.metrics["memorization.recalled"]
    assert (recalled.hits, recalled.n) == (16, 16)
    assert reading.pairs[0].copied


def test_the_strength_that_was_not_asked_for_is_not_drawn():
    settings = QaSettings(skip=("strength", "memorization"))
    world = World()
    evidence = look(bench_of(world, settings=settings), world)
    assert evidence.strengths == {}
    assert evidence.recalled is None
    assert evidence.losses.half is None
    assert {w.weight for worn, _, _ in world.asked for w in worn} == {1.0}


def test_a_curve_that_rises_to_the_end_says_so():
    assert "trained too little" in read("strength", seen_with(best=3.0, identity=2.4)).why


def test_losses_that_are_no_number_are_the_worst():
    good, bad = np.array([0.1, 0.2, 0.3]), np.full(3, np.inf)
    assert against(bad, good).interval().low == WORST
    assert against(good, bad) is None
    assert against(np.zeros(0), np.zeros(0)) is None
    assert against(good[:1], good[:1]).interval().low is None


def test_the_interval_of_losses_holds_the_truth():
    source, held, cases = np.random.default_rng(5), 0, 2000
    for _ in range(cases):
        hard = np.exp(0.5 * source.normal(size=8))
        ends = against(0.7 * hard * np.exp(0.1 * source.normal(size=8) - 0.005), hard).interval()
        held += ends.low <= -0.3 <= ends.high
    assert 0.92 < held / cases < 0.97


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_prompts_break_nothing(count):
    few = Prompts(
        identity=PROMPTS.identity[: max(count, 1)],
        flexibility=PROMPTS.flexibility[:count],
        contexts=PROMPTS.contexts[:count],
        bare=PROMPTS.bare[:count],
    )
    evidence = seen_with(2, bench={"prompts": few})
    for measure in MEASURES:
        reading = measure.run(evidence)
        assert reading.metrics or reading.lacking, measure.name
