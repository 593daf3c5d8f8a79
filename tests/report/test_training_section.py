"""What a person sees of a training: curves, pictures on the way, facts."""

import hashlib
import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.artifact import Artifact
from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.comment import render_comment
from lora_ci.report.details import read_details
from lora_ci.report.page import render_page
from lora_ci.report.picture import as_it_is
from lora_ci.report.samples import MOST_COLUMNS, evenly, shown_samples
from lora_ci.report.text import render_run_text
from lora_ci.report.trained import lowest
from tests.views import PICTURES, make_view, reused, train_step, validate_step

FACE = next((PICTURES / "mochi").glob("*.png")).read_bytes()


def changed(metrics=None, **details):
    """A train step with other details; None takes one away."""
    step = train_step()
    given = {**step.result.details, **details}
    kept = {name: value for name, value in given.items() if value is not None}
    told = {**step.result.metrics, **(metrics or {})}
    return replace(step, result=replace(step.result, details=kept, metrics=told))


def page_of(step):
    """The page without its style, and without the raw figures at its end."""
    page = render_page(make_view(step)).split("</style>")[1]
    return page.split("<summary>figures, config and fingerprints")[0]


def facts_of(page):
    return dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page))


def test_loss_and_validation_stand_in_one_plot_with_the_lowest_point_named():
    page = page_of(train_step())
    plot = re.search(r'aria-label="training loss, validation loss, (.*?)"', page)
    assert plot[1] == "lowest: 0.3350 at step 400"
    assert page.count('<circle class="lowest"') == 1
    assert page.count('<circle class="held-out"') == 6
    assert 'aria-label="learning rate"' in page
    # A rate has digits, where a loss of that size would be 0.00.
    assert "<span>9.8e-05</span><span>0</span>" in page


def test_how_it_was_done_is_one_line_of_facts():
    facts = facts_of(page_of(train_step()))
    assert facts == {
        "steps": "600 (0.4331 s each, 2,400 images seen)",
        "images": "80 in 2 shapes: 448x576 (22), 512x512 (58)",
        "device": "cuda:0 × 2",
        "precision": "bf16",
        "optimizer": "adamw",
        "peak memory": "6.9 GiB",
        "encoded": "0 views and 6 captions, now cached",
        "memory": "2 images at once, gradient checkpointing",
        "trained by": "native (lora-ci 0.1.0, torch 2.13.0)",
    }
    cached = changed({"encoded_captions": 0}, memory={"rows": 1}, buckets={"512x512": 80})
    facts = facts_of(page_of(cached))
    assert facts["encoded"] == "nothing: all was in the cache"
    assert (facts["memory"], facts["images"]) == ("1 image at once", "80")


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([0.4, 0.3, 0.33, 0.36], "lowest at step 20 of 40 and has risen by 20 % since"),
        ([0.4, 0.3, 0.3, 0.305], ""),  # so little may be chance
        ([0.4, 0.35, 0.3, 0.36], ""),  # one look after it is no course
        ([0.4, 0.3, 0.2, 0.1], ""),
        ([0.3], ""),
        ([0.3, None, 0.33, 0.36], "lowest at step 10 of 40"),
    ],
)
def test_a_rise_is_told_only_where_it_is_clear(losses, told):
    step = changed(validation_loss=[[10 * i, loss] for i, loss in enumerate(losses, start=1)])
    page = page_of(step)
    assert ("has risen" in page) == bool(told)
    assert told in page


@given(st.lists(st.tuples(st.floats(), st.none() | st.floats()), max_size=30))
def test_the_lowest_point_is_one_of_the_curve(points):
    curve = [[x, y] for x, y in points]
    result = StepResult(outcome=Outcome.PASSED, details={"validation_loss": curve})
    found = read_details(Stage.TRAIN, result)
    best = lowest(found.validation_loss)
    if best is not None:
        assert (best.step, best.loss) in found.validation_loss
        assert all(best.loss <= y for _, y in found.validation_loss if y is not None)
        assert best.last_step == max(x for x, y in found.validation_loss if y is not None)


def test_a_record_of_before_still_gives_its_curve():
    old = changed(
        **dict.fromkeys(("validation_loss", "learning_rate", "memory", "device", "processes")),
        **dict.fromkeys(("precision", "optimizer", "prompts", "backend", "buckets")),
    )
    page = page_of(old)
    assert 'aria-label="training loss"' in page
    assert "lowest" not in page
    assert "readable" not in page
    assert "loss 0.700 → 0.217" in render_run_text(make_view(old))
    nothing = replace(old, result=StepResult(outcome=Outcome.PASSED))
    assert "<h3>Training</h3>" not in page_of(nothing)
    assert " trained " not in render_comment(make_view(nothing))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("memory", {"rows": -1}),
        ("memory", "much"),
        ("device", ["cuda"]),
        ("processes", 2.5),
        ("buckets", {"512x512": "many"}),
        ("backend", {"name": 1}),
        ("validation_loss", [[1, "low"]]),
        ("prompts", "a cat"),
    ],
)
def test_what_is_malformed_is_named_and_the_rest_is_shown(section, value):
    page = page_of(changed(**{section: value}))
    assert f"train: {section}" in page
    assert "training loss" in page


