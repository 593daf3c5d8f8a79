"""Rates, curves, ladders and scales: values alone, no model."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.memory import is_out_of_memory
from lora_ci.training.curves import MAX_POINTS, WINDOW, Curves
from lora_ci.training.divergence import diverged
from lora_ci.training.memory import Rung, machine_at_fault
from lora_ci.training.precision import GROWS_AFTER, loss_scale
from lora_ci.training.schedules import rate_factor
from lora_ci.training.team import Team

SCHEDULES = ("constant", "cosine", "cosine-with-restarts", "linear")
steps = st.integers(1, 500)


@given(
    schedule=st.sampled_from(SCHEDULES), total=steps, warmup=st.integers(0, 600),
    restarts=st.integers(1, 9), data=st.data(),
)  # fmt: skip
def test_a_rate_is_a_share_of_the_peak_and_warm_up_rises(schedule, total, warmup, restarts, data):
    settings = TrainSettings(schedule=schedule, warmup_steps=warmup, restarts=restarts)
    step = data.draw(st.integers(0, total - 1))
    factor = rate_factor(step, total, settings)
    assert 0 <= factor <= 1
    if step < warmup:
        assert factor == (step + 1) / warmup
    elif step == warmup:
        assert factor == 1


@given(total=steps, other=steps, step=st.integers(0, 499), warmup=st.integers(0, 100))
def test_what_can_be_continued_does_not_know_the_budget(total, other, step, warmup):
    for settings in (
        TrainSettings(schedule="constant", warmup_steps=warmup),
        TrainSettings(optimizer="schedule-free-adamw", schedule="cosine", warmup_steps=warmup),
    ):
        assert rate_factor(step, total, settings) == rate_factor(step, other, settings)


def test_the_shapes_are_the_known_ones():
    def rates(**more: object) -> list[float]:
        return [round(rate_factor(step, 8, TrainSettings(**more)), 4) for step in range(8)]

    assert rates(schedule="linear")[:3] == [1.0, 0.875, 0.75]
    assert rates(schedule="cosine")[4] == 0.5
    twice = rates(schedule="cosine-with-restarts", restarts=2)
    assert twice[:4] == twice[4:] == [1.0, 0.8536, 0.5, 0.1464]
    assert rates(schedule="cosine-with-restarts") == rates(schedule="cosine")
    assert rates(schedule="constant", warmup_steps=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


@given(rows=st.integers(1, 4096))
def test_a_ladder_ends_at_one_image_and_always_sees_all(rows):
    rung, seen = Rung(rows=rows, checkpointing=False), 0
    while following := rung.next():
        covered = [n for part in rung.parts(rows) for n in range(part.start, part.stop)]
        assert covered == list(range(rows))
        assert following.checkpointing
        assert following.rows <= rung.rows
        rung, seen = following, seen + 1
    assert rung.rows == 1
    assert seen <= 14


@given(batch=st.integers(1, 200), size=st.integers(1, 16))
def test_every_image_of_a_batch_is_one_process_s(batch, size):
    teams = [Team(device=torch.device("cpu"), rank=rank, size=size) for rank in range(size)]
    rows = [team.rows(batch) for team in teams]
    assert [n for part in rows for n in range(part.start, part.stop)] == list(range(batch))
    counts = [part.stop - part.start for part in rows]
    assert max(counts) - min(counts) <= 1


@given(total=st.integers(1, 60), cut=st.integers(0, 60))
def test_curves_are_the_same_where_they_were_stored_between(total, cut):
    whole, stored = Curves(), Curves()
    for step in range(1, total + 1):
        for curves in (whole, stored):
            curves.add(step, (step / 3, 1 / step), 1e-4)
        if step == cut:
            stored = Curves.from_json(stored.as_json())
    assert stored.whole(total, 1e-4).details() == whole.whole(total, 1e-4).details()
    points = whole.whole(total, 1e-4).details()["loss"]
    assert points[-1][0] == total
    assert len(points) == math.ceil(total / WINDOW)


def test_a_long_curve_is_thinned_and_steps_left_out_have_no_loss():
    curves = Curves()
    for step in range(1, WINDOW * MAX_POINTS * 3 + 1):
        curves.add(step, (1.0, 1.0), 1e-4)
    assert len(curves.details()["loss"]) == MAX_POINTS
    empty = Curves()
    for step in range(1, WINDOW + 1):
        assert empty.add(step, None, 1e-4) is None
    assert empty.details()["loss"] == []
    assert empty.note() == "loss not known yet"


def test_a_loss_scale_halves_and_recovers():
    scale = loss_scale(torch.float16)
    first = scale.scale
    assert not scale.heed(finite=False)
    assert (scale.scale, scale.skipped) == (first / 2, 1)
    for _ in range(GROWS_AFTER):
        assert scale.heed(finite=True)
    assert (scale.scale, scale.skipped, scale.left_out) == (first, 0, 1)
    unused = loss_scale(torch.float32)
    assert unused.heed(finite=False)
    assert unused.scale == 1


def test_causes_of_a_divergence_are_told_by_what_is_seen():
    names, settings = ("a.png", "b.png"), TrainSettings(learning_rate=2.0)
    one = diverged(7, [math.nan, 0.1], names, settings).findings[0]
    assert "step 7, for a.png alone" in one.message
    both = diverged(7, [math.inf, math.nan], names, settings).findings[0]
    assert "a.png" not in both.message
    assert "lower than 2" in both.hint
    half = diverged(7, [math.inf] * 2, names, TrainSettings(precision="fp16")).findings[0]
    assert "bf16" in half.hint
    first = diverged(1, [math.nan] * 2, names, settings).findings[0]
    assert "nothing was learned before it" in first.hint
    assert "learning_rate" not in first.hint


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (RuntimeError("CUDA error: unspecified launch failure\nmore"), "train.device-lost"),
        (torch.OutOfMemoryError("CUDA out of memory."), "train.out-of-memory"),
        (MemoryError(), "train.out-of-memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "train.out-of-memory"),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), "train.out-of-memory"),
    ],
)
def test_what_the_machine_does_is_no_bug(error, rule):
    with pytest.raises(InfrastructureError) as caught, machine_at_fault():
        raise error
    assert caught.value.findings[0].rule == rule
    assert "\n" not in caught.value.findings[0].message


def test_a_bug_stays_one():
    with pytest.raises(RuntimeError, match="shapes"), machine_at_fault():
        raise RuntimeError("shapes do not fit")
    assert not is_out_of_memory(ValueError("out of memory"))
