"""Every test has its page, and the pages say what the code does."""

import re
from pathlib import Path

import pytest

from lora_ci.app.sweep import LESS_IS_BETTER
from lora_ci.qa.measures.table import MEASURES
from lora_ci.report.checks import DOCUMENTED

DOCS = Path("docs")
OVERVIEW = (DOCS / "qa.md").read_text()
NAMES = {measure.name for measure in MEASURES}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_test_has_a_page_that_names_its_metrics_and_limits(measure):
    page = (DOCS / "qa" / f"{measure.name}.md").read_text()
    assert page.startswith(f"# {measure.name}: ")
    for metric in measure.metrics:
        assert f"`{metric}" in page, metric
    for metric, limit in measure.limits.items():
        assert f"`{metric} {limit.condition}`" in page, metric
        assert f"`{metric} {limit.condition}`" in OVERVIEW, metric
    if "Off:" in page:
        assert f"`qa.skip: [{measure.name}]`" in page


def test_there_is_a_page_for_each_test_and_no_other():
    assert {path.stem for path in (DOCS / "qa").glob("*.md")} == NAMES == DOCUMENTED


def test_the_overview_leads_to_every_page():
    assert {name for name in NAMES if f"[{name}](qa/{name}.md)" in OVERVIEW} == NAMES


def test_links_lead_somewhere():
    for path in [DOCS / "qa.md", *(DOCS / "qa").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+?\.md)", path.read_text()):
            assert (path.parent / target).is_file(), f"{path}: {target}"


def test_a_sweep_looks_for_less_of_what_is_limited_from_above():
    limits = {m: limit.condition for measure in MEASURES for m, limit in measure.limits.items()}
    for metric, condition in limits.items():
        if metric != "recommended_weight":
            assert (metric in LESS_IS_BETTER) is condition.startswith("<"), metric
