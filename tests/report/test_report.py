"""Comment, page and terminal text: right for a reader, harmless for GitHub and browsers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lora_ci.core.changeset import ChangeSet
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.comment import MARKER, MAX_CHARACTERS, render_comment
from lora_ci.report.page import render_page
from lora_ci.report.text import render_plan_text, render_run_text

ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "@octocat", "@org/team",
    "[click](https://evil.example)", "![x](https://evil.example/x.png)", "https://evil.example",
    "`code` `", "```\nfence", "| cell | cell |", "a\n# heading", "</details>", "<!-- hidden -->",
    "::set-output name=x::y", "::add-mask::x", "#123", "GH-1 fixes #2", "\x1b[31mred",
    "\u202ereversed",
    "&lt;b&gt;", "<a href='javascript:alert(1)'>x</a>", "~~~", "$(rm -rf /)", "- [ ] task",
]  # fmt: skip


def make_view(text: str = "the caption does not contain the trigger", count: int = 1) -> RunView:
    def decision(lora: str, stage: Stage, action: Action, why: str) -> Decision:
        return Decision(
            lora=lora,
            stage=stage,
            action=action,
            why=why,
            fingerprint=make_fingerprint(stage, {"dataset": "d41d8cd9", "train.rank": [8]}),
        )

    faults = tuple(
        Finding(
            rule="caption.trigger-missing",
            severity=Severity.ERROR,
            message=text,
            file=f"datasets/mei/{i:03d} {text}.txt"[:90],
            line=1,
            hint="write `mei` into it",
        )  # fmt: skip
        for i in range(count)
    )
    losses = [[10 * i, 0.2 + 0.5 / i] for i in range(1, 30)]
    words = [["emoji", 80], ["face", 31], ["cat", 9]]
    steps = (
        StepView(
            decision=decision(
                "mei", Stage.VALIDATE, Action.RUN, "dataset: 3 modified of 160 files"
            ),
            result=StepResult(
                outcome=Outcome.FAILED,
                findings=faults,
                metrics={"images": 80, "errors": count, "warnings": 2},
                details={"statistics": {"words": words}},
            ),
        ),
        StepView(
            decision=decision("mei", Stage.TRAIN, Action.BLOCKED, "validate failed in run 41")
        ),
        StepView(
            decision=decision("leo", Stage.TRAIN, Action.REUSE, "reused: same fingerprint"),
            result=StepResult(
                outcome=Outcome.PASSED,
                metrics={"loss_first": 0.7, "loss_last": 0.2171},
                details={"loss": losses},
            ),
        ),
    )
    plan = Plan(
        head="3f2a1c9" + "0" * 33,
        decisions=tuple(s.decision for s in steps),
        changes=ChangeSet(base=None, head="h"),
    )
    event = Event(kind=EventKind.PULL_REQUEST, repo="r", head=plan.head, number=7)
    return RunView(
        run_id="20261124-120000-abcd1234",
        event=event,
        plan=plan,
        steps=steps,
        started_at="2026-11-24T12:00:00+00:00",
        duration_s=12.34,
        outcome=Outcome.FAILED,
    )


def test_the_comment_is_what_people_reviewed(golden):
    golden("comment.md", render_comment(make_view(count=12), "https://example.org/report.html"))


def test_the_terminal_text_is_what_people_reviewed(golden):
    view = make_view()
    golden("text.txt", f"{render_plan_text(view.plan)}\n\n{render_run_text(view)}\n")


@pytest.mark.parametrize("attack", ATTACKS)
def test_foreign_text_stays_text(attack):
    comment = render_comment(make_view(attack))
    body = re.sub(r"`[^`\n]*`", "", comment.removeprefix(MARKER))
    assert not re.search(r"<(?!/?(details|summary|sub)\b)", body)
    assert not re.search(r"(?<!\\)\]\(|@\w|https?://|::", body)
    assert body.count("</details>") == body.count("<details")
    assert "\x1b" not in comment
    assert "\u202e" not in comment
    page = render_page(make_view(attack))
    assert not re.search(r"<(script|img|a|b>&|iframe)\b", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "\x1b" not in render_run_text(make_view(attack))


def test_a_huge_comment_is_cut_below_the_verdict():
    view = make_view("x" * 20_000, count=10)
    comment = render_comment(view)
    assert len(comment) <= MAX_CHARACTERS
    assert "❌ failed" in comment
    assert comment.endswith("… cut here: the report has the rest.\n")


@pytest.mark.needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_the_page_without_sideways_scrolling(tmp_path, width):
    page = tmp_path / "page.html"
    probe = "<script>document.title='W'+document.documentElement.scrollWidth</script>"
    html = render_page(make_view("a_long_name_" * 30, count=20))
    html = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"{probe}</body>")
    page.write_text(html)
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
         "--dump-dom", Path(page).as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<title>W(\d+)</title>", done.stdout)
    assert found
    assert int(found[1]) <= width
