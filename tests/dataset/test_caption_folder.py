"""Captioning a folder: what a person wrote stays, and nothing is asked or written twice."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_ci.core.errors import InputError
from lora_ci.dataset.caption_files import read_captions
from lora_ci.dataset.captioning import folder as captioning
from lora_ci.dataset.captioning.captioner import CaptionModel
from lora_ci.dataset.captioning.folder import plan_captions, write_captions
from lora_ci.dataset.captioning.lock import LOCK, State, read_lock
from lora_ci.dataset.captioning.merge import MergeSettings
from lora_ci.dataset.validate import unknown_files


class Fake:
    """Says what it is told to; counts the pictures that it was shown."""

    def __init__(self, name: str, said: str = "a {color} cup on a table") -> None:
        self.name, self.said, self.shown, self.opened = name, said, 0, 0

    def caption(self, pictures):
        self.shown += len(pictures)
        colors = ("red", "green", "blue")
        return [self.said.format(color=colors[p.mean(axis=(0, 1)).argmax()]) for p in pictures]

    def model(self, revision: str = "1") -> CaptionModel:
        return CaptionModel(id=self.name, revision=revision, prompt="", opener=self._open)

    def _open(self) -> "Fake":
        self.opened += 1
        return self


def settings(**own) -> MergeSettings:
    return MergeSettings(**{"trigger": "mei", "count": len, "limit": 300, **own})


def caption(folder: Path, *models: Fake, **own):
    plan = plan_captions(folder, [fake.model() for fake in models], settings(**own))
    return plan, write_captions(folder, plan)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.txt"))}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures with something to see, a red, a green and a blue one."""
    source = np.random.default_rng(4)
    for channel, name in enumerate(("a", "b", "c")):
        pixels = source.integers(0, 100, (48, 48, 3), np.uint8)
        pixels[..., channel] += 100
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def entry_of(folder: Path, name: str):
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return read_lock(folder)[sha256]


def test_each_picture_gets_a_caption_and_a_line_that_says_how(folder):
    one, two = Fake("one"), Fake("two", "there is a {color} cup, a spoon")
    plan, left = caption(folder, one, two)
    assert left == ()
    assert texts(folder) == {
        "a.txt": "mei, a red cup\n",
        "b.txt": "mei, a green cup\n",
        "c.txt": "mei, a blue cup\n",
    }
    told = entry_of(folder, "b.png")
    assert told.state is State.GENERATED
    assert told.caption == hashlib.sha256(b"mei, a green cup\n").hexdigest()
    assert [(m.id, m.revision, m.said) for m in told.models] == [
        ("one", "1", "a green cup on a table"),
        ("two", "1", "there is a green cup, a spoon"),
    ]
    assert told.votes["a green cup"] == 2
    assert told.replaces is None
    assert 0 < told.disagreement < 1
    assert [one.image for one in plan.review] == ["a.png"]


def test_captions_are_what_validation_reads(folder):
    caption(folder, Fake("one"))
    problems = []
    images = ["a.png", "b.png", "c.png"]
    read = read_captions(
        folder, images, frozenset(os.listdir(folder)), frozenset(), problems.append
    )
    assert problems == []
    assert {name: one.text for name, one in read.items()} == {
        name: (folder / name).with_suffix(".txt").read_text().strip() for name in images
    }


def test_the_lock_is_a_file_that_validation_knows(folder):
    caption(folder, Fake("one"))
    assert unknown_files(os.listdir(folder)) == []


def test_nothing_is_done_twice(folder):
    one, two = Fake("one"), Fake("two")
    caption(folder, one)
    before = (folder / LOCK).stat().st_mtime_ns
    plan, _ = caption(folder, one)
    assert (plan.changes, len(plan.current), one.shown, one.opened) == ((), 3, 3, 1)
    assert (folder / LOCK).stat().st_mtime_ns == before
    caption(folder, one, two)
    assert (one.shown, two.shown) == (3, 3)
    plan, _ = caption(folder, two, one)
    assert (plan.changes, one.shown, two.shown) == ((), 3, 3)
    caption(folder, one, trigger="lin")
    assert (texts(folder)["a.txt"], one.shown) == ("lin, a red cup on a table\n", 3)


