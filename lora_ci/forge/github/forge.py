"""GitHub as a forge. What it does not take is shown in a lesser way, and `notes` tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from lora_ci.core.finding import Finding, Severity
from lora_ci.forge.forge import Check, LineComment, ReleaseDraft
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.checks import MOST_ANNOTATIONS, Checks
from lora_ci.forge.github.comments import Comments
from lora_ci.forge.github.pictures import Pictures
from lora_ci.forge.github.releases import Releases
from lora_ci.forge.github.statuses import Statuses
from lora_ci.forge.github.suggestions import Suggestions
from lora_ci.forge.job import Job
from lora_ci.forge.local import page_file, twin_file
from lora_ci.report.markdown import escape


class Way(IntEnum):
    """How a check is shown, best first."""

    CHECK = 0
    STATUS = 1
    JOB = 2


LESSER = {
    Way.STATUS: "checks are shown as commit statuses, without details and annotations",
    Way.JOB: "checks are shown in the job alone: its annotations and its summary",
}


@dataclass(slots=True)
class GitHubForge:
    """Results on GitHub; made by `open.open_github`.

    Pages of runs are written below `pages`; `report_url` is where people find them: an address for
    all of them, or with a `/` at its end that of the folder.
    """

    comments: Comments
    suggestions: Suggestions
    checks: Checks
    statuses: Statuses
    pictures: Pictures
    releases: Releases
    pages: Path
    report_url: str | None
    job: Job
    _way: Way = Way.CHECK
    _address: str | None = None
    _notes: dict[str, Finding] = field(default_factory=dict)
    _refused: dict[str, Refused] = field(default_factory=dict)

    def publish_report(self, run_id: str, page: str, twin: str) -> str | None:
        self.pages.mkdir(parents=True, exist_ok=True)
        twin_file(self.pages, run_id).write_text(twin, encoding="utf-8")
        file = page_file(self.pages, run_id)
        file.write_text(page, encoding="utf-8")
        is_folder = self.report_url is not None and self.report_url.endswith("/")
        self._address = f"{self.report_url}{file.name}" if is_folder else self.report_url
        return self._address

    def publish_picture(self, name: str, png: bytes) -> str:
        return self.pictures.publish(png)

    def upsert_comment(self, number: int, body: str) -> None:
        try:
            self.comments.upsert(number, body)
        except Refused as refused:
            if not refused.is_forbidden:
                raise
            self.job.write_summary(body)
            self._note("comment", "the comment stands in the summary of the job", refused)

    def suggest(self, number: int, head: str, key: str, change: LineComment | None) -> bool:
        try:
            return self.suggestions.suggest(number, head, key, change)
        except Refused as refused:
            if not refused.is_forbidden:
                raise
            self._note("suggestion", "the change of the config stands in the comment", refused)
            return False

    def publish_check(self, check: Check) -> None:
        left = len(check.annotations) - MOST_ANNOTATIONS
        if left > 0:
            message = f"{check.name}: {left} more annotations are in the report only"
            self._notes[f"left:{check.name}"] = Finding(
                rule="github.annotations", severity=Severity.INFO, message=message
            )
        ways: dict[Way, Callable[[], None]] = {
            Way.CHECK: lambda: self.checks.publish(check, self._address),
            Way.STATUS: lambda: self.statuses.publish(check, self._address),
            Way.JOB: lambda: self._show_in_job(check),
        }
        while True:
            try:
                return ways[self._way]()
            except Refused as refused:
                if not refused.is_forbidden:
                    raise
                # For all that follow as well: what a token may not do once it never may.
                self._way = Way(self._way + 1)
                self._note("check", LESSER[self._way], refused)

    def publish_release(self, release: ReleaseDraft) -> str:
        return self.releases.publish(release).html_url

    def mark_yanked(self, tag: str, reason: str) -> None:
        self.releases.mark_yanked(tag, reason)

    def notes(self) -> tuple[Finding, ...]:
        return tuple(self._notes.values())

    def _show_in_job(self, check: Check) -> None:
        self.job.annotate(check.annotations)
        if self.job.shows(check.summary):
            return  # the comment's text, which stands there for want of a comment
        told = f"### {escape(check.name)}: {escape(check.title)}\n\n{check.summary}"
        self.job.write_summary(told, section=f"check {check.name}")

    def _note(self, what: str, message: str, why: Refused) -> None:
        """One finding for each kind of thing: where it is shown now, and what was refused first."""
        why = self._refused.setdefault(what, why)
        self._notes[what] = Finding(
            rule=f"github.{what}",
            severity=Severity.WARNING,
            message=f"{message}: {why}",
            hint=why.findings[0].hint,
        )
