"""Check runs: one for each commit and name, made once and then changed.

Annotations can only be added. Those that are there are not sent again; where some are out of date
a new run of the same name takes the place of the old one.
Source: https://docs.github.com/en/rest/checks/runs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Check
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.people import App, Me
from lora_ci.report.annotations import LEVELS, Annotation, Level
from lora_ci.report.markdown import cut

EXTERNAL_ID = "lora-ci"
CHUNK = 50  # what GitHub takes at once
MOST_ANNOTATIONS = 250
MOST_TITLE = 255
# `neutral` and `skipped` would let a required check pass.
CONCLUSIONS = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failure",
    Outcome.INCONCLUSIVE: "action_required",
    Outcome.ERROR: "failure",
    Outcome.INTERRUPTED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Output:
    """What a check run shows."""

    title: str | None
    summary: str | None
    annotations_count: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A check run as GitHub has it."""

    id: int
    name: str
    status: str
    conclusion: str | None
    output: Output
    external_id: str | None = None
    app: App | None = None


@dataclass(frozen=True, slots=True)
class _Runs:
    check_runs: list[Run]


@dataclass(frozen=True, slots=True)
class _Shown:
    """An annotation as GitHub has it."""

    path: str
    start_line: int
    annotation_level: str | None
    title: str | None
    message: str | None


def fetch_runs(client: GitHubClient, repo: str, head: str, name: str | None = None) -> list[Run]:
    """The newest runs of a commit, by each App one of a name."""
    path = f"{repo}/commits/{quote(head)}/check-runs"
    pages = client.pages(path, _Runs, {"check_name": name} if name else None)
    return [run for page in pages for run in page.check_runs if name in (None, run.name)]


@dataclass(frozen=True, slots=True)
class Checks:
    """The check runs of a repository; `repo` is its path, `me` tells who we are."""

    client: GitHubClient
    repo: str
    me: Callable[[], Me]

    def publish(self, check: Check, address: str | None) -> None:
        """Shows a check; `address` is where its details are."""
        wanted = tuple(dict.fromkeys(map(_plain, check.annotations[:MOST_ANNOTATIONS])))
        body = _body(check, address)
        old = self._find(check)
        there: frozenset[Annotation] = frozenset()
        if old and old.output.annotations_count:
            there = self._annotations(old)
        if old is None or there - set(wanted):
            run, there = self._create(check, body, old), frozenset()
        else:
            run = old
            # Buttons are not told, so that they may be others.
            if check.buttons or not _says(run, body):
                self.client.replace("PATCH", self._path(run), body, Run)
        missing = [note for note in wanted if note not in there]
        for start in range(0, len(missing), CHUNK):
            self._add(run, body, missing[start : start + CHUNK])

    def _create(self, check: Check, body: Mapping[str, Any], old: Run | None) -> Run:
        def look() -> Run | None:
            found = self._find(check)
            return found if found and (old is None or found.id > old.id) else None

        named = {"name": check.name, "head_sha": check.head, "external_id": EXTERNAL_ID}
        return self.client.create(f"{self.repo}/check-runs", {**body, **named}, Run, look=look)

    def _add(self, run: Run, body: Mapping[str, Any], chunk: list[Annotation]) -> None:
        """Adds annotations, once: a second time they would stand there twice."""

        def look() -> Run | None:
            return run if self._annotations(run).issuperset(chunk) else None

        notes = [
            {
                "path": note.file,
                "start_line": note.line,
                "end_line": note.line,
                "annotation_level": note.level,
                "title": note.title,
                "message": note.message,
            }
            for note in chunk
        ]
        # All of it: a change of the output without its title is refused.
        output = {"output": {**body["output"], "annotations": notes}}
        self.client.replace("PATCH", self._path(run), {**body, **output}, Run, look=look)

    def _find(self, check: Check) -> Run | None:
        """Our newest run of a check."""
        me = self.me()
        runs = fetch_runs(self.client, self.repo, check.head, check.name)
        ours = [run for run in runs if run.external_id == EXTERNAL_ID and me.made(run.app)]
        return max(ours, key=lambda run: run.id, default=None)

    def _annotations(self, run: Run) -> frozenset[Annotation]:
        """Those that a run has now."""
        pages = self.client.pages(f"{self._path(run)}/annotations", list[_Shown])
        return frozenset(
            Annotation(
                file=note.path,
                line=note.start_line,
                level=_level(note.annotation_level),
                title=note.title or "",
                message=(note.message or "").strip(),
            )
            for page in pages
            for note in page
        )

    def _path(self, run: Run) -> str:
        return f"{self.repo}/check-runs/{run.id}"


def _body(check: Check, address: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "status": "in_progress",
        "output": {"title": check.title[:MOST_TITLE] or check.name, "summary": cut(check.summary)},
    }
    if check.outcome is not None:
        body |= {"status": "completed", "conclusion": CONCLUSIONS[check.outcome]}
    if address and address.startswith(("https://", "http://")):
        body["details_url"] = address
    if check.buttons:
        body["actions"] = [
            {"label": b.label, "description": b.description, "identifier": b.id}
            for b in check.buttons
        ]
    return body


def _says(run: Run, body: Mapping[str, Any]) -> bool:
    """True if a run shows what the body would make it show."""
    output = body["output"]
    told = (run.status, run.conclusion, run.output.title, (run.output.summary or "").strip())
    return told == (
        body["status"],
        body.get("conclusion"),
        output["title"],
        output["summary"].strip(),
    )


def _plain(note: Annotation) -> Annotation:
    """An annotation as GitHub gives it back."""
    return replace(note, title=note.title[:MOST_TITLE], message=note.message.strip() or "–")


def _level(text: str | None) -> Level:
    return next((level for level in LEVELS.values() if level == text), "notice")
