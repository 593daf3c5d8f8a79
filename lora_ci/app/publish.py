"""A run's view → the page, the comment and the checks."""

from __future__ import annotations

from lora_ci.app.wiring import Deps
from lora_ci.core.run import RunView
from lora_ci.report.comment import render_comment
from lora_ci.report.page import render_page
from lora_ci.report.text import render_run_text


def publish(view: RunView, deps: Deps) -> str:
    """Shows the run wherever the forge shows things; returns the address of the report."""
    address = deps.forge.publish_report(view.run_id, render_page(view))
    if view.event.number:
        deps.forge.upsert_comment(view.event.number, render_comment(view, address))
    deps.forge.publish_check(view.event.head, "lora-ci", view.outcome, render_run_text(view))
    return address
