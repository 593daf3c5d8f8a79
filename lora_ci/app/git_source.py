"""A commit as the source: git's objects, and DVC's below the same repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from lora_ci.app.gather import gather
from lora_ci.app.source import Gathered, Written
from lora_ci.changes.between import changed_files, changes_between
from lora_ci.changes.copying import copy_verified
from lora_ci.changes.diff import diff_entries
from lora_ci.changes.git import Repository, open_repository
from lora_ci.changes.inputs import InputFacts, resolve_input
from lora_ci.changes.manifest import read_manifest
from lora_ci.changes.objects import Objects, open_objects
from lora_ci.changes.range import default_branch, find_branch
from lora_ci.changes.shallow import fetch_commit
from lora_ci.changes.tree import Tree
from lora_ci.config.compare import changed_keys
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME, Config, Lora
from lora_ci.config.reading import ReadFile
from lora_ci.core.changeset import ChangeSet, DatasetChange, FileEntry
from lora_ci.core.errors import (
    InfrastructureError,
    InputError,
    IntegrityError,
    LoraCIError,
    UsageError,
)
from lora_ci.core.event import Event, Trust
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import Policy
from lora_ci.plan.trust import Right, decide_right

# Config and DVC pointers: all that a plan reads of a commit.
READ_AHEAD = (FILE_NAME, ".dvc", "dvc.lock", "dvc.yaml")

# Of what a config can be made.
CONFIG_SUFFIXES = (".yml", ".yaml", ".toml")

NO_POLICY = Finding(
    rule="policy.unreadable",
    severity=Severity.WARNING,
    message="the default branch's config cannot be read: no budget and no approver is known",
    hint=f"next: mend {FILE_NAME} there, or merge this if it does",
)


@dataclass(frozen=True)
class GitSource:
    """Reads commits of a repository; the work tree does not matter.

    `branch` is the name of the default branch as far as it is known, `default` its commit, whose
    policy and DVC settings hold.
    """

    repo: Repository
    branch: str | None
    default: str | None

    @property
    def root(self) -> Path:
        return self.repo.root

    @cached_property
    def objects(self) -> Objects:
        """DVC's cache and remote, opened when something is looked for there."""
        return open_objects(self.repo, self.default)

    def gather(self, event: Event) -> Gathered:
        tree = self.repo.tree(event.head, READ_AHEAD)
        ruler = self.default if event.trust is Trust.UNTRUSTED and self.default else event.head
        ruling = self.repo.tree(ruler, READ_AHEAD) if ruler != event.head else tree

        def resolve(path: str, tree: Tree = tree) -> InputFacts:
            facts = resolve_input(tree, path, self.objects)
            if facts is None:
                message = f"`{path}` is neither in git nor tracked by DVC at this commit"
                hint = f"next: dvc add {path}, then git add {path}.dvc && git commit"
                raise InputError(message, hint=hint)
            return facts

        config = self.rule(event, tree)
        return Gathered(
            config=config,
            facts=gather(config, resolve, partial(resolve, tree=ruling)),
            changes=find_changes(self, event, config),
            compare=self.compare,
        )

    def written(self, event: Event) -> Written:
        tree = self.repo.tree(event.head, READ_AHEAD)
        return Written(config=read_config(tree.read, event.head), read=tree.read)

    def rule(self, event: Event, tree: Tree) -> Config:
        """The config that holds for the event.

        The policy is always the default branch's; for a push that may not run, all of it is.
        Raises UsageError.
        """
        if event.trust is Trust.TRUSTED:
            return self.own_config(event, tree)
        ruling = self.ruling_config()
        if decide_right(event, ruling.policy).right is not Right.EVERYTHING:
            return ruling
        return replace(read_config(tree.read, event.head), policy=ruling.policy)

    def may_require_checks(self, head: str) -> bool:
        """False where no policy that could hold for the commit speaks of `required_checks`."""
        texts = (self.repo.file(c, FILE_NAME) for c in (self.default, head) if c)
        return any(text and b"required_checks" in text for text in texts)

    def own_config(self, event: Event, tree: Tree) -> Config:
        """The config of a trusted push under the default branch's policy, where there is one."""
        config = read_config(tree.read, event.head)
        try:
            text = self.repo.file(self.default, FILE_NAME) if self.default else None
            if text is None or text == tree.read(FILE_NAME):
                return config  # the first config there is, or the same
            return replace(config, policy=self.ruling_config().policy)
        except (UsageError, InputError):
            return replace(config, policy=Policy(), notes=(*config.notes, NO_POLICY))

    def ruling_config(self) -> Config:
        """The default branch's config. Raises UsageError: without it nobody may rule."""
        if self.default is None:
            message = "the default branch is not known: its policy says what a foreign push may"
            raise UsageError(message, hint="next: --default-branch <name>, once it is fetched")
        try:
            return read_config(partial(self.repo.file, self.default), self.default)
        except (UsageError, InputError) as error:
            message = f"the default branch has no policy for a foreign push: {error}"
            raise UsageError(message, findings=error.findings) from error

    def compare(self, now: InputFacts, content_id: str) -> DatasetChange | None:
        """What is different from another content of the same input, where that is still here."""
        try:
            then = self._entries(now, content_id)
        except LoraCIError:
            return None  # it only explains
        if then is None or now.entries is None:
            return None
        return diff_entries(now.path, then, now.entries)

    def _entries(self, like: InputFacts, content_id: str) -> tuple[FileEntry, ...] | None:
        """The files of another content of an input."""
        if like.tracked_by == "git":
            return self.repo.folder(content_id)
        if like.tracked_by == "dvc" and (manifest := self.objects.find(content_id)):
            return read_manifest(
                manifest,
                content_id,
                like.pointer or like.path,
                mend=self.objects.mend(manifest),
                past=True,
            )
        return None

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
            raise IntegrityError(message, hint=self.objects.mend(source))