def test_values_that_are_no_sizes_draw_nothing_odd():
    wild = [[1, math.nan], [2, math.inf], [3, 1e12], [4, -1e12], [1e12, 0.1]]
    metrics = dict.fromkeys(("step_s", "peak_memory_mb", "images", "steps"), 1e12)
    step = changed(metrics, loss=wild, validation_loss=wild, learning_rate=wild)
    words = page_of(step) + render_comment(make_view(step))
    assert not re.search(r"(?i)\bnan\b|\binf\b", words)
    nowhere = dict.fromkeys(("step_s", "peak_memory_mb", "images", "steps"), math.nan)
    nothing = changed(nowhere, loss=[[1, math.nan]], validation_loss=[])
    words = page_of(nothing) + render_comment(make_view(nothing))
    assert not re.search(r"(?i)\bnan\b", words)


def test_words_of_others_stay_text():
    attack = "</p><script>alert(1)</script>"
    step = changed(
        device=attack, precision=attack, optimizer=attack, prompts=[attack] * 2,
        backend={"name": attack, attack: attack}, buckets={attack: 1, "x": 2},
    )  # fmt: skip
    picture = Artifact(name="sample-000010-0.png", sha256="0" * 64, size_bytes=1, media_type="x")
    step = replace(step, result=replace(step.result, artifacts=(picture,)))
    page = page_of(step)
    assert page.count("&lt;script&gt;") >= 7
    assert "<script" not in page


# Pictures


def test_a_row_a_prompt_and_few_steps_with_the_first_and_the_last():
    files = {
        f"sample-{step:06d}-{number}.png": FACE + f"{step} {number}".encode()
        for step in range(0, 1_010, 10)
        for number in range(2)
    }
    step = train_step(files=files)
    pictures = {hashlib.sha256(data).hexdigest(): as_it_is(data) for data in files.values()}
    page = render_page(make_view(step), pictures)
    rows = re.findall(r'<p class="said">(.*?)</p><div class="steps">(.*?)</div>', page)
    assert [prompt for prompt, _ in rows] == ["mei in a garden", "mei, a drawing"]
    for _, row in rows:
        columns = re.findall(r"<figcaption>(.*?)</figcaption>", row)
        assert len(columns) == MOST_COLUMNS == row.count("<img")
        assert (columns[0], columns[-1]) == ("before", "step 1,000")


@given(st.lists(st.integers(0, 10**6), unique=True).map(sorted), st.integers(2, 9))
def test_few_of_many_are_spread_evenly(values, most):
    few = evenly(values, most)
    assert len(few) == min(most, len(values)) == len(set(few))
    assert [few[:1], few[-1:]] == [values[:1], values[-1:]]
    at = [values.index(value) for value in few]
    gaps = [later - sooner for sooner, later in pairwise(at)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_names_of_other_files_are_no_pictures_of_a_training():
    names = ("sample-1-0.png.exe", "sample-²-0.png", "sample-0-x.png", "sample--1-0.png", "a.png")
    result = train_step(files={name: name.encode() for name in names}).result
    assert shown_samples(result) == ()


def test_a_picture_without_its_prompt_or_its_bytes_has_its_place():
    page = page_of(train_step(files={"sample-000050-4.png": FACE}))
    assert '<p class="said">prompt 5</p>' in page
    assert page.count("not in this page") == 1


# In words


def test_the_comment_has_a_line_for_what_was_trained_now():
    told = (
        "- **mei** trained 600 steps on 80 images in 4 min 20 s; "
        r"validation loss 0.352 \(best 0.335 at step 400\)"
    )
    assert told in render_comment(make_view(train_step()))
    assert " trained " not in render_comment(make_view(reused(train_step())))
    many = [train_step(f"lora-{i}") for i in range(5)]
    assert "** trained " not in render_comment(make_view(*many))
    failed = train_step(action=Action.RUN)
    failed = replace(failed, result=StepResult(outcome=Outcome.FAILED))
    assert " trained " not in render_comment(make_view(failed))


def test_warnings_of_a_training_are_counted_where_it_passed():
    step = train_step()
    warnings = validate_step().result.findings
    step = replace(step, result=replace(step.result, findings=warnings))
    assert "at step 400), 1 warning; " in render_run_text(make_view(step))


def test_a_loss_that_was_lowest_at_the_end_needs_no_second_figure():
    step = changed(validation_loss=[[100, 0.4], [200, 0.35]])
    assert "validation loss 0.350;" in render_run_text(make_view(step))
