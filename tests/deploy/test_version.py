"""Versions are ordered as semver.org says, and the proposed one is the lowest that is honest."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InputError
from lora_ci.deploy.version import Level, Version, check_version, next_version, parse_version

numbers = st.integers(0, 10**6)
identifiers = st.one_of(
    st.integers(0, 99).map(str), st.from_regex(r"\A[0-9A-Za-z-]{0,4}[A-Za-z-][0-9A-Za-z-]{0,4}\Z")
)
versions = st.builds(
    Version, numbers, numbers, numbers, st.lists(identifiers, max_size=4).map(tuple)
)


def test_the_order_of_the_specification():
    # The example of §11, and a version above it.
    words = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11"
    ordered = [parse_version(w) for w in f"{words} 1.0.0-rc.1 1.0.0 1.0.1".split()]
    assert all(a < b for a, b in pairwise(ordered))
    assert len(set(ordered)) == len(ordered)


@given(versions)
def test_text_and_value_are_the_same(version):
    assert parse_version(str(version)) == version


@given(versions, versions, versions)
def test_the_order_is_total(a, b, c):
    assert (a < b) + (b < a) + (a == b) == 1
    if a <= b <= c:
        assert a <= c


@given(versions, st.sampled_from(Level))
def test_the_next_version_is_above_and_no_pre_release(version, level):
    proposed = next_version(version, level)
    assert proposed > version
    assert proposed.pre == ()
    assert next_version(version, Level.PATCH) <= proposed
    check_version("mei", proposed, version, level, "it changed")


@pytest.mark.parametrize(
    ("version", "proposed"),
    [
        ("1.2.3", ("1.2.4", "1.3.0", "2.0.0")),
        ("1.2.3-rc.1", ("1.2.3", "1.3.0", "2.0.0")),
        ("1.3.0-rc.1", ("1.3.0", "1.3.0", "2.0.0")),
        ("2.0.0-rc.1", ("2.0.0", "2.0.0", "2.0.0")),
        ("0.1.0", ("0.1.1", "0.2.0", "1.0.0")),
    ],
)
def test_a_pre_release_leads_to_its_own_core(version, proposed):
    assert tuple(str(next_version(parse_version(version), lv)) for lv in Level) == proposed


@pytest.mark.parametrize(
    ("wanted", "newest", "level", "allowed"),
    [
        ("1.3.0-rc.1", "1.2.0", Level.MINOR, True),
        ("1.3.0-rc.2", "1.3.0-rc.1", Level.MINOR, True),
        ("1.3.0", "1.3.0-rc.2", Level.PATCH, True),
        ("5.0.0", "1.2.0", Level.PATCH, True),
        ("0.1.1", "0.1.0", Level.MAJOR, True),
        ("1.2.0", "1.2.0", Level.PATCH, False),
        ("1.2.0-rc.1", "1.2.0", Level.PATCH, False),
        ("1.2.1", "1.2.0", Level.MINOR, False),
        ("2.0.0-rc.1", "2.0.0-rc.1", Level.PATCH, False),
    ],
)
def test_a_version_passes_if_it_says_enough(wanted, newest, level, allowed):
    def check() -> None:
        check_version("mei", parse_version(wanted), parse_version(newest), level, "it changed")

    if allowed:
        check()
    else:
        with pytest.raises(InputError) as caught:
            check()
        assert "git tag mei@v" in caught.value.findings[0].hint


BAD = ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3-a..b", "1.2.3+b"]


@pytest.mark.parametrize(
    "text", [*BAD, "1.2.٣", "1.2.3\n", " 1.2.3", "1.2.3-ä", "9" * 5000 + ".0.0"]
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(InputError, match="no version"):
        parse_version(text)
