"""`lora-ci demo`: the story on a throw-away repository, with the code that real runs use."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.app.git_source import open_git_source
from lora_ci.app.handle import handle
from lora_ci.app.wiring import Deps, open_deps
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, InfrastructureError, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.text import render_run_text

CONFIG = """\
version: 1
defaults:
  base_model: models/emoji
  train: {rank: 16, alpha: 16, learning_rate: 2e-3, batch_size: 8, images_seen: 800,
    warmup_steps: 10, resolution: 64, checkpoint_every: 25}
loras:
  fluent3d:
    type: style
    dataset: datasets/fluent3d
    qa: {references: datasets/fluent3d-references}
  mochi:
    type: character
    dataset: datasets/mochi
    validate: {min_images: 5}
    qa: {references: datasets/mochi-references}
"""
DATASETS = ("fluent3d", "fluent3d-references", "mochi", "mochi-references")
COMMAND_TIMEOUT_S = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to play."""
    parser.add_argument("--folder", type=Path, help="empty folder to use (default: a new one)")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Tells the story; fails if any chapter does not end as it should."""
    folder = args.folder or Path(tempfile.mkdtemp(prefix="lora-ci-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder with --folder")
    story = Story(folder.resolve(), output)
    story.tell()
    lines = [f"{'✓' if right else '✗'} {text}" for right, text in story.chapters]
    lines += ["", f"repository: {story.root}", f"report:     {story.report}"]
    chapters = [{"as_expected": right, "text": text} for right, text in story.chapters]
    value = {"chapters": chapters, "repository": str(story.root), "report": story.report}
    output.result("\n".join(["", *lines]), value, schema="demo")
    return ExitCode.PASSED if all(right for right, _ in story.chapters) else ExitCode.FAILED


@dataclass
class Story:
    """A repository with a DVC remote, and what happened to it."""

    folder: Path
    output: Output
    chapters: list[tuple[bool, str]] = field(default_factory=list)
    report: str = ""

    @property
    def root(self) -> Path:
        """The repository."""
        return self.folder / "repository"

    def tell(self) -> None:
        """All chapters, in order."""
        self.set_up()
        base = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "-b", "first-datasets")
        self.chapter("1a. a pull request with four planted faults", self.faulty, base, check_faults)
        self.chapter("1b. the faults mended: trained", self.mended, base, check_trained)
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--squash", "first-datasets")
        self.commit("Add the first datasets")
        self.chapter("1c. squash-merged: nothing to train", lambda: None, None, check_reused)
        base = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "-b", "captions")
        self.chapter("2. three captions edited, keys reordered", self.edited, base, check_one)

    def chapter(
        self,
        title: str,
        change: Callable[[], None],
        base: str | None,
        check: Callable[[RunView], tuple[bool, str]],
    ) -> None:
        """Changes the repository, pushes, lets lora-ci work, and looks at what came of it."""
        self.output.note(f"\n— {title}")
        change()
        head = self.git("rev-parse", "HEAD")
        pull_request = base is not None
        event = Event(
            kind=EventKind.PULL_REQUEST if pull_request else EventKind.PUSH,
            repo="demo",
            head=head,
            base=base or f"{head}^",
            number=len(self.chapters) + 1 if pull_request else None,
        )
        started = time.monotonic()
        deps = self.deps()
        view = handle(event, deps)
        deps.ledger.close()
        self.output.note(render_run_text(view))
        for step in view.steps:
            if step.result and step.result.outcome is Outcome.FAILED:
                self.output.findings(f for f in step.result.findings if f.severity == "error")
        right, text = check(view)
        self.chapters.append((right, f"{title} → {text} ({time.monotonic() - started:.1f} s)"))
        self.report = str(deps.state / "forge" / "reports" / f"{view.run_id}.html")

    def deps(self) -> Deps:
        """What the flow works with, progress shown as bars."""

        def watch(lora: str, stage: Stage, done: int, total: int, note: str) -> None:
            self.output.progress(f"{stage} {lora}", done, total, note)

        return open_deps(open_git_source(self.root), watch=watch)

    def set_up(self) -> None:
        """Repository, remote, base model and config on the main branch."""
        self.output.note(f"setting up {self.root}: git, DVC, a remote in a folder")
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.dvc("init", "-q")
        self.dvc("remote", "add", "-q", "-d", "storage", str(self.folder / "remote"))
        shutil.copytree(world() / "base", self.root / "models" / "emoji")
        self.dvc("add", "-q", "models/emoji")
        self.dvc("push", "-q")
        self.commit("Add the base model")

    def faulty(self) -> None:
        """Four faults, one of each kind that teams meet most."""
        for name in DATASETS:
            shutil.copytree(world() / "pictures" / name, self.root / "datasets" / name)
        (self.root / ".lora-ci.yml").write_text(CONFIG)
        folder = self.root / "datasets" / "fluent3d"
        pictures = sorted(folder.glob("*.png"))
        for source, target in (
            (pictures[3], "twin.png"),
            (pictures[3].with_suffix(".txt"), "twin.txt"),
        ):
            shutil.copy(source, folder / target)
        pictures[10].write_bytes(pictures[10].read_bytes()[:900])
        pictures[20].with_suffix(".txt").write_text("an emoji\n")
        self.dvc("add", "-q", *(f"datasets/{name}" for name in DATASETS))
        self.dvc("push", "-q")
        self.forget(pictures[30])
        self.commit("Add the first datasets")

    def mended(self) -> None:
        """The same pull request with good pictures, all pushed."""
        folder = self.root / "datasets" / "fluent3d"
        shutil.rmtree(folder)
        shutil.copytree(world() / "pictures" / "fluent3d", folder)
        self.dvc("add", "-q", "datasets/fluent3d")
        self.dvc("push", "-q")
        self.commit("Mend the dataset")

    def edited(self) -> None:
        """Three captions of one LoRA, and another order of the config's keys."""
        folder = self.root / "datasets" / "mochi"
        self.dvc("unprotect", "datasets/mochi")
        for path in sorted(folder.glob("*.txt"))[:3]:
            path.write_text(path.read_text().strip() + ", on white\n")
        self.dvc("add", "-q", "datasets/mochi")
        self.dvc("push", "-q")
        text = CONFIG.replace("rank: 16, alpha: 16", "alpha: 16, rank: 16")
        (self.root / ".lora-ci.yml").write_text(f"# the same settings\n{text}")
        self.commit("Say that mochi sits on white")

    def forget(self, path: Path) -> None:
        """Takes one file out of the remote, as if `dvc push` had been forgotten."""
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (self.folder / "remote" / "files" / "md5" / md5[:2] / md5[2:]).unlink()

    def commit(self, message: str) -> None:
        """Commits all that git tracks or should."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def git(self, *args: str) -> str:
        """Output of a git command in the repository."""
        who = ["-c", "user.name=Demo", "-c", "user.email=demo@example.org"]
        return call(["git", *who, "-c", "commit.gpgsign=false", *args], self.root)

    def dvc(self, *args: str) -> None:
        """A DVC command in the repository."""
        call([sys.executable, "-m", "dvc", *args], self.root)


def call(command: list[str], folder: Path) -> str:
    """Runs a command to its end. Raises InfrastructureError with its last words."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-1:] or ["no message"]
        hint = "next: pip install 'lora-ci[all]'" if "dvc" in command else None
        raise InfrastructureError(f"{' '.join(command[:4])}: {words[0]}", hint=hint)
    return done.stdout.strip()


