"""`paths`: a glob that could never fit is an error with the right spelling."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.globs import respelled
from lora_ci.config.load import load_config
from lora_ci.plan.globs import matches
from tests.config.told import SMALL, findings


def told(glob: str):
    (finding,) = findings(SMALL + f"paths: [a, {json.dumps(glob)}]\n".encode())
    assert (finding.line, finding.column) == (6, 12)
    return finding


@pytest.mark.parametrize(
    ("glob", "right"),
    [
        ("datasets/", "datasets/**"),
        ("./datasets/**", "datasets/**"),
        ("/datasets/**", "datasets/**"),
        ("datasets/**/", "datasets/**"),
        ("a//b", "a/b"),
        ("datasets**", "datasets/**"),
        ("**.dvc", "**/*.dvc"),
        ("a**b", "a*/**/*b"),
        ("***", "**"),
        ("./", "**"),
    ],
)
def test_the_right_spelling_is_told(glob, right):
    finding = told(glob)
    assert (finding.rule, finding.hint) == ("config.glob", f"write `{right}`")
    assert load_config(SMALL + f"paths: ['{right}']\n".encode()).paths == (right,)


@pytest.mark.parametrize("glob", ["{a,b}", "data[12]/x", "!datasets/**"])
def test_other_languages_of_globs_are_refused(glob):
    assert "only `*`, `?` and, as a whole part, `**` are known" in told(glob).message


@pytest.mark.parametrize("glob", ["../a/**", "a\\b", "C:/a"])
def test_a_glob_stays_inside(glob):
    assert told(glob).rule == "config.path"


@pytest.mark.parametrize("glob", ["datasets", "a b/*", "**", "**/*.dvc", ".lora-ci.yml", "x?.yml"])
def test_what_can_fit_is_let_in(glob):
    assert load_config(SMALL + f"paths: ['{glob}']\n".encode()).paths == (glob,)


@given(st.text("ab*?/.", max_size=12), st.lists(st.text("ab", min_size=1), min_size=1, max_size=4))
def test_a_respelled_glob_is_right_and_loses_nothing(glob, parts):
    right, path = respelled(glob), "/".join(parts)
    assert respelled(right) == right
    assert matches(path, [right]) or not matches(path, [glob])
