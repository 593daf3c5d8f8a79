"""`lora-ci demo`: the story on a throw-away repository, with the code that real runs use."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.app.git_source import open_git_source
from lora_ci.app.handle import handle
from lora_ci.app.plan_event import plan_event
from lora_ci.app.records import FORGE
from lora_ci.app.wiring import open_deps
from lora_ci.cli.demo_repository import COMMAND_TIMEOUT_S, DemoRepository
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.run import executor_name
from lora_ci.core.errors import ExitCode, Interrupted, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.forge.local import REPORTS, page_file
from lora_ci.report.text import render_plan_text, render_run_text

TAG = "fluent3d@v1.0.0"
FAULTS = {
    "dvc.object-missing",
    "image.unreadable",
    "duplicate.near",
    "caption.trigger-missing",
}

# What came of a chapter: whether it ended as it should, and that in words.
Ending = tuple[bool, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to play, and where steps run."""
    parser.add_argument("--folder", type=Path, help="empty folder to use (default: a new one)")
    parser.add_argument(
        "--executor",
        type=executor_name,
        default="local",
        metavar="WHERE",
        help="`local`: each step in a process of its own; `inline`; `ray=URL` or "
        "`slurm[=PARTITION]`, with --folder on a disk that their nodes see (default: local)",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Tells the story; fails if any chapter does not end as it should."""
    folder = args.folder or Path(tempfile.mkdtemp(prefix="lora-ci-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder with --folder")
    story = Story(DemoRepository(folder.resolve()), output, args.executor)
    story.tell()
    width = max(len(c.title) for c in story.chapters)
    lines = [
        f"{'✓' if c.as_expected else '✗'} {c.title:<{width}}  {c.seconds:5.1f} s  {c.text}"
        for c in story.chapters
    ]
    total = sum(c.seconds for c in story.chapters)
    lines += ["", f"{total:.0f} s in all", f"repository  {story.repository.root}"]
    lines += [f"{name:<11} {address}" for name, address in story.reports.items()]
    value = {
        "chapters": story.chapters,
        "repository": str(story.repository.root),
        "reports": story.reports,
    }
    output.result("\n".join(["", *lines]), value, schema="demo")
    return ExitCode.PASSED if all(c.as_expected for c in story.chapters) else ExitCode.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One event of the story and how it ended."""

    title: str
    as_expected: bool
    text: str
    seconds: float


@dataclass
class Story:
    """What happens to the repository, chapter by chapter."""

    repository: DemoRepository
    output: Output
    executor: str
    chapters: list[Chapter] = field(default_factory=list)
    reports: dict[str, str] = field(default_factory=dict)
    pull_requests: int = 0

    def tell(self) -> None:
        """All chapters, in order."""
        repository = self.repository
        self.output.note(f"setting up {repository.root}: git, DVC, a remote in a folder")
        repository.set_up()

        base = repository.branch("first-datasets")
        self.pull_requests = 1
        self.pull_request(
            "PR 1: a dataset with faults", repository.bring_faulty_datasets, base, check_faults
        )
        self.pull_request("PR 1: mended", repository.mend_datasets, base, check_trained)
        repository.squash_merge("first-datasets", "Add the first datasets")
        self.push("PR 1: squash-merged", check_reused)

        base = repository.branch("captions")
        self.pull_requests = 2
        self.pull_request("PR 2: captions edited", repository.edit_captions, base, check_one)
        repository.squash_merge("captions", "Say that mochi is small")

        self.release()

        base = repository.branch("faster")
        self.pull_requests = 3
        self.pull_request("PR 3: made worse", repository.raise_learning_rate, base, check_worse)

    def pull_request(
        self,
        title: str,
        change: Callable[[], None],
        base: str,
        check: Callable[[RunView], Ending],
    ) -> None:
        """Changes the branch, pushes, lets lora-ci work, and looks at what came of it."""
        self.chapter(title, lambda: check(self.on(EventKind.PULL_REQUEST, base, change)))

    def push(self, title: str, check: Callable[[RunView], Ending]) -> None:
        """What happens when the main branch moved."""
        base = self.repository.git("rev-parse", "HEAD^")
        self.chapter(title, lambda: check(self.on(EventKind.PUSH, base)))

    def release(self) -> None:
        """A tag releases what was tested; anyone can check it, and nobody can alter it."""
        repository = self.repository
        signing = ["--key", str(repository.signing_key), "--name", "demo"]
        self.command("deploy", "new-key", *signing)
        repository.commit("Trust the demo's signing key")
        repository.git("tag", TAG)
        self.chapter(
            f"tag {TAG}", lambda: check_released(self.on(EventKind.TAG, None), repository.store)
        )
        self.chapter("verify, pull, one flipped byte", self.consume)

    def consume(self) -> Ending:
        """Verifies and pulls the release, then flips one byte of a copy."""
        repository = self.repository
        lora, _, version = TAG.partition("@v")
        release = repository.store / "releases" / lora / version
        pulled = repository.folder / "consumer"
        verified = self.command("verify", str(release), check=False)
        fetched = self.command(
            "pull", lora, "--store", str(repository.store), "--to", str(pulled), check=False
        )
        if (verified, fetched) != (0, 0):
            return False, f"verify ended with {verified}, pull with {fetched}"
        adapter = release / f"{lora}.safetensors"
        whole = adapter.read_bytes()
        mode = adapter.stat().st_mode
        adapter.chmod(0o644)
        adapter.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused = self.command("verify", str(release), check=False)
        adapter.write_bytes(whole)
        adapter.chmod(mode)
        if refused != ExitCode.FAILED:
            return False, f"one flipped byte was not refused: verify ended with {refused}"
        return True, "verified and pulled; one flipped byte is refused"

    def chapter(self, title: str, play: Callable[[], Ending]) -> None:
        """Plays a chapter and notes how it ended."""
        self.output.note(f"\n— {title}")
        started = time.monotonic()
        right, text = play()
        self.chapters.append(
            Chapter(title=title, as_expected=right, text=text, seconds=time.monotonic() - started)
        )

    def on(
        self, kind: EventKind, base: str | None, change: Callable[[], None] | None = None
    ) -> RunView:
        """Changes the repository, shows what lora-ci plans for the event, and lets it do that."""
        if change:
            change()
        event = Event(
            kind=kind,
            repo="demo",
            head=self.repository.git("rev-parse", "HEAD"),
            base=base,
            number=self.pull_requests if kind is EventKind.PULL_REQUEST else None,
            tag=TAG if kind is EventKind.TAG else None,
        )

        deps = open_deps(
            open_git_source(self.repository.root),
            watch=self.output.watch,
            executor=self.executor,
            signing_key=self.repository.signing_key,
        )
        plan, _ = plan_event(event, deps.source, deps.records, deps.clock)
        self.output.note(f"What will run, and why:\n\n{render_plan_text(plan)}\n")
        view = handle(event, deps)
        deps.ledger.close()
        self.output.note(f"What came of it:\n\n{render_run_text(view)}")
        for step in view.steps:
            if step.result and step.result.outcome is not Outcome.PASSED:
                self.output.findings(f for f in step.result.findings if f.severity != "info")
        if view.outcome is Outcome.INTERRUPTED:
            raise Interrupted("the demo was interrupted", hint="it starts anew: lora-ci demo")
        forge = deps.state / FORGE
        if event.number:
            self.reports[f"comment {event.number}"] = str(
                forge / "pulls" / str(event.number) / "comment.md"
            )
        name = f"report {event.number}" if event.number else f"report {kind}"
        self.reports[name] = str(page_file(forge / REPORTS, view.run_id))
        return view

    def command(self, *args: str, check: bool = True) -> int:
        """A lora-ci command in the repository, as a user types it; its exit code."""
        shown = " ".join(args).replace(f"{self.repository.folder}/", "…/")
        self.output.note(f"$ lora-ci {shown}")
        done = subprocess.run(
            [sys.executable, "-m", "lora_ci", *args],
            cwd=self.repository.root,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=check,
        )
        self.output.note(done.stdout.rstrip())
        return done.returncode


def check_faults(view: RunView) -> Ending:
    """All four are named; nothing is trained."""
    found = {f.rule for step in view.steps if step.result for f in step.result.findings}
    right = found >= FAULTS and view.outcome is Outcome.FAILED and not ran(view, Stage.TRAIN)
    return right, f"{view.outcome}: {len(found & FAULTS)} of 4 faults named, nothing trained"


def check_trained(view: RunView) -> Ending:
    """Trained, judged, passed."""
    names = ran(view, Stage.QA)
    right = view.outcome is Outcome.PASSED and "fluent3d" in names
    return right, f"{view.outcome}: {scores(view)}"


def check_reused(view: RunView) -> Ending:
    """Everything was there already."""
    steps = [s for s in view.steps if s.decision.action is not Action.REUSE]
    why = next(s.decision.why for s in view.of("fluent3d") if s.decision.stage is Stage.TRAIN)
    right = view.outcome is Outcome.PASSED and not steps
    return right, f"{'nothing to do' if right else view.outcome}; train {why}"


def check_one(view: RunView) -> Ending:
    """Only the LoRA whose captions changed was trained."""
    why = next(s.decision.why for s in view.of("mochi") if s.decision.stage is Stage.TRAIN)
    names = ran(view, Stage.TRAIN)
    return names == ["mochi"], f"{view.outcome}: only {', '.join(names)} trained; {why}"


def check_released(view: RunView, store: Path) -> Ending:
    """The tested adapter is released; nothing was trained or judged for it."""
    names = [s.decision.stage for s in view.steps if s.decision.action is Action.RUN]
    right = view.outcome is Outcome.PASSED and names == [Stage.DEPLOY]
    words = f"signed and released to {store.name}/, nothing trained or judged again"
    return right, f"{view.outcome}: {words if right else 'not released as it should be'}"


def check_worse(view: RunView) -> Ending:
    """QA refuses it, and the loss against the released adapter says why."""
    (qa,) = [s for s in view.of("fluent3d") if s.decision.stage is Stage.QA]
    comparison = (qa.result.details.get("comparison") if qa.result else None) or {}
    right = bool(qa.result) and view.outcome is Outcome.FAILED and bool(comparison)
    return right, f"{view.outcome}: {comparison.get('why', 'no comparison was made')}"


def scores(view: RunView) -> str:
    """The overall score of each LoRA."""
    found = {
        s.decision.lora: s.result.metrics.get("overall")
        for s in view.steps
        if s.decision.stage is Stage.QA and s.result
    }
    shown = [f"{lora} {'unmeasured' if x is None else f'{x:.2f}'}" for lora, x in found.items()]
    return ", ".join(shown) or "nothing judged"


def ran(view: RunView, stage: Stage) -> list[str]:
    """The LoRAs for which this run executed a stage."""
    return [
        s.decision.lora
        for s in view.steps
        if s.decision.stage is stage and s.decision.action is Action.RUN and s.result
    ]
