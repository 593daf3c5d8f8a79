"""How long a caption may be, in tokens of the base model or in an estimate of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.tokens import TextTokenizer, read_tokenizers

# Of English words CLIP makes fewer tokens than one for four letters; made-up ones take more.
LETTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `limit` tokens, as `count` tells them of a text; `counted_by` names who counts."""

    limit: int
    count: Callable[[str], int]
    counted_by: str


def budget_of(base_model: Path | None) -> Budget:
    """By the tokenizers of a base model, the one that makes most of a text, or else estimated."""
    usual = ValidateSettings().max_tokens
    tokenizers = read_tokenizers(base_model)
    if not tokenizers:
        return Budget(limit=usual, count=estimate, counted_by="estimate")
    names = [f"{one.name} {one.limit} {one.engine.get_vocab_size()}" for one in tokenizers]
    return Budget(
        limit=min(one.limit or usual for one in tokenizers),
        count=lambda text: max(_count(one, text) for one in tokenizers),
        counted_by=", ".join(names),
    )


def estimate(text: str) -> int:
    """A token for each comma, and for every four letters of a word or a part of them."""
    words = re.findall(r"\w+", text)
    return sum(math.ceil(len(word) / LETTERS) for word in words) + len(re.findall(r"[^\w\s]", text))


def _count(tokenizer: TextTokenizer, text: str) -> int:
    (count,) = tokenizer.counts([text])
    return count
