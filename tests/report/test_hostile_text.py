"""Whatever names, prompts and messages hold, it stays text: for git hosts, browsers, terminals."""

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.run import Earlier
from lora_ci.core.sweep import Standing, Suggestion, Sweep
from lora_ci.core.text import clean
from lora_ci.report.comment import render_check, render_comment
from lora_ci.report.junit import render_junit
from lora_ci.report.page import render_page
from lora_ci.report.picture import as_it_is
from lora_ci.report.release_notes import render_release_notes
from lora_ci.report.script import SCRIPT
from lora_ci.report.sweep_comment import suggestion_words
from lora_ci.report.sweep_text import render_sweep_text
from lora_ci.report.text import render_run_text
from lora_ci.report.twin import render_twin
from tests.views import (
    PICTURES,
    deploy_step,
    exhibits,
    make_view,
    nearest,
    optimize_step,
    qa_details,
    qa_step,
    train_step,
    tried_weights,
    validate_step,
)

ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "@octocat", "@org/team",
    "[click](https://evil.example)", "![x](https://evil.example/x.png)", "https://evil.example",
    "`code` `", "```\nfence", "| cell | cell |", "a\n# heading", "</details>", "<!-- hidden -->",
    "::set-output name=x::y", "::add-mask::x", "#123", "GH-1 fixes #2", "\x1b[31mred",
    "\u202ereversed",
    "&lt;b&gt;", "<a href='javascript:alert(1)'>x</a>", "~~~", "$(rm -rf /)", "- [ ] task",
    "`<b>``<i>`", "``<b>`", "`a` <b>x</b> `@octocat`", "\\", "`\\`<b>", '" onload="alert(1)',
    "www.evil.example", ":::add-mask:::x", "[x]: https://evil.example", "<https://evil.example>",
    "x</summary></details><b>", "&#64;octocat", "a`b`#1`c", "`a | <i>x` | c",
]  # fmt: skip
PNG = next((PICTURES / "mochi").glob("*.png")).read_bytes()
REPORT, GRID = "https://good.example/report.html", "https://good.example/grid.png"
# Words that choose what is shown, and cannot be text.
FIXED = {"kind", "outcome", "artifact", "twin", "sha256", "name"}


