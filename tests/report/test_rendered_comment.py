"""Comments as a git host shows them: rendered by GitHub's own markdown, read as a document."""

import re
import shutil
from html import escape
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.finding import Finding, Severity
from lora_ci.report.comment import render_check, render_comment, render_refusal
from lora_ci.report.markdown import cut
from tests.browser import dump_dom
from tests.report.test_hostile_text import ATTACKS, hostile_view
from tests.situations import COMMENTS, GRID, OTHERS, REPORT, going_on, several, training
from tests.views import PICTURES

SCREEN = 60
HOSTS = (REPORT, GRID.split("{", maxsplit=1)[0])
VOID = ("br", "img", "hr", "input")
LINES = ("p", "li", "tr", "summary", "h3")


def to_html(markdown: str) -> str:
    """As GitHub does it, before its sanitizer: what must not be there is not there already."""
    return cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)


class Document(HTMLParser):
    """What matters of a rendered comment; `odd` names what is not well-formed.

    `seen` counts the blocks that show without a click.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.odd: list[str] = []
        self.tables = 0
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.first, self.words = "", []
        self.seen = 0
        self._open: list[str] = []
        self._folded: list[bool] = []
        self.feed(markup)
        self.odd += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= given.keys()
        self.links += [given[name] or "" for name in ("href", "src") if name in given]
        if tag in LINES and not any(self._folded):
            self.seen += 1
        if tag == "summary" and sum(self._folded) == 1 and self._folded[-1]:
            self.seen += 1
        self.tables += tag == "table"
        if tag not in VOID:
            self._open.append(tag)
        if tag == "details":
            self._folded.append("open" not in given)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.odd.append(f"</{tag}> ends nothing")
        if tag == "details" and self._folded:
            self._folded.pop()

    def handle_data(self, data: str) -> None:
        if not {"code", "pre"} & set(self._open):
            self.words.append(data)
        if data.strip() and not self.first:
            self.first = f"{self._open[-1] if self._open else ''}: {data}"


def check(markdown: str) -> Document:
    document = Document(to_html(markdown))
    assert document.odd == []
    assert not document.tags & {"script", "style", "iframe", "input", "form", "object"}
    assert document.attributes <= {"href", "src", "alt", "open", "lang"}
    assert all(link.startswith(HOSTS) for link in document.links)
    tables = re.findall(r"(?m)(?:^\|.*\n)+", markdown)
    for table in tables:
        # The renderer pads and drops cells, so they are counted before it.
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1, "every row has as many cells as there are heads"
    assert document.tables == len(tables)
    assert not re.search(r"@\w|https?://|www\.|#\d|GH-\d", " ".join(document.words))
    return document


@pytest.mark.parametrize("name", COMMENTS)
def test_a_comment_begins_with_its_verdict_and_fits_a_screen(name):
    document = check(COMMENTS[name]())
    assert document.first.startswith("h3: lora-ci: ")
    assert document.seen <= SCREEN


@pytest.mark.parametrize("name", OTHERS)
def test_other_markdown_is_well_formed(name):
    check(OTHERS[name]())


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_others_wrote_stays_text(attack):
    view = hostile_view(attack)
    lora = view.loras()[0]
    grids = {lora: GRID.format("mei")}
    for shown in (view, going_on(view)):
        document = check(render_comment(shown, REPORT, grids))
        assert document.first.startswith("h3: lora-ci: ")
        check(render_check(shown, lora, REPORT, grids[lora]))
    finding = Finding(
        rule=attack,
        severity=Severity.ERROR,
        message=attack,
        hint=f"next: git {attack}",
        file=attack,
    )
    check(render_refusal(InputError(attack, findings=(finding,)), attack))


def test_a_refusal_tells_whose_turn_it_is():
    ours = render_refusal(InfrastructureError("the disk is full", hint="next: df -h"), "3f2a1c9")
    assert "⚠️ could not start" in ours
    assert "`/lora-ci run` tries again" in ours
    theirs = render_refusal(InputError("no such tag"), "3f2a1c9")
    assert "❌ could not start" in theirs
    assert "/lora-ci run" not in theirs


def test_a_run_that_goes_on_shows_how_far_it_is():
    comment = COMMENTS["training"]()
    assert "🔄 train of **mei** `████░░░░░░\u00a045 %` 270 of 600, loss 0.2171" in comment
    assert "0.6–0.9 GPU\\-hours to go" in comment
    assert "runs train: 270 of 600" in render_check(training(), "mei")
    assert "passed" not in comment.partition("\n\n")[0]


def test_what_is_cut_closes_what_it_opened():
    folds = "\n".join(["<details><summary>a</summary>", "", "- word\n" * 9_000, "", "</details>"])
    check(cut(folds * 3, REPORT, end="the end\n"))
    assert cut(folds * 3, end="the end\n").endswith("the end\n")


@pytest.mark.needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
@pytest.mark.parametrize("width", [980, 400])
def test_a_browser_shows_comments_without_sideways_scrolling(tmp_path, width):
    # The rules of GitHub's that decide about widths: tables scroll within themselves.
    style = (
        "body{margin:0;font:16px/1.5 sans-serif;overflow-wrap:break-word}img{max-width:100%}"
        "table{display:block;width:max-content;max-width:100%;overflow:auto;border-spacing:0}"
        "th,td{padding:6px 13px;border:1px solid}code{white-space:break-spaces;font-size:85%}"
        "small{font-size:90%}li ul,li ol,ul,ol{padding-left:2em}"
    )
    grid = next((PICTURES / "mochi").glob("*.png")).as_uri()
    pages = [COMMENTS["failed-gate"](), render_comment(several()), COMMENTS["training"]()]
    frames = ""
    for markdown in pages:
        body = to_html(markdown).replace("<details>", "<details open>")
        body = re.sub(r'src="[^"]*"', f'src="{grid}"', body)
        source = escape(f"<meta charset=utf-8><style>{style}</style>{body}")
        frames += (
            f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{source}"></iframe>'
        )
    probe = (
        "<script>onload=()=>{document.title='W '+[...document.querySelectorAll('iframe')]"
        ".map(f=>f.contentDocument.documentElement).map(e=>e.scrollWidth-e.clientWidth).join(' ')}"
        "</script>"
    )
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8">{probe}{frames}')
    found = re.search(r"<title>W ([\d -]+)</title>", dump_dom(tmp_path / "frame.html"))
    assert found
    assert [int(n) for n in found[1].split()] == [0] * len(pages)