def open_git_source(folder: Path, branch: str | None = None) -> GitSource:
    """The repository that holds `folder`; `branch` is its default branch if that is known.

    Raises UsageError if there is none, or no such branch.
    """
    repo = open_repository(folder)
    name = branch or default_branch(repo)
    commit = (find_branch(repo, name) or fetch_commit(repo, name)) if name else None
    if branch and commit is None:
        message = f"the default branch `{branch}` is not here, and origin does not give it"
        raise UsageError(message, hint=f"next: git fetch origin {branch}")
    return GitSource(repo, name, commit)


def read_config(read: ReadFile, commit: str) -> Config:
    """The config of a commit. Raises UsageError."""
    text = read(FILE_NAME)
    if text is None:
        hint = f"next: lora-ci init, then git add {FILE_NAME} && git commit"
        raise UsageError(f"{FILE_NAME} is not in commit {commit[:7]}", hint=hint)
    return load_config(text, FILE_NAME, read)


def find_changes(source: GitSource, event: Event, config: Config | None) -> ChangeSet:
    """What differs from the base of the event; it explains, and decides nothing."""
    repo, base, head = source.repo, event.base, event.head
    also = [path for lora in config.loras.values() for path in _folders(lora)] if config else []
    datasets = changes_between(repo, base, head, source.objects, tuple(dict.fromkeys(also)))
    files = changed_files(repo, base, head) if base else ()
    configs: Mapping[str, tuple[str, ...]] = {}
    if base and config and any(file.endswith(CONFIG_SUFFIXES) for file in files):
        configs = changed_keys(_former(repo, base), config)
    folders = frozenset(also)
    return ChangeSet(
        base=base,
        head=head,
        range_why=event.range_why,
        datasets=datasets,
        configs=configs,
        files=files,
        code=tuple(f for f in files if not _is_data(f, configs, folders)),
    )


def _folders(lora: Lora) -> list[str]:
    """The folders of images that a LoRA trains on."""
    further = [lora.train.regularization] if lora.train.regularization else []
    return [*(source.path for source in lora.dataset), *further]


def _former(repo: Repository, base: str) -> Config | None:
    """The config of the base, if it can be read."""
    try:
        text = repo.file(base, FILE_NAME)
        if text is None:
            return None
        return load_config(text, FILE_NAME, partial(repo.file, base))
    except (UsageError, InputError):
        return None


def _is_data(file: str, configs: Collection[str], folders: Collection[str]) -> bool:
    """True for configs, DVC's own files and what lies in a dataset."""
    parts = file.split("/")
    return (
        file in (FILE_NAME, *configs)
        or file.endswith(".dvc")
        or parts[-1] in ("dvc.lock", "dvc.yaml", ".dvcignore")
        or parts[0] == ".dvc"
        or any("/".join(parts[:end]) in folders for end in range(1, len(parts)))
    )