def poison(value, text):
    """The same JSON with every text in it replaced."""
    if isinstance(value, dict):
        return {k: v if k in FIXED else poison(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [poison(v, text) for v in value]
    return text if isinstance(value, str) else value


def hostile_view(text):
    prompts = [text, "a cat"]
    more, alike = tried_weights(prompts), nearest(prompts)
    shown = [*exhibits(prompts), *more["pictures"], *alike["pictures"]]
    details = qa_details(shown) | {**more, **alike, "pictures": shown, "settle": [text]}
    for section in ("tests", "checks"):
        details[section] = [{**told, "name": text} for told in details[section]]
    files = {label["artifact"]: PNG for label in shown}
    lora = f"mei {text}"
    steps = []
    for step in (
        validate_step(lora, text, errors=2),
        train_step(lora),
        qa_step(lora, poison(details, text), files=files),
        optimize_step(lora),
        deploy_step(lora, **poison(dict(deploy_step().result.details), text)),
    ):
        fingerprint = Fingerprint(stage=step.decision.stage, value=text, parts={text: text})
        result = replace(
            step.result,
            metrics={**step.result.metrics, text: 1.0},
            details={"traceback": f"{text}\n{text}", **step.result.details},
        )
        decision = replace(step.decision, why=text, fingerprint=fingerprint)
        steps.append(replace(step, decision=decision, result=result))
    steps[0].result.details["statistics"]["words"] = [[text, 3]]
    findings = steps[0].result.findings
    moved = DatasetChange(
        dataset=text, total=3, added=(text,), modified=(text,), renamed=((text, text),)
    )
    changes = ChangeSet(base="b81c0de", head="3f2a1c9", range_why=text, datasets=(moved,))
    view = make_view(*steps, tag=text, findings=findings, changes=changes)
    was = Earlier(lora=lora, metrics={"images": 3.0, text: 1.0}, rules={text: 3})
    return replace(
        view, run_id=text, started_at=text, sweeps=hostile_sweeps(lora, text), earlier=(was,)
    )


def hostile_sweeps(lora, text):
    values = {"train.schedule": text, f"qa.{text}": [text], "train.steps": 3}
    first = Standing(lora=lora, values=values, score=0.9, low=0.8, high=1.0)
    second = replace(first, lora=text, values={**values, "train.steps": 5}, score=0.7)
    change = Suggestion(
        path=".lora-ci.yml", first_line=1, last_line=2, lines=(text, text), diff=f"+{text}\n-{text}"
    )
    sweep = Sweep(
        of=text, metric=text, lower_is_better=False, standings=(first, second), best=lora,
        why=text, suggestion=change,
    )  # fmt: skip
    return sweep, replace(sweep, suggestion=None, unsuggested=text, best=None)


class Tags(HTMLParser):
    """The elements of a page with their attributes, and the text outside of code."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words, self.shown, self._code = [], [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._code += tag in ("code", "style")

    def handle_endtag(self, tag):
        self._code -= tag in ("code", "style")

    def handle_data(self, data):
        self.shown.append(data)
        if not self._code:
            self.words.append(data)

    def handle_comment(self, data):
        self.found.append(("!--", {"": data.strip()}))


def texts(view):
    lora = view.loras()[0]
    yield render_comment(view, REPORT, {lora: GRID})
    yield render_comment(replace(view, steps=view.steps * 3), REPORT, {lora: GRID})
    yield render_comment(replace(view, steps=view.steps[:2]), REPORT)
    yield render_check(view, lora, REPORT, GRID)
    yield render_release_notes(view, lora, REPORT)


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_markdown(attack):
    allowed = {
        *("details", "summary", "small", "b", "br", "img", "!--", "strong", "code", "a", "p", "h3"),
        *("pre", "h4", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"),
    }
    for markdown in texts(hostile_view(attack)):
        rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
        tags = Tags(rendered)
        for tag, attributes in tags.found:
            assert tag in allowed
            expected = {
                "a": {"href": REPORT},
                "!--": {"": "lora-ci"},
                "details": {"open": None} if attributes else {},
                "img": {"src": GRID, "alt": attributes.get("alt")},
                "code": {"class": "language-diff"} if attributes else {},
            }
            assert attributes == expected.get(tag, {})
        assert rendered.count("<details") == rendered.count("</details>")
        words = "\n".join(tags.words)
        assert not re.search(r"@\w|://|::|#\d|GH-\d|www\.", words)
        assert not re.search(r"(?m)^::", markdown)
        assert "\x1b" not in markdown
        assert "\u202e" not in markdown


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_a_block_that_changes_lines(attack):
    sweep = hostile_sweeps("mei", attack)[0]
    told = suggestion_words(sweep)
    (block,) = (t for t in MarkdownIt("commonmark").parse(told) if t.type == "fence")
    assert block.info == "suggestion"
    assert block.content == f"{clean(attack)}\n" * 2
    outside = told[: told.index("suggestion\n")]
    assert not re.search(r"@\w|://|::|#\d|GH-\d|www\.", outside.replace("mei", ""))


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_a_browser(attack):
    view = hostile_view(attack)
    page = render_page(view, {hashlib.sha256(PNG).hexdigest(): as_it_is(PNG)})
    tags = Tags(page)
    allowed = {
        *("html", "head", "meta", "title", "style", "body", "header", "section", "div", "p", "b"),
        *("span", "i", "br", "h1", "h2", "h3", "a", "code", "pre", "table", "thead", "tbody", "tr"),
        *("th", "td", "ul", "li", "dl", "dt", "dd", "details", "summary", "figure", "figcaption"),
        *("svg", "g", "rect", "line", "circle", "polyline", "img", "button", "script", "dialog"),
        *("label", "select", "input"),
    }
    names = {
        *("class", "id", "href", "charset", "name", "content", "http-equiv", "lang", "open"),
        *("data-of", "role", "aria-label", "x1", "x2", "y1", "y2", "y", "width", "height", "rx"),
        *("cx", "cy", "r", "points", "viewbox", "preserveaspectratio", "style", "hidden", "type"),
        *("min", "max", "value", "src", "alt", "height"),
    }
    assert page.count("<script") == 1
    assert page.endswith(f"<script>{SCRIPT}</script></body></html>\n")
    for tag, attributes in tags.found:
        assert tag in allowed
        assert set(attributes) <= names
        assert attributes.get("style", "--n:5") == "--n:5"
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        if tag == "a":
            assert re.fullmatch(r"#lora-\d+", attributes["href"])
    assert "default-src 'none'" in page
    assert page.count("<img") > 4
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert f"mei {clean(attack)}" in "".join(tags.shown)


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_xml_and_json(attack):
    view = hostile_view(attack)
    suite = ElementTree.fromstring(render_junit(view))[1]
    assert suite.get("name") == clean(f"mei {attack}")
    assert {case.tag for case in suite.iter()} <= {
        *("testsuite", "properties", "property", "testcase", "failure", "skipped", "system-out"),
    }
    facts = json.loads(render_twin(view))
    assert facts["run"] == attack
    assert facts["loras"][f"mei {attack}"]["stages"]["qa"]["details"]["settle"] == [attack]


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_a_terminal(attack):
    view = hostile_view(attack)
    printed = "\n".join([render_run_text(view), *map(render_sweep_text, view.sweeps)])
    assert all(c.isprintable() or c == "\n" for c in printed)
