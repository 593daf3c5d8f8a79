"""What a change did to a dataset: recorded figures side by side, a word only where all agree."""

import json
import re
from dataclasses import replace

import pytest

from lora_ci.core.run import Earlier
from lora_ci.report.page import render_page
from lora_ci.report.trend import MOST_NAMES, SHOWN_TRENDS, render_trends_markdown, trends_of
from lora_ci.report.twin import render_twin
from tests.situations import CHANGES, DATA, dataset_changed, view
from tests.views import make_view, validate_step

SOUND = {"images": 80.0, "errors": 0.0, "warnings": 2.0, "effective_images": 40.0}


def changed(then: dict[str, float], now: dict[str, float]):
    step = validate_step()
    step = replace(step, result=replace(step.result, metrics=now))
    was = Earlier(lora="mei", metrics=then, rules={})
    return replace(make_view(step), earlier=(was,))


@pytest.mark.parametrize(
    ("then", "now", "word"),
    [
        (SOUND, SOUND, ""),
        (SOUND, SOUND | {"warnings": 1.0}, "better"),
        (SOUND | {"errors": 3.0}, SOUND, "better"),
        (SOUND, SOUND | {"images": 160.0, "warnings": 4.0, "effective_images": 50.0}, "better"),
        (SOUND, SOUND | {"errors": 1.0}, "worse"),
        (SOUND, SOUND | {"errors": 1.0, "effective_images": 50.0}, ""),
        (SOUND, SOUND | {"effective_images": 30.0}, "worse"),
        ({"images": 80.0}, SOUND, ""),
        (SOUND | {"effective_images": float("nan")}, SOUND, ""),
        (SOUND | {"images": 0.0}, SOUND, ""),
    ],
)
def test_a_word_is_said_only_where_all_speaks_for_it(then, now, word):
    (trend,) = trends_of(changed(then, now))
    assert trend.word == word


def test_the_comment_tells_what_moved():
    (line, empty) = render_trends_markdown(dataset_changed())
    assert empty == ""
    assert line == (
        "Dataset of **mei** is better: images 77 → 80, different ones 30.2 → 37.4, errors 0, "
        "warnings 4 → 1, most tokens 60 → 71; "
        "`duplicate.near` 3 → 1, `caption.bom` 0 → 1, `image.blurred` 1 → 0"
    )


def test_rules_of_an_older_result_are_counted_from_what_it_kept():
    (trend,) = trends_of(changed(SOUND, SOUND))
    assert [(rule.name, rule.then, rule.now) for rule in trend.rules] == [("duplicate.near", 0, 1)]


def test_many_datasets_are_counted():
    steps = [validate_step(f"lora-{i}") for i in range(SHOWN_TRENDS + 2)]
    was = tuple(Earlier(lora=f"lora-{i}", metrics=SOUND, rules={}) for i in range(len(steps)))
    lines = render_trends_markdown(replace(make_view(*steps), earlier=was))
    assert lines[0] == "**Datasets**, before → now"
    assert lines[2].startswith(r"- Dataset of **lora\-0**: images 80, ")
    assert lines[-2:] == ["- … and 2 more datasets in the report", ""]


def test_the_page_has_the_files_and_the_figures():
    page = render_page(dataset_changed())
    section = re.search(r"<h2>Data since b81c0de</h2>(.*?)</section>", page)
    assert section
    assert "<summary>12 added</summary><code>000.png</code><br>" in section[1]
    assert "<summary>3 edited</summary>" in section[1]
    assert "Dataset of mei is better" in section[1]
    assert re.search(r"images</td><td[^>]*>77</td><td[^>]*>80</td>", section[1])
    assert "Data since" not in render_page(make_view(validate_step()))


def test_names_of_very_many_files_are_counted():
    added = tuple(f"{i}.png" for i in range(MOST_NAMES + 9))
    page = render_page(view(changes=replace(CHANGES, datasets=(replace(DATA, added=added),))))
    assert "… and 9 more" in page


def test_programs_are_told():
    told = json.loads(render_twin(dataset_changed()))["loras"]["mei"]["earlier"]
    assert told["metrics"]["images"] == 77
    assert told["rules"]["image.blurred"] == 1
