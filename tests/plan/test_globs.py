"""Which paths a glob fits, against a slow definition."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.plan.globs import matches

PIECES = st.sampled_from(["**", "*", "?", "a", "a*", "*b", "a*b*", "?b", "**a"])
PATHS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


def by_definition(path: str, pattern: list[str]) -> bool:
    parts = path.split("/")
    if not pattern:
        return path == ""
    if pattern[0] == "**":
        rests = ["/".join(parts[i:]) for i in range(len(parts) + 1)]
        return any(by_definition(rest, pattern[1:]) for rest in rests)
    name = re.escape(pattern[0]).replace(r"\*", ".*").replace(r"\?", ".")
    if path == "" or not re.fullmatch(name, parts[0]):
        return False
    return by_definition("/".join(parts[1:]), pattern[1:])


@given(PATHS, st.lists(PIECES, min_size=1, max_size=4))
def test_a_glob_fits_what_its_definition_says(path, pattern):
    assert matches(path, ["/".join(pattern)]) == by_definition(path, pattern)


@pytest.mark.parametrize(
    "glob", ["*a" * 200 + "b", "**/" * 200 + "b", "a*" * 400, "**/a*/" * 200 + "b"]
)
def test_a_hostile_glob_costs_no_more_than_another(glob):
    assert not matches("/".join(["a" * 200] * 200), [glob])