def world() -> Path:
    """The example pictures and models: in the package, or in the checkout it runs from."""
    package = Path(__file__).parents[1]
    for folder in (package / "emoji", package.parent / "examples" / "emoji"):
        if (folder / "base").is_dir():
            return folder
    raise InfrastructureError("the example pictures are not in this installation")


def check_faults(view: RunView) -> tuple[bool, str]:
    """All four are named; the LoRA is not trained."""
    rules = {
        f.rule
        for step in view.of("fluent3d")
        if step.result
        for f in step.result.findings
        if f.severity == "error"
    }
    wanted = {
        "dvc.object-missing",
        "image.unreadable",
        "duplicate.exact",
        "caption.trigger-missing",
    }
    trained = any(s.result for s in view.of("fluent3d") if s.decision.stage is Stage.TRAIN)
    right = rules == wanted and not trained and view.outcome is Outcome.FAILED
    return right, f"{view.outcome}, {len(rules & wanted)} of 4 faults named, nothing trained"


def check_trained(view: RunView) -> tuple[bool, str]:
    """Both LoRAs have an adapter."""
    names = trained(view)
    return view.outcome is Outcome.PASSED and "fluent3d" in names, (
        f"{view.outcome}, trained: {', '.join(names) or 'none'}"
    )


def check_reused(view: RunView) -> tuple[bool, str]:
    """Everything was there already."""
    names = trained(view)
    return view.outcome is Outcome.PASSED and not names, "all reused: same fingerprints"


def check_one(view: RunView) -> tuple[bool, str]:
    """Only the LoRA whose captions changed was trained."""
    why = next(s.decision.why for s in view.of("mochi") if s.decision.stage is Stage.TRAIN)
    return trained(view) == ["mochi"], f"trained: {', '.join(trained(view))}; {why}"


def trained(view: RunView) -> list[str]:
    """The LoRAs that this run trained."""
    return [
        s.decision.lora
        for s in view.steps
        if s.decision.stage is Stage.TRAIN and s.decision.action is Action.RUN and s.result
    ]
