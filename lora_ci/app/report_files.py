"""The report of a run as files in a folder: page, JSON and JUnit XML."""

from __future__ import annotations

from pathlib import Path

from lora_ci.app.previews import page_previews
from lora_ci.core.finding import Finding
from lora_ci.core.run import RunView
from lora_ci.report.junit import render_junit
from lora_ci.report.page import render_page
from lora_ci.report.twin import render_twin
from lora_ci.store.store import ArtifactStore

PAGE, TWIN, JUNIT = "report.html", "report.json", "junit.xml"


def write_report(view: RunView, store: ArtifactStore, folder: Path) -> tuple[Finding, ...]:
    """Writes the three files; what the page had to leave out is returned.

    The view may be of one step alone, and of no repository: no commit, no changes.
    """
    notes: list[Finding] = []
    texts = {
        PAGE: render_page(view, page_previews(view, store, notes)),
        TWIN: render_twin(view),
        JUNIT: render_junit(view),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(notes)
