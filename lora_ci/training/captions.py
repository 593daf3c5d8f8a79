"""The parts of a caption in other orders.

Embeddings are made once, so a caption has a fixed small number of orders, which depend on its text
alone; a draw picks one of them.
"""

from __future__ import annotations

import hashlib
import re

# Orders of a caption that are encoded and drawn from.
ORDERS = 8


def orders_of(caption: str, trigger: str, keep: int) -> tuple[str, ...]:
    """ORDERS captions with the same parts; some may be equal where there are few parts.

    The first `keep` parts stay, and so does every part with the trigger, in front and in order.
    """
    parts = [part.strip() for part in caption.split(",") if part.strip()]
    front = [part for i, part in enumerate(parts) if i < keep or has_trigger(part, trigger)]
    rest = [part for i, part in enumerate(parts) if not (i < keep or has_trigger(part, trigger))]
    if len(rest) < 2:
        return (caption,) * ORDERS
    return tuple(", ".join([*front, *_shuffled(rest, caption, n)]) for n in range(ORDERS))


def has_trigger(text: str, trigger: str) -> bool:
    """True if the trigger stands in the text as a word of its own, in capitals or not."""
    if not trigger:
        return False
    return re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", text, re.IGNORECASE) is not None


def _shuffled(parts: list[str], caption: str, number: int) -> list[str]:
    def chance(index: int) -> bytes:
        return hashlib.sha256(f"{number}\0{index}\0{caption}".encode()).digest()

    return [parts[index] for index in sorted(range(len(parts)), key=chance)]