def test_a_model_of_another_revision_is_asked_again(folder):
    fake = Fake("one")
    caption(folder, fake)
    fake.said = "a dog"
    plan = plan_captions(folder, [fake.model("2")], settings())
    assert [change.after for change in plan.changes] == [b"mei, a dog\n"] * 3


def test_what_a_person_wrote_is_touched_in_no_case(folder):
    (folder / "a.txt").write_text("mei, my own cup")
    caption(folder, Fake("one"))
    assert entry_of(folder, "a.png").state is State.HUMAN
    (folder / "b.txt").write_text("mei, a green cup with a crack\n")
    for own in ({}, {"trigger": "lin", "style": "tags"}):
        plan, _ = caption(folder, Fake("two", "a dog"), **own)
        assert plan.human == ("a.png", "b.png")
        assert texts(folder)["a.txt"] == "mei, my own cup"
        assert texts(folder)["b.txt"] == "mei, a green cup with a crack\n"
    edited = entry_of(folder, "b.png")
    assert edited.state is State.EDITED
    assert edited.models[0].said == "a green cup on a table"
    # Back to the words of the machine: it stays the person's, who looked at it.
    (folder / "b.txt").write_text("mei, a green cup on a table\n")
    caption(folder, Fake("two", "a dog"))
    assert texts(folder)["b.txt"] == "mei, a green cup on a table\n"
    assert entry_of(folder, "b.png").state is State.EDITED
    # What a person removed is nobody's.
    (folder / "b.txt").unlink()
    caption(folder, Fake("two", "a dog"))
    assert texts(folder)["b.txt"] == "mei, a dog\n"


@pytest.mark.parametrize("data", [b"", b" \n", b"\xff\xfe", b"x" * 70_000, None])
def test_a_caption_that_cannot_be_read_is_a_persons(folder, data):
    if data is None:
        (folder / "a.txt").symlink_to("b.png")
    else:
        (folder / "a.txt").write_bytes(data)
    plan, _ = caption(folder, Fake("one"))
    assert plan.human == ("a.png",)
    assert (folder / "a.txt").is_symlink() if data is None else True
    assert data is None or (folder / "a.txt").read_bytes() == data


def test_captions_elsewhere_are_a_persons(folder):
    (folder / "a.caption").write_text("mei, mine")
    row = {"file_name": "b.png", "text": "mei, mine too"}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    plan, _ = caption(folder, Fake("one"))
    assert plan.human == ("a.png", "b.png")
    assert list(texts(folder)) == ["c.txt"]


def test_a_lost_lock_makes_all_captions_a_persons(folder):
    caption(folder, Fake("one"))
    (folder / LOCK).unlink()
    plan, _ = caption(folder, Fake("two", "a dog"))
    assert plan.human == ("a.png", "b.png", "c.png")


def test_a_damaged_lock_stops_all(folder):
    fake = Fake("one")
    caption(folder, fake)
    (folder / LOCK).write_bytes((folder / LOCK).read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        caption(folder, fake, trigger="lin")
    assert texts(folder)["a.txt"].startswith("mei")


def test_the_same_picture_twice_is_one_persons(folder):
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes())
    caption(folder, Fake("one"))
    assert texts(folder)["a.txt"] == texts(folder)["d.txt"]
    (folder / "d.txt").write_text("mei, mine")
    plan, _ = caption(folder, Fake("one"), trigger="lin")
    assert plan.human == ("a.png", "d.png")
    assert (texts(folder)["a.txt"], texts(folder)["d.txt"]) == (
        "mei, a red cup on a table\n",
        "mei, mine",
    )


