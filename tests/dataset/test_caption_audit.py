"""Caption faults, each planted alone in a clean set: its rule is told at its file, and no other."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_ci.core.finding import Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.captions import Audit, audit_captions
from lora_ci.dataset.folding import MOST_OF_A_RULE
from tests.words import SUBJECTS, clip_tokenizer, sentence, tags

TRIGGER = "sksmei"
LIMIT = 75


@pytest.fixture(scope="session")
def base_model(tmp_path_factory) -> Path:
    """A base model that is nothing but CLIP's kind of tokenizer over the words of these tests."""
    folder = tmp_path_factory.mktemp("base")
    clip_tokenizer(folder / "tokenizer")
    return folder


def write(folder: Path, texts: dict[str, str | bytes | None]) -> list[str]:
    """Captions by the stem of their image; the images."""
    for stem, text in texts.items():
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (folder / f"{stem}.txt").write_bytes(data)
    return sorted(f"{stem}.png" for stem in texts)


def audit(folder: Path, images: list[str], *, base_model: Path | None = None, **given) -> Audit:
    names = images + [p.relative_to(folder).as_posix() for p in folder.rglob("*")]
    return audit_captions(
        folder,
        images,
        names,
        trigger=given.pop("trigger", TRIGGER),
        chroma=given.pop("chroma", None),
        base_model=base_model,
        settings=replace(ValidateSettings(), **given),
    )


def told(found: Audit) -> set[tuple[str, str | None]]:
    return {(f.rule, f.file) for f in found.findings if f.severity is not Severity.INFO}


def prose(count: int = 30) -> dict[str, str]:
    chance = random.Random(1)
    return {f"p{i:02}": sentence(chance, TRIGGER) for i in range(count)}


def tagged(count: int = 30) -> dict[str, str]:
    chance = random.Random(2)
    return {f"t{i:02}": tags(chance, TRIGGER) for i in range(count)}


@pytest.mark.parametrize("texts", [prose(), tagged()], ids=["prose", "tags"])
def test_a_clean_set_has_no_findings(tmp_path, base_model, texts):
    found = audit(tmp_path, write(tmp_path, texts), base_model=base_model)
    assert found.findings == ()
    assert len(found.captions) == 30
    assert sum(found.statistics["caption_tokens"]) == 30
    assert found.tokens_max == len(found.statistics["caption_tokens"]) - 1 < LIMIT
    assert found.statistics["folders"] == [["", 30, 30]]


