"""`dataset caption`: what it prints, what it refuses, and that a dry run writes nothing."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.dataset.captioning.budget import estimate
from lora_ci.dataset.tokens import read_tokenizers
from tests.command import Told, assert_one_message

EMOJI = Path(__file__).parents[2] / "examples" / "emoji"
PICTURES = EMOJI / "pictures" / "mochi"
THINGS = ("cup", "tree", "lamp", "road", "wall", "dog", "cat", "boat", "hat", "pen", "key", "box")
SAYS = """
import json, sys
for line in sys.stdin:
    for number, _ in enumerate(json.loads(line)["pictures"]):
        pass
    print(json.dumps({"captions": [sys.argv[1]] * (number + 1)}), flush=True)
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with two pictures, one captioned by a person, and a program that captions."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    one, two, *_ = sorted(PICTURES.glob("*.png"))
    shutil.copy(one, tmp_path / "raw" / "a.png")
    shutil.copy(two, tmp_path / "raw" / "b.png")
    (tmp_path / "raw" / "b.txt").write_text("mei, mine\n")
    (tmp_path / "says.py").write_text(SAYS)
    return tmp_path


@pytest.fixture
def captioned(capsys, place):
    def run(*words: object, said: tuple[str, ...] = ("a red cup", "a blue cup")) -> Told:
        models = [f"exec:{sys.executable} {place / 'says.py'} '{text}'" for text in said]
        code = main(["dataset", "caption", *map(str, words), "--models", *models])
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


def test_what_was_written_and_what_a_person_must_look_at(captioned, place):
    told = captioned("raw", "--trigger", "mei", "--quiet")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == [
        "1 caption written, 0 stay as they are, 1 are people's and were not touched",
        "look at these, in which the models differ most:",
        "  a.png: 0.50 (color of cup: blue or red)",
    ]
    assert (place / "raw" / "a.txt").read_text() == "mei, a cup\n"
    assert (place / "raw" / "b.txt").read_text() == "mei, mine\n"
    again = captioned("raw", "--trigger", "mei", "--quiet")
    assert again.out.startswith("0 captions written, 1 stay as they are, 1 are people's")


def test_a_dry_run_shows_the_changes_and_writes_nothing(captioned, place):
    captioned("raw", "--trigger", "mei", "-q")
    before = {path.name: path.read_bytes() for path in (place / "raw").iterdir()}
    told = captioned("raw", "--trigger", "lin", "--dry-run", "-q")
    assert told.out.splitlines()[:5] == [
        "--- a.txt",
        "+++ a.txt",
        "@@ -1 +1 @@",
        "-mei, a cup",
        "+lin, a cup",
    ]
    assert "1 caption would be written" in told.out
    assert {path.name: path.read_bytes() for path in (place / "raw").iterdir()} == before


def test_json_tells_all(captioned):
    told = captioned("raw", "--trigger", "mei", "--style", "tags", "--json", "-q")
    found = json.loads(told.out)
    assert (told.code, found["schema"]) == (0, "lora-ci.dataset-caption/1")
    assert found["captions"] == [
        {"image": "a.png", "file": "a.txt", "caption": "mei, cup", "before": None}
    ]
    assert found["human"] == ["b.png"]
    assert found["review"][0]["ties"] == ["color of cup: blue or red"]


def test_a_picture_that_cannot_be_read_fails_and_the_others_are_captioned(captioned, place):
    (place / "raw" / "c.png").write_bytes(b"no picture")
    told = captioned("raw", "--trigger", "mei", "-q")
    assert told.code == 1
    assert len(told.errors()) == 1
    assert "c.png" in told.err
    assert (place / "raw" / "a.txt").exists()


def test_a_class_noun_gives_its_place_to_the_trigger(captioned, place):
    captioned("raw", "--trigger", "mei", "--class", "cup", "-q", said=("a cup on a table",))
    assert (place / "raw" / "a.txt").read_text() == "mei on a table\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere", "--trigger", "mei"), 2),
        (("raw", "--trigger", ""), 2),
        (("raw", "--trigger", "mei, a cat"), 2),
        (("raw", "--trigger", "mei", "--class", " "), 2),
        (("raw", "--trigger", "mei", "--base-model", "nowhere"), 2),
        (("raw", "--trigger", "mei", "--models", "git"), 2),
        (("raw", "--trigger", "mei", "--models", "path:nowhere"), 2),
        (("raw", "--trigger", "mei", "--models", "hf:a/b@main"), 2),
        (("raw", "--trigger", "mei", "--embedder", "classic:"), 2),
        (("raw", "--trigger", "mei", "--models", "exec:/no/such/program"), 4),
        (("raw", "--trigger", "m" * 400), 1),
    ],
)
def test_what_cannot_be_is_told_once_with_what_to_do(captioned, place, words, code):
    assert_one_message(captioned(*words, "-q"), code)
    assert not (place / "raw" / "a.txt").exists()
    assert not (place / "raw" / "captions.lock.jsonl").exists()


def test_a_damaged_lock_is_told_with_its_line(captioned, place):
    captioned("raw", "--trigger", "mei", "-q")
    lock = place / "raw" / "captions.lock.jsonl"
    lock.write_bytes(b"<<<<<<< HEAD\n" + lock.read_bytes())
    told = captioned("raw", "--trigger", "lin", "-q")
    assert_one_message(told, 1, "captions.lock.jsonl:1", "[caption.lock]")


def test_the_base_models_tokenizer_counts(captioned, place):
    told = captioned("raw", "--trigger", "mei", "--base-model", EMOJI / "base", "--json", "-q")
    (made,) = json.loads(told.out)["captions"]
    assert made["caption"] == "mei, a cup"
    long = ", ".join(f"a {one} {other}" for one in THINGS for other in THINGS)
    captioned("raw", "--trigger", "lin", "--base-model", EMOJI / "base", "-q", said=(long,))
    (tokenizer,) = read_tokenizers(EMOJI / "base")
    (count,) = tokenizer.counts([(place / "raw" / "a.txt").read_text()])
    assert tokenizer.limit - 10 < count <= tokenizer.limit


def test_an_estimate_counts_long_words_several_times():
    assert [estimate(text) for text in ("", "mei", "mei, a cup", "photograph")] == [0, 1, 4, 3]


@pytest.mark.slow
def test_a_model_of_transformers_with_an_eye_on_the_picture(capsys, place):
    from tests.tiny_captioners import write_git

    write_git(place / "git")
    command = ["dataset", "caption", "raw", "--trigger", "mei", "--json", "-q"]
    command += ["--models", "path:git", "--embedder", f"path:{EMOJI / 'clip'}"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    (made,) = told["captions"]
    assert made["caption"].startswith("mei")
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["captions"] == []
    entries = [json.loads(line) for line in (place / "raw" / "captions.lock.jsonl").open()]
    (ours,) = [entry for entry in entries if entry["state"] == "generated"]
    assert [one["id"] for one in ours["models"]] == ["path:git"]
    assert len(ours["models"][0]["revision"]) == 64
