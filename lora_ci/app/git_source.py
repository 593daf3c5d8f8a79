"""A commit as the source: git's objects, and DVC's below the same repository."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lora_ci.app.gather import gather
from lora_ci.app.source import Gathered
from lora_ci.changes.copying import copy_verified
from lora_ci.changes.git import Repository, Tree, open_repository
from lora_ci.changes.inputs import InputFacts, resolve_input
from lora_ci.changes.objects import Objects, open_objects
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME, Config
from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, UsageError
from lora_ci.core.event import Event

# Config and DVC pointers: all that a plan reads of a commit.
READ_AHEAD = (FILE_NAME, ".dvc")


@dataclass(frozen=True)
class GitSource:
    """Reads commits of a repository; the work tree does not matter."""

    repo: Repository

    @property
    def root(self) -> Path:
        return self.repo.root

    @cached_property
    def objects(self) -> Objects:
        """DVC's cache and remote, opened when something is looked for there."""
        return open_objects(self.root)

    def gather(self, event: Event) -> Gathered:
        tree = self.repo.tree(event.head, READ_AHEAD)
        before = self.repo.tree(event.base, READ_AHEAD) if event.base else None

        def resolve(path: str) -> InputFacts:
            facts = resolve_input(tree, path, self.objects)
            if facts is None:
                message = f"`{path}` is neither in git nor tracked by DVC at this commit"
                hint = f"next: dvc add {path}, then git add {path}.dvc && git commit"
                raise InputError(message, hint=hint)
            return facts

        def former(new: InputFacts) -> InputFacts | None:
            if before is None:
                return None
            same = before.stands_at(new.path) == tree.stands_at(new.path)
            return new if same else resolve_input(before, new.path, self.objects)

        return gather(event, read_config(tree, event.head), resolve, former)

    def lay_out(self, facts: InputFacts, folder: Path) -> None:
        present = [e for e in facts.entries or () if e.path not in facts.missing]
        targets = [folder / entry.path for entry in present]
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        if facts.tracked_by == "git":
            blobs = self.repo.blobs(entry.content_id for entry in present)
            for target, blob in zip(targets, blobs, strict=True):
                target.write_bytes(blob)
            return
        for entry, target in zip(present, targets, strict=True):
            self._copy_object(entry.content_id, target, f"{facts.path}/{entry.path}")

    def _copy_object(self, md5: str, target: Path, shown_as: str) -> None:
        source = self.objects.find(md5)
        if source is None:
            message = f"{shown_as}: object {md5} vanished from DVC's cache and remote"
            raise InfrastructureError(message, hint="next: dvc pull")
        if not copy_verified(source, target, md5):
            message = f"{shown_as}: {source} is damaged: its md5 is not {md5}"
            raise IntegrityError(message, hint=f"next: rm {source} && dvc pull")


def open_git_source(folder: Path) -> GitSource:
    """The repository that holds `folder`. Raises UsageError if there is none."""
    return GitSource(open_repository(folder))


def read_config(tree: Tree, commit: str) -> Config:
    """The config of a commit. Raises UsageError."""
    text = tree.read(FILE_NAME)
    if text is None:
        hint = f"next: lora-ci init, then git add {FILE_NAME} && git commit"
        raise UsageError(f"{FILE_NAME} is not in commit {commit[:7]}", hint=hint)
    return load_config(text, FILE_NAME, tree.read)
