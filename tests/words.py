"""Captions made of many words, and a tokenizer of CLIP's kind that knows them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tokenizers.pre_tokenizers import ByteLevel

COLORS = ("red", "green", "blue", "yellow", "brown", "purple", "orange", "pink")
SUBJECTS = (
    *("vase", "cup", "chair", "lamp", "clock", "basket", "bottle", "kettle", "plate", "drum"),
    *("ladder", "bucket", "mirror", "candle", "pillow", "helmet", "guitar", "anchor", "wheel"),
    *("barrel", "saddle", "lantern", "teapot", "bench", "statue", "fountain", "windmill", "kite"),
)
PLACES = (
    *("river", "harbor", "garden", "kitchen", "forest", "meadow", "bridge", "station", "market"),
    *("castle", "island", "valley", "library", "beach", "desert", "village", "tower", "orchard"),
)
VERBS = ("standing", "lying", "hanging", "leaning", "shining", "falling", "turning", "floating")
WORDS = (*COLORS, *SUBJECTS, *PLACES, *VERBS)


def sentence(chance: Random, trigger: str) -> str:
    """A caption of prose, with the trigger."""
    color, verb = chance.choice(COLORS), chance.choice(VERBS)
    one, other = chance.sample(SUBJECTS, 2)
    place = chance.choice(PLACES)
    return f"a {trigger} {one} {verb} beside the {color} {other} near a {place}"


def tags(chance: Random, trigger: str) -> str:
    """A caption of tags, the trigger first."""
    words = chance.sample([*SUBJECTS, *PLACES, *VERBS], 8)
    return ", ".join([trigger, f"{chance.choice(COLORS)}_{words[0]}", *words[1:]])


def clip_tokenizer(folder: Path, *, filled: bool = False, rare: str | None = None) -> None:
    """Writes the files that Stable Diffusion's has; every word of ours is one token.

    `filled` with as many tokens as real ones have; the word `rare` is the last of them.
    """
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: dict[tuple[str, str], None] = {}

    def learn(word: str) -> None:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        for end in range(1, len(parts)):
            merges["".join(parts[:end]), parts[end]] = None
            tokens.append("".join(parts[: end + 1]))

    for word in WORDS:
        learn(word)
    if filled:
        tokens.extend(f"filler{number}" for number in range(20_000))
    if rare:
        learn(rare)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines))
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
