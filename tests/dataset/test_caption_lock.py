"""The lock tells whose a caption is, and says at which line it is damaged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.core.errors import InputError
from lora_ci.dataset.captioning.lock import (
    LOCK,
    Entry,
    SaidBy,
    State,
    parse_lock,
    read_lock,
    write_lock,
)

SHAS = st.integers(0, 16**64 - 1).map(lambda number: f"{number:064x}")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAID = st.builds(SaidBy, id=TEXT, revision=TEXT, prompt=TEXT, said=TEXT)
ENTRIES = st.builds(
    Entry,
    image=SHAS,
    caption=SHAS,
    state=st.sampled_from(State),
    models=st.lists(SAID, max_size=3).map(tuple),
    recipe=st.none() | SHAS,
    votes=st.dictionaries(TEXT, st.integers(1, 9), max_size=3),
    disagreement=st.none() | st.floats(0, 1),
    ties=st.lists(TEXT, max_size=2).map(tuple),
    replaces=st.none() | SHAS,
)
ONE = Entry(image="1" * 64, caption="a" * 64, state=State.GENERATED, replaces="b" * 64)
TWO = Entry(image="2" * 64, caption="a" * 64, state=State.EDITED)


@settings(max_examples=40, deadline=None)
@given(st.lists(ENTRIES, max_size=5, unique_by=lambda entry: entry.image))
def test_what_is_written_is_read(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("dataset")
    write_lock(folder, entries)
    assert read_lock(folder) == {entry.image: entry for entry in entries}
    first = (folder / LOCK).read_bytes()
    write_lock(folder, reversed(entries))
    assert (folder / LOCK).read_bytes() == first
    assert [path.name for path in folder.iterdir()] == [LOCK]


def test_no_lock_is_an_empty_one(tmp_path):
    assert read_lock(tmp_path) == {}


def test_only_bytes_of_ours_that_no_person_changed_are_ours():
    assert ONE.is_ours("a" * 64)
    assert ONE.is_ours("b" * 64)
    assert not ONE.is_ours("c" * 64)
    assert not TWO.is_ours("a" * 64)


def told(data: bytes) -> list[tuple[int, str]]:
    with pytest.raises(InputError) as caught:
        parse_lock(data)
    assert {(f.rule, f.file) for f in caught.value.findings} == {("caption.lock", LOCK)}
    return [(f.line, f.message) for f in caught.value.findings]


def test_each_damaged_line_is_told(tmp_path):
    write_lock(tmp_path, [ONE, TWO])
    one, two = (tmp_path / LOCK).read_bytes().splitlines(keepends=True)
    assert told(one + b"<<<<<<< HEAD\n\n" + two[:30] + b"\n")[0][0] == 2
    assert [line for line, _ in told(one + b"=======\n\n\xff\n")] == [2, 4]
    assert told(two + one + two) == [(3, "damaged: the image stands in line 1 already")]
    assert "`$.image`" in told(two.replace(b"2" * 64, b"../x"))[0][1]
    assert "`$.state`" in told(two.replace(b'"edited"', b'"mine"'))[0][1]
    assert len(told(b"{}\n" * 1000)) == 20


def test_a_lock_that_is_a_link_is_not_read(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / LOCK).symlink_to("elsewhere")
    with pytest.raises(InputError, match="no regular file"):
        read_lock(tmp_path)


def test_a_line_has_what_is_known_and_its_keys_in_order(tmp_path):
    write_lock(tmp_path, [TWO])
    line = json.loads((tmp_path / LOCK).read_bytes())
    assert list(line) == ["caption", "image", "models", "state", "ties", "votes"]
    assert line["state"] == "edited"
