"""Foreign text that is shown: file names, messages and captions can hold anything."""

from __future__ import annotations


def clean(text: str) -> str:
    """One printable line: `�` for what a terminal or a log would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
