"""What a training needs of a GPU's memory is told by those that were, and never too little."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.model import Lora, Source
from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.plan.memory import (
    CONTEXT_GIB,
    MARGIN,
    Seen,
    Shape,
    memory_gib,
    seen_in,
    shape_of,
)

LORA = Lora(name="mei", dataset=(Source(path="d"),), base_model="m", trigger="mei")
PLAIN = Shape(alike=("base",), pixels=4 * 512**2, rank=16, checkpointing=False, wide=False)
PARTS = {"base_model": "b", "dataset": "d"}

shapes = st.builds(
    Shape,
    alike=st.sampled_from([("base",), ("other",)]),
    pixels=st.sampled_from([512**2, 2 * 512**2, 1024**2]),
    rank=st.sampled_from([4, 16, 64]),
    checkpointing=st.booleans(),
    wide=st.booleans(),
)
pasts = st.lists(st.builds(Seen, shapes, st.floats(1, 60)), max_size=12)


def told(peak: float) -> float:
    return pytest.approx(peak * MARGIN + CONTEXT_GIB)


def test_the_most_that_the_same_took():
    past = [Seen(PLAIN, 7.0), Seen(PLAIN, 8.0)]
    assert memory_gib(PLAIN, past) == told(8.0)


def test_the_least_that_asked_for_more():
    past = [
        Seen(replace(PLAIN, rank=64), 9.0),
        Seen(replace(PLAIN, pixels=8 * 512**2), 12.0),
        Seen(replace(PLAIN, checkpointing=True), 4.0),
    ]
    assert memory_gib(PLAIN, past) == told(9.0)


def test_nothing_is_told_of_what_asks_for_more_than_all_that_were():
    past = [Seen(PLAIN, 8.0)]
    for more in (
        replace(PLAIN, rank=32),
        replace(PLAIN, pixels=1024**2 * 4),
        replace(PLAIN, wide=True),
        replace(PLAIN, alike=("other",)),
    ):
        assert memory_gib(more, past) is None
    assert memory_gib(PLAIN, []) is None


@given(shapes, pasts)
def test_never_less_than_what_asked_for_no_more_has_taken(shape, past):
    gib = memory_gib(shape, past)
    below = [seen.peak_gib for seen in past if shape.asks_no_less(seen.shape)]
    if gib is not None:
        assert gib >= max([0.0, *below]) * MARGIN
        assert any(seen.shape.asks_no_less(shape) for seen in past)


def record(parts=PARTS, *, metrics=(), details=()) -> Record:
    known = {
        "peak_memory_mb": 8000.0, "resolution": 512.0, "step_s": 0.5, "steps": 100.0,
        **dict(metrics),
    }  # fmt: skip
    told = {
        "memory": {"rows": 4, "checkpointing": False}, "device": "cuda", "processes": 1,
        "precision": "bfloat16", **dict(details),
    }  # fmt: skip
    return Record(
        fingerprint="f", stage=Stage.TRAIN, lora="mei", parts=dict(parts), run_id="r", commit="c",
        result=StepResult(outcome=Outcome.PASSED, metrics=known, details=told), finished_at="",
    )  # fmt: skip


def test_a_record_of_the_same_config_has_its_shape():
    (seen,) = seen_in([record()])
    assert seen.shape == shape_of(LORA, PARTS)
    assert seen.peak_gib == pytest.approx(8000e6 / 2**30)


def test_settings_that_need_more_memory_are_told_apart():
    parts = {**PARTS, "train.rank": "[64]", "train.optimizer": '["prodigy"]'}
    (seen,) = seen_in([record(parts, details={"precision": "float32"})])
    train = replace(LORA.train, rank=64, precision="fp32", optimizer="prodigy")
    assert seen.shape == shape_of(replace(LORA, train=train), parts)
    assert seen.shape.alike != shape_of(LORA, PARTS).alike


def test_what_ran_in_parts_counts_as_it_ran():
    """Memory ran out, and the training went on with fewer rows at once."""
    (seen,) = seen_in([record(details={"memory": {"rows": 1, "checkpointing": True}})])
    assert (seen.shape.pixels, seen.shape.checkpointing) == (512**2, True)


@pytest.mark.parametrize(
    "other",
    [
        record(details={"device": "cpu"}),
        record(details={"processes": 2}),
        record(details={"memory": None}),
        replace(record(), result=StepResult(outcome=Outcome.PASSED)),
    ],
)
def test_records_that_say_nothing_of_a_gpu(other):
    assert seen_in([other]) == ()


def test_one_that_only_wrote_what_was_done_says_nothing():
    done = record()
    metrics = {k: v for k, v in done.result.metrics.items() if k != "step_s"}
    assert seen_in([replace(done, result=replace(done.result, metrics=metrics))]) == ()