LONG = ", ".join(SUBJECTS * 4)
# Of tags and of prose: what stands in `x.txt` beside `x.png`, and what must be told there.
FAULTS: dict[str, tuple[str | bytes | None, str]] = {
    "empty": (b"", "caption.empty"),
    "blank": (" \r\n\t", "caption.empty"),
    "only-a-mark": (b"\xef\xbb\xbf", "caption.bom caption.empty"),
    "mark": (b"\xef\xbb\xbfa sksmei vase near the river", "caption.bom"),
    "latin-1": ("a sksmei caf\xe9".encode("latin-1"), "caption.encoding"),
    "utf-16": ("a sksmei vase".encode("utf-16"), "caption.encoding"),
    "utf-16-without-mark": ("a sksmei vase".encode("utf-16-le"), "caption.encoding"),
    "nul": (b"a sksmei vase\0", "caption.encoding"),
    "a-picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "caption.encoding"),
    "huge": (b"sksmei " * 10_000, "caption.too-large"),
    "no-trigger": ("a vase near the river", "caption.trigger-missing"),
    "part-of-a-word": ("a sksmeister near the river", "caption.trigger-missing"),
    "letter-less": ("a skmei vase near the river", "caption.trigger-misspelled"),
    "letter-more": ("a skssmei vase near the river", "caption.trigger-misspelled"),
    "letter-other": ("a sksmel vase near the river", "caption.trigger-misspelled"),
    "letters-swapped": ("a skmsei vase near the river", "caption.trigger-misspelled"),
    "blank-within": ("a sks mei vase near the river", "caption.trigger-misspelled"),
    "hyphen-within": ("a sks-mei vase near the river", "caption.trigger-misspelled"),
    "trigger-twice": ("sksmei, a vase, SKSMEI", "caption.trigger-repeated"),
    "too-long": (f"sksmei, {LONG}", "caption.too-long"),
    "trigger-cut": (f"{LONG}, sksmei", "caption.too-long caption.trigger-cut"),
    "placeholder": ("a {trigger} of sksmei", "caption.leftover"),
    "placeholder-alone": ("a {trigger} vase", "caption.leftover caption.trigger-missing"),
    "angle-placeholder": ("<caption> sksmei near a river", "caption.leftover"),
    "special-token": ("a sksmei vase<|endoftext|>", "caption.leftover"),
    "todo": ("sksmei TODO", "caption.leftover"),
    "arafed": ("arafed sksmei in a red coat", "caption.leftover"),
    "chatter": ("Sure, here is a caption of sksmei", "caption.leftover"),
    "refusal": ("I'm sorry, I cannot describe sksmei", "caption.leftover"),
    "html": ("<p>a sksmei vase</p>", "caption.markup"),
    "div": ('<div class="x">a sksmei vase</div>', "caption.markup"),
    "embedding": ("a sksmei vase in <my-style>", "caption.leftover"),
    "entity": ("a sksmei vase &amp; a cup", "caption.markup"),
    "link": ("a [sksmei](https://example.org/x) vase", "caption.markup"),
    "bold": ("a **sksmei** vase by the river", "caption.markup"),
    "user": ("a sksmei vase by @somebody", "caption.markup"),
    "weight": ("a sksmei vase, (red:1.3) cup", "caption.prompt-syntax"),
    "lora": ("a sksmei vase <lora:mei:0.8>", "caption.prompt-syntax"),
    "wildcard": ("a sksmei vase {by day|by night}", "caption.prompt-syntax"),
    "bidi": ("a sksmei \u202eesav", "caption.characters"),
    "zero-width": ("a sksmei v\u200base", "caption.characters"),
    "control": ("a sksmei\x07 vase", "caption.characters"),
    "lost-letter": ("a sksmei caf\ufffd", "caption.characters"),
    "encoded-twice": ("a sksmei caf\u00c3\u00a9", "caption.characters"),
    "lines": ("a sksmei vase\r\nby the river", "caption.several-lines"),
    "two-hairs": ("sksmei, red hair, blue hair", "caption.contradiction"),
    "two-eyes-in-prose": ("sksmei with green eyes, her brown eyes shut", "caption.contradiction"),
    "counts": ("sksmei, 1girl, 2girls", "caption.contradiction"),
    "solo-and-two": ("sksmei, solo, 2girls", "caption.contradiction"),
    "opposites": ("sksmei, indoors, outdoors", "caption.contradiction"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("texts", [prose(), tagged()], ids=["prose", "tags"])
def test_a_fault_is_told_where_it_is_and_nothing_else(tmp_path, base_model, texts, name):
    text, rules = FAULTS[name]
    found = audit(tmp_path, write(tmp_path, texts | {"x": text}), base_model=base_model)
    assert told(found) == {(rule, "x.txt") for rule in rules.split()}


# What looks like a fault and is none.
SOUND = {
    "heterochromia": "sksmei, heterochromia, red eyes, blue eyes",
    "two-people": "sksmei, 2girls, red hair, blue hair",
    "girl-and-boy": "sksmei, 1girl, 1boy, red hair, black hair, blue eyes, green eyes",
    "two-in-prose": "a sksmei girl with red hair next to a girl with black hair",
    "patches": "sksmei, a cat of black fur, white fur, blue sky, orange sky",
    "many-tags": "sksmei, solo, long hair, :d, blush, (v), white shirt, black hair, 2024",
    "apostrophes": "sksmei's cup, rock 'n' roll, 50% off, 5'11\", r&b; a/c",
    "two-things": "a sksmei vase of white background beside a red car and a blue car",
    "emoticon": "sksmei, @_@, >_<, ^_^",
    "escaped": "sksmei, ganyu \\(genshin impact\\), smiling",
    "parentheses": "a sksmei vase (of glass), 35 mm",
    "japanese": "sksmei、赤い花瓶",
    "family-emoji": "a sksmei \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "accents": "a sksmei café in Ærøskøbing, ça va",
    "capitals": "A SksMei vase near the river",
    "less-than": "a sksmei vase, i <3 it, 2 < 3",
    "rest-of-windows": "a sksmei vase near the river\r\n",
    "named-none": "sksmei, none of the cups",
}


@pytest.mark.parametrize("name", SOUND)
def test_what_looks_like_a_fault_is_none(tmp_path, base_model, name):
    images = write(tmp_path, prose() | {"x": SOUND[name]})
    assert told(audit(tmp_path, images, base_model=base_model)) == set()


@pytest.mark.parametrize(
    ("text", "chroma", "said"),
    [
        ("sksmei, monochrome", 20.0, "`monochrome`, and the picture has color"),
        ("a black and white photo of a sksmei", 20.0, "`black and white photo`, and"),
        ("sksmei, black and white, smiling", 20.0, "`black and white`, and"),
        ("a sksmei and a black and white cat", 20.0, None),
        ("sksmei, monochrome", 0.2, None),
        ("a sksmei with a red scarf", 0.2, "`red`, and the picture is gray"),
        ("a sksmei with a red scarf", 20.0, None),
    ],
)
def test_colors_that_the_picture_does_not_have(tmp_path, text, chroma, said):
    images = write(tmp_path, {"x": text})
    findings = audit(tmp_path, images, chroma={"x.png": chroma}).findings
    messages = [f.message for f in findings if f.rule == "caption.contradiction"]
    assert [m.startswith(said or "") for m in messages] == ([True] if said else [])


def test_a_name_of_any_length_is_told_in_short(tmp_path):
    name = "\u202e" + "n" * 100_000 + ".png"
    rows = [{"file_name": name, "text": "sksmei"}] * 2
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = audit(tmp_path, [])
    assert {f.rule for f in found.findings} == {"caption.metadata", "caption.orphan"}
    assert all(len(f.message) < 400 and f.message.isprintable() for f in found.findings)


def test_files_around_the_captions(tmp_path):
    images = write(tmp_path, prose(10) | {"none": None, "A": None, "pair": "sksmei, a vase"})
    (tmp_path / "pair.caption").write_text("sksmei, another")
    (tmp_path / "a.txt").write_text("sksmei, of another picture")
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.txt")
    found = audit(tmp_path, [*images, "link.png", "pipe.png"])
    assert told(found) == {
        ("caption.missing", "none.png"),
        ("caption.missing", "A.png"),
        ("caption.orphan", "a.txt"),
        ("caption.two-files", "pair.caption"),
        ("caption.unreadable", "link.txt"),
        ("caption.unreadable", "pipe.txt"),
    }
    (orphan,) = [f for f in found.findings if f.rule == "caption.orphan"]
    assert orphan.hint == "A.png differs in capitals: rename one of them"


def test_a_caption_of_300_megabytes_costs_nothing(tmp_path):
    with (tmp_path / "x.txt").open("wb") as file:
        file.truncate(300 * 1000**2)
    assert told(audit(tmp_path, ["x.png"])) == {("caption.too-large", "x.txt")}
    row = json.dumps({"file_name": "y.png", "text": "sksmei " * 20_000})
    (tmp_path / "metadata.jsonl").write_text(row)
    assert ("caption.too-large", "metadata.jsonl") in told(audit(tmp_path, ["x.png", "y.png"]))


def test_the_words_that_are_lost_are_named_and_one_that_is_cut(tmp_path, base_model):
    words = " ".join(["vase"] * (LIMIT - 4))
    # The comma and three words are read, of the last its beginning alone.
    write(tmp_path, {"x": f"{words}, red cup helmets a sksmei {' '.join(SUBJECTS[:9])}"})
    found = audit(tmp_path, ["x.png"], base_model=base_model)
    read = f"{found.tokens_max} tokens; the base model reads {LIMIT}"
    lost = ", ".join(f"`{word}`" for word in ("helmets", "a", "sksmei", *SUBJECTS[:5]))
    assert [f.message for f in found.findings] == [
        f"{read}, and the trigger stands behind them",
        f"{read}, not {lost} and 4 more",
    ]


def constant(found: Audit) -> list[str]:
    return [f.message.split("`")[1] for f in found.findings if f.rule == "caption.constant-word"]


def test_words_that_nearly_all_captions_share_become_part_of_the_concept(tmp_path):
    scarf = {stem: f"{text}, red scarf" for stem, text in prose(20).items()}
    images = write(tmp_path, scarf | {"p00": "sksmei at sea"})
    assert constant(audit(tmp_path, images)) == ["red scarf"]
    assert constant(audit(tmp_path, images, fuse=("red scarf",))) == []
    assert constant(audit(tmp_path, images, fuse=("red",))) == ["scarf"]
    assert constant(audit(tmp_path, images, constant_words=0.96)) == []
    images = write(tmp_path, {stem: f"{text}, red hat" for stem, text in scarf.items()})
    assert constant(audit(tmp_path, images, fuse=("red scarf",))) == ["red hat"]


def test_a_fifth_of_the_captions_in_another_style_is_told_once(tmp_path):
    images = write(tmp_path, prose(20) | {f"t{i}": t for i, t in enumerate(tagged(4).values())})
    assert told(audit(tmp_path, images)) == set()
    images += write(tmp_path, tagged(6))
    found = audit(tmp_path, sorted(set(images)))
    (finding,) = [f for f in found.findings if f.rule == "caption.mixed-style"]
    assert finding.message == "10 captions are tags, 20 are prose"


def test_pictures_with_nearly_the_same_caption_are_one_finding(tmp_path):
    text = "sksmei in a long coat sits on a wooden bench beside two tall lamps near the harbor wall"
    near = {"x1": text, "x2": text.replace("tall", "old"), "x3": f"{text}, "}
    images = write(tmp_path, prose() | near)
    found = audit(tmp_path, images)
    assert told(found) == {("caption.copy", "x3.txt")}
    found = audit(tmp_path, images, caption_likeness=0.8)
    (finding,) = [f for f in found.findings if f.rule == "caption.copy"]
    assert finding.message == "3 pictures have nearly the caption of x1.png"


def test_captions_of_two_words_may_be_the_same(tmp_path):
    short = {f"s{i}": "a red sksmei vase" for i in range(5)}
    assert told(audit(tmp_path, write(tmp_path, short))) == set()


@pytest.mark.parametrize(
    ("trigger", "common"),
    [("vase", True), ("red vase", True), ("rareword", False), ("sksmei", False)],
)
def test_a_trigger_that_the_base_model_knows_well(tmp_path, trigger, common):
    clip_tokenizer(tmp_path / "base" / "tokenizer", filled=True, rare="rareword")
    images = write(tmp_path, {"x": f"a {trigger} by the river"})
    found = audit(tmp_path, images, base_model=tmp_path / "base", trigger=trigger)
    assert ("caption.trigger-common" in {f.rule for f in found.findings}) == common


def test_one_cause_in_very_many_files_is_folded_and_counted(tmp_path):
    images = write(tmp_path, {f"{i:03}": f"picture {i}" for i in range(412)})
    found = audit(tmp_path, images)
    missing = [f for f in found.findings if f.rule == "caption.trigger-missing"]
    assert len(missing) == MOST_OF_A_RULE + 1
    assert missing[-1].message == "and 312 more; the first 100 are told"
    assert missing[-1].file is None
    assert found.counts[Severity.ERROR] == 412


def test_a_list_of_something_else_is_not_read_to_its_end(tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes(b"x\n" * 100_000)
    found = audit(tmp_path, ["a.png"])
    assert len(found.findings) <= MOST_OF_A_RULE + 3


LINES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda name, text: json.dumps({"file_name": name, "text": text}).encode(),
        st.sampled_from(["a.png", "b.png", "../c.png", "", "\ud800"]),
        st.text(max_size=60),
    ),
)
ODD = st.text(
    st.sampled_from("sksmei {}<>[]()@#*_&;:|\\,.\n\r\u202e\u200d\ufffd\u00c3\u00a9 \x07aA1"),
    max_size=200,
)
BYTES = st.one_of(st.binary(max_size=200), ODD.map(str.encode))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    captions=st.lists(BYTES, min_size=1, max_size=12),
    lines=st.none() | st.lists(LINES, max_size=12),
    trigger=st.text(max_size=8),
)
def test_no_bytes_crash_the_audit(tmp_path_factory, base_model, captions, lines, trigger):
    folder = tmp_path_factory.mktemp("odd")
    images = write(folder, {f"{i:02}": data for i, data in enumerate(captions)})
    if lines is not None:
        (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    found = audit(folder, [*images, "a.png", "b.png"], base_model=base_model, trigger=trigger)
    assert sum(found.counts.values()) <= 12 * (len(captions) + 12)
    assert all(len(f.message) < 1000 for f in found.findings)
    json.dumps(found.statistics).encode()
    for finding in found.findings:
        finding.message.encode()


@pytest.mark.parametrize("kind", ["empty", "no-json", "list", "word"])
def test_an_unreadable_tokenizer_measures_nothing(tmp_path, kind):
    folder = tmp_path / "base" / "tokenizer"
    folder.mkdir(parents=True)
    data = {"empty": b"", "no-json": b"{", "list": b"[]", "word": b"\xff\xfe"}[kind]
    (folder / "tokenizer.json").write_bytes(data)
    (folder / "tokenizer_config.json").write_bytes(data)
    found = audit(tmp_path, write(tmp_path, {"x": "sksmei"}), base_model=tmp_path / "base")
    assert {f.rule for f in found.findings} == {"caption.length-not-measured"}
    assert found.tokens_max is None
