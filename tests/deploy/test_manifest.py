"""The release manifest: a value and its one text; anything else is refused."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import IntegrityError
from lora_ci.core.settings import LoraType
from lora_ci.deploy.card import render_card
from lora_ci.deploy.release import (
    Quality,
    Release,
    ReleaseFile,
    Source,
    parse_release,
    render_release,
)

text = st.text(st.characters(codec="utf-8"), max_size=40)
optional = st.none() | text
digests = st.from_regex(r"\A[0-9a-f]{64}\Z")
numbers = st.floats(allow_nan=False, allow_infinity=False)
sources = st.builds(Source, path=text, content_id=optional)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
files = st.builds(ReleaseFile, name=names, sha256=digests, size=st.integers(0, 2**53))
releases = st.builds(
    Release,
    lora=st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z"),
    version=st.sampled_from(["1.0.0", "2.3.4-rc.1"]),
    base_model=sources,
    trigger=text,
    type=st.sampled_from(LoraType),
    recommended_weight=st.none() | numbers,
    dataset=sources,
    fingerprints=st.dictionaries(text, text, max_size=3),
    qa=st.builds(Quality, metrics=st.dictionaries(text, numbers, max_size=3), ruler=optional),
    license=optional,
    commit=text,
    files=st.lists(files, min_size=1, max_size=3, unique_by=lambda f: f.name.casefold())
    .filter(lambda fs: not {f.name.casefold() for f in fs} & {"release.json", "model.sig"})
    .map(tuple),
)


@given(releases)
def test_text_and_value_are_the_same(release):
    data = render_release(release)
    assert parse_release(data) == release
    assert render_release(parse_release(data)) == data


@given(releases)
def test_a_card_is_made_of_any_release_and_its_front_matter_holds(release):
    card = render_card(release)
    front = card.split("\n---\n")[0].removeprefix("---\n")
    assert yaml.safe_load(front)["instance_prompt"] == release.trigger


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(IntegrityError, match=r"release\.json"):
        parse_release(data)


GOOD = Release(
    lora="mei",
    version="1.0.0",
    base_model=Source(path="b", content_id=None),
    trigger="mei",
    type=LoraType.STYLE,
    recommended_weight=None,
    dataset=Source(path="d", content_id="d1"),
    fingerprints={},
    qa=Quality(metrics={}, ruler=None),
    license=None,
    commit="c",
    files=(ReleaseFile(name="mei.safetensors", sha256="0" * 64, size=1),),
)


def change(**changed):
    return canonical_json(json.loads(render_release(GOOD)) | changed)


def file(**changed):
    return [{"name": "a", "sha256": "0" * 64, "size": 1} | changed]


def test_the_example_is_good():
    assert parse_release(change()) == GOOD


@pytest.mark.parametrize(
    "data",
    [
        change(more=1),
        change(schema="lora-ci.release/2"),
        change(lora="../evil"),
        change(lora="mei\n"),
        change(version="1.0"),
        change(trigger="x" * 2001),
        change(recommended_weight="1"),
        change(qa={"metrics": {"a": None}, "ruler": None}),
        change(files=[]),
        change(files=file() * 65),
        change(files=file() + file(name="A")),
        change(files=file(name="../evil")),
        change(files=file(name="/etc/passwd")),
        change(files=file(name="a/b")),
        change(files=file(name="a\\b")),
        change(files=file(name="..")),
        change(files=file(name=".hidden")),
        change(files=file(name="a\n")),
        change(files=file(name="x" * 129)),
        change(files=file(name="release.json")),
        change(files=file(name="Model.sig")),
        change(files=file(size=-1)),
        change(files=file(size=2**54)),
        change(files=file(size=1.5)),
        change(files=file(sha256="A" * 64)),
        change(files=file(more=1)),
        change()[:-1] + b',"z":' + b"[" * 99_999,
        change() + b" ",
        change().replace(b'"lora":"mei"', b'"lora":"mei","lora":"mei"'),
        change().replace(b":", b": ", 1),
        change(commit="c" * (1 << 20)),
    ],
)
def test_a_hostile_manifest_is_refused(data):
    with pytest.raises(IntegrityError, match=r"release\.json"):
        parse_release(data)
