"""Foreign text in markdown that a git host renders: it stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from lora_ci.core.text import clean
from lora_ci.report.figures import number

# GitHub says 65,536 characters of a comment's body and takes 262,144 bytes of it, which is four
# times as much; of a check's text it takes 65,535 characters.
# Source: https://github.com/dead-claudia/github-limits/pull/13
MAX_CHARACTERS = 65_000
# Unseen, between the parts of what a git host would make a link, a mention or a command of.
GAP = "\u200b"
CELLS = 10


def escape(text: str) -> str:
    """Foreign text as plain words in markdown: no link, mention, image, HTML or table cell."""
    plain = html.escape(clean(text), quote=False)
    return unlink(re.sub(r"([\\`*_{}\[\]()#+!|~>-])", r"\\\1", plain))


def prose(text: str) -> str:
    """Like `escape`, but what stands between backticks becomes a code span."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0 or "" in parts[1::2] or "" in parts[2:-1:2]:
        return escape(text)  # unpaired or touching backticks: spans would end elsewhere
    return "".join(f"`{code(p)}`" if i % 2 else escape(p) for i, p in enumerate(parts))


def escape_html(text: str) -> str:
    """Foreign text between tags or in an attribute, where backslashes would be shown."""
    return unlink(html.escape(clean(text)))


def unlink(text: str) -> str:
    """Keeps a git host from linking people, pages, issues; and workflow commands from working.

    Escapes are not enough: hosts look for mentions in the text that is left after rendering.
    """
    text = re.sub(r"(@|:(?=:|//))", rf"\1{GAP}", text)
    return re.sub(r"(?i)(www(?=\.)|#(?=\d)|GH\\?-(?=\d))", rf"\1{GAP}", text)


def code(text: str) -> str:
    """Foreign text inside a code span."""
    return re.sub(r":(?=:)", f":{GAP}", clean(text).replace("`", "'").replace("|", "¦"))


def address(url: str) -> str:
    """An address of the forge's as the target of a link; nothing in it ends the link."""
    return quote(clean(url), safe="/:?#@!$&'*+,;=%~")


def bar(score: float | None) -> str:
    """`████████░░ 0.83` on one line; a row of dots for what was not measured."""
    if score is None:
        return f"{'·' * CELLS}\u00a0–"
    return f"{meter(score)}\u00a0{number(score)}"


def meter(share: float) -> str:
    """`████████░░` for a share from 0 to 1."""
    full = round(max(0.0, min(1.0, share)) * CELLS)
    return f"{'█' * full}{'░' * (CELLS - full)}"


def row(cells: Iterable[str]) -> str:
    """A line of a table; the cells are markdown already."""
    return f"| {' | '.join(cells)} |"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of cells that are markdown already."""
    return [row(heads), "|" + "---|" * len(heads), *map(row, rows)]


def folded(summary: str, body: Sequence[str], *, is_open: bool = False) -> list[str]:
    """A part that a click shows; `summary` is HTML already. Nothing if it would be empty."""
    state = " open" if is_open else ""
    start = f"<details{state}><summary>{summary}</summary>"
    inner = "\n".join(body).strip("\n")
    return [start, "", inner, "", "</details>", ""] if inner else []


def cut(text: str, report_url: str | None = None, *, end: str = "") -> str:
    """`text` and `end`, at most as long as a git host takes: the top and the end are kept."""
    if len(text) + len(end) <= MAX_CHARACTERS:
        return text + end
    report = f"[report]({address(report_url)})" if report_url else "report"
    note = f"\n\n… cut here: the {report} has the rest.\n"
    end = f"\n{end}" if end else ""
    room = MAX_CHARACTERS - len(note) - len(end)
    kept = text[:room].rsplit("\n", 1)[0]
    while len(kept) + len(closing := _closing(kept)) > room and "\n" in kept:
        kept = kept.rsplit("\n", 1)[0]
    return kept + closing + note + end


def _closing(text: str) -> str:
    """What ends the folded parts that are still open; foreign text never begins a line."""
    lines = text.split("\n")
    depth = sum(line.startswith("<details") for line in lines) - lines.count("</details>")
    return "\n\n</details>" * max(0, depth)
