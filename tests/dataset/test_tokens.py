"""Tokens are counted as the base model's own library counts them, and up to where it reads."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from lora_ci.dataset.tokens import TextTokenizer, lost_words, read_tokenizers
from tests.tiny_parts import t5_tokenizer
from tests.words import clip_tokenizer, sentence, tags

EMOJI = Path(__file__).parents[2] / "examples" / "emoji" / "base"
ODD = (
    "",
    "A  Red\tVASE!!!",
    "café ß Ærø",
    "赤い花瓶 👩‍🔬",
    "it's 1234 don't_stop (ok:1.2) --ar ##",
    "�",
)


@pytest.fixture(scope="session", params=["files", "emoji"])
def base_model(request, tmp_path_factory) -> TextTokenizer:
    folder = EMOJI
    if request.param == "files":
        folder = tmp_path_factory.mktemp("base")
        clip_tokenizer(folder / "tokenizer")
    (found,) = read_tokenizers(folder)
    assert found.words_apart
    return found


def configure(folder: Path, **more: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.slow
def test_clip_is_counted_as_transformers_does(tmp_path):
    clip_tokenizer(tmp_path / "tokenizer")
    (ours,) = read_tokenizers(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
    chance = Random(0)
    texts = [*ODD, *(sentence(chance, "mei") for _ in range(50)), tags(chance, "mei")]
    assert ours.counts(texts) == [len(theirs(t, add_special_tokens=False).input_ids) for t in texts]
    assert ours.limit == 75
    assert ours.words_apart


@given(text=st.text(st.sampled_from("aeVs1 .,'#\n\u0301\u00a0\x1c赤é<|>"), max_size=60))
def test_words_counted_apart_are_the_whole(base_model, text):
    assert base_model.counts([text]) == replace(base_model, words_apart=False).counts([text])


def test_both_of_sdxl_count_once_if_they_have_the_same_words(tmp_path):
    clip_tokenizer(tmp_path / "tokenizer")
    clip_tokenizer(tmp_path / "tokenizer_2")
    configure(tmp_path / "tokenizer_2", pad_token="!")
    assert [t.name for t in read_tokenizers(tmp_path)] == ["tokenizer"]
    configure(tmp_path / "tokenizer_2", model_max_length=50)
    assert [t.limit for t in read_tokenizers(tmp_path)] == [75, 48]


@pytest.mark.slow
def test_a_t5_decides_alone_and_reads_512_with_its_end(tmp_path):
    clip_tokenizer(tmp_path / "tokenizer")
    t5_tokenizer().save_pretrained(tmp_path / "tokenizer_2")
    for told in (10**30, 4096):
        configure(tmp_path / "tokenizer_2", model_max_length=told)
        (only,) = read_tokenizers(tmp_path)
        assert (only.name, only.limit) == ("tokenizer_2", 511)


@pytest.mark.parametrize(
    ("end", "lost"),
    [(0, ["a", "red-hot", "vase"]), (3, ["red-hot", "vase"]), (4, ["red-hot", "vase"]), (15, [])],
)
def test_lost_words(end, lost):
    assert lost_words("a red-hot vase.", end) == lost
