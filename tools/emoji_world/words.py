"""The captions and the tokenizer of the emoji world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

MAX_TOKENS = 24
VOCABULARY = 2000
STYLE_WORDS = ("flat", "glossy", "fluent3d")
PROMPT_WORDS = """photo of a portrait full body anime style superhero van gogh style cyberpunk
watercolor painting pencil sketch pixel art neon light on a beach in the snow wearing a hat
black and white background smiling eyes happy sad angry close up an emoji flat glossy emoji"""


def captions(names: list[str]) -> list[str]:
    """One caption per name and style of the base model, and the bare ones."""
    styled = [f"a {style} emoji of {name}" for style in STYLE_WORDS[:2] for name in names]
    return [*styled, *(f"an emoji of {name}" for name in names)]


def make_tokenizer(names: list[str], folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer of about 2,000 tokens, learned from the captions and common prompt words.

    The vocabulary has CLIP's layout: all bytes, all bytes at the end of a word, the merges, and
    the two special tokens, so that no text is unknown to it.
    """
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    # A space of its own would stick to the next word.
    learner.normalizer = Replace(" ", "\n")
    learner.pre_tokenizer = Sequence([Split("\n", "removed"), ByteLevel(add_prefix_space=False)])
    corpus = [*captions(names), *PROMPT_WORDS.splitlines() * 50]
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(alphabet), end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(corpus, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(f"{c}</w>" for c in alphabet), *("".join(m) for m in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def world_names(work: Path) -> list[str]:
    """The names of all concepts."""
    return [str(name) for name in np.load(work / "world.npz")["names"]]


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]):
    """Token ids, [n, MAX_TOKENS]."""
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
