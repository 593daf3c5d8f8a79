"""Pieces of HTML that the parts of the page share."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from lora_ci.core.text import clean


def document(title: str, body: str, *, style: str, policy: str) -> str:
    """A whole page that loads nothing from elsewhere, as its `policy` sees to; all HTML already."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{title}</title><style>{style}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def text(value: object) -> str:
    """Foreign text, safe in HTML and in quoted attributes."""
    return html.escape(clean(str(value)))


def prose(value: str) -> str:
    """Foreign text; what stands between backticks is set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; on a phone each cell has its column's name."""
    top = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-of="{head}">{cell}</td>' for head, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """A part that a click shows; nothing if it would be empty."""
    state = " open" if is_open else ""
    return f"<details{state}><summary>{title}</summary>{body}</details>" if body else ""


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values (HTML) below each other; nothing for no rows."""
    body = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f"<dl>{body}</dl>" if body else ""


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values (HTML) beside each other, as many as a line holds; nothing for no rows."""
    body = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="facts">{body}</dl>' if body else ""