def test_what_cannot_have_a_caption_is_told(folder):
    (folder / "d.png").write_bytes(b"no picture")
    Image.open(folder / "a.png").save(folder / "a.webp", lossless=True)
    plan, _ = caption(folder, Fake("one"))
    assert [(f.rule, f.file) for f in plan.findings] == [
        ("caption.shared", "a.webp"),
        ("image.format", "d.png"),
    ]
    assert list(texts(folder)) == ["a.txt", "b.txt", "c.txt"]


@pytest.mark.parametrize("at", ["first lock", "second caption", "last lock"])
def test_a_kill_leaves_no_caption_of_ours_that_looks_like_a_persons(folder, monkeypatch, at):
    caption(folder, Fake("one"))
    writes = []

    def stopping(name, number, write):
        def run(*args):
            writes.append(name)
            if at == name and writes.count(name) == number:
                raise KeyboardInterrupt
            write(*args)

        return run

    last = {"first lock": ("first lock", 1), "last lock": ("last lock", 2)}.get(at, ("", 0))
    monkeypatch.setattr(captioning, "write_lock", stopping(*last, captioning.write_lock))
    monkeypatch.setattr(captioning, "_write", stopping("second caption", 2, captioning._write))
    with pytest.raises(KeyboardInterrupt):
        caption(folder, Fake("two", "a dog"), trigger="lin")
    monkeypatch.undo()
    plan, _ = caption(folder, Fake("two", "a dog"), trigger="lin")
    assert plan.human == ()
    assert set(texts(folder).values()) == {"lin, a dog\n"}
    assert all(entry.replaces is None for entry in read_lock(folder).values())


def test_what_changes_while_it_is_captioned_is_left(folder):
    caption(folder, Fake("one"))
    (folder / "c.txt").unlink()
    plan = plan_captions(folder, [Fake("one").model()], settings(trigger="lin"))
    (folder / "a.txt").write_text("mei, mine")
    (folder / "c.txt").write_text("mei, mine too")
    assert write_captions(folder, plan) == ("a.txt", "c.txt")
    assert texts(folder)["a.txt"] == "mei, mine"
    assert texts(folder)["b.txt"] == "lin, a green cup on a table\n"
    assert texts(folder)["c.txt"] == "mei, mine too"
    plan, _ = caption(folder, Fake("one"))
    assert plan.human == ("a.png", "c.png")


def test_a_doubtful_phrase_is_compared_with_those_of_other_pictures(folder):
    asked = []

    def sees(picture):
        def likeness(given):
            asked.append(given)
            return [float("table" in text) for text in given]

        return likeness

    models = [Fake("one").model(), Fake("two", "a {color} cup, a spoon").model()]
    plan = plan_captions(folder, models, settings(), sees=sees, seen_by="eye")
    (first, *_) = plan.changes
    assert first.after == b"mei, a red cup on a table\n"
    assert {"a spoon", "on a table", "a green cup", "a blue cup"} <= set(asked[0])


def test_what_was_said_before_a_kill_or_in_a_dry_run_is_not_asked_again(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    fake = Fake("one")
    plan_captions(folder, [fake.model()], settings(), cache=cache)
    (kept,) = (cache / "captions").rglob("*.jsonl")
    kept.write_bytes(kept.read_bytes()[:-30])
    pixels = np.random.default_rng(5).integers(0, 99, (48, 48, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "e.png")
    plan = plan_captions(folder, [fake.model()], settings(), cache=cache)
    assert (fake.shown, fake.opened) == (5, 2)
    assert len(plan.changes) == 4
    plan_captions(folder, [fake.model()], settings(), cache=cache)
    assert (fake.shown, fake.opened) == (5, 2)
    plan_captions(folder, [fake.model("2")], settings(), cache=cache)
    assert (fake.shown, fake.opened) == (9, 3)
