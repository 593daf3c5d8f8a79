"""Checks of the repository: its config, its data, where records go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_ci.app.git_source import GitSource, open_git_source, read_config
from lora_ci.changes.dvc_config import read_dvc_config
from lora_ci.changes.git import open_repository
from lora_ci.changes.objects import open_objects
from lora_ci.config.model import Config
from lora_ci.core.errors import UsageError
from lora_ci.doctor.checked import Checked, error, ok, skipped, warning
from lora_ci.doctor.machine import Machine, Ran

# No object has it: the remote says "no" after it was reached, if it can be reached.
NOBODY = "00000000000000000000000000000000"
PROBE = "refs/lora-ci/doctor"


def check_config(folder: Path) -> Checked:
    """The config of HEAD can be used."""
    if (nowhere := outside(folder)) is not None:
        return nowhere
    source = open_git_source(folder)
    config = config_of(source)
    count = len(config.loras)
    found = f"{count} LoRA{'s' * (count != 1)} in {source.root}"
    if source.default is None:
        fix = "next: git remote set-head origin --auto, once it is fetched"
        return warning(f"{found}; the default branch, whose policy rules, is not known", fix)
    if config.notes:
        note = config.notes[0]
        return warning(f"{found}; {note.location()}: {note.message}", "next: lora-ci config check")
    return ok(found)


def outside(folder: Path) -> Checked | None:
    """Why nothing is to be looked at; None in a repository. A new machine may have none yet."""
    try:
        open_repository(folder)
    except UsageError as nowhere:
        return skipped(f"{nowhere}; --repo <folder> names one")
    return None


def config_of(source: GitSource) -> Config:
    """The config at HEAD. Raises UsageError."""
    head = source.repo.commit("HEAD")
    return read_config(lambda path: source.repo.file(head, path), head)


def check_data(folder: Path) -> Checked:
    """DVC's default remote answers."""
    if (nowhere := outside(folder)) is not None:
        return nowhere
    source = open_git_source(folder)
    config = read_dvc_config(source.repo, source.default)
    if config.remote is None:
        if not (source.root / ".dvc").is_dir():
            return skipped("the repository does not use DVC")
        fix = "next: dvc remote add --default <name> <url>, then dvc push"
        return warning("DVC has no default remote: no other machine can fetch the data", fix)
    open_objects(source.repo, source.default).not_pushed([NOBODY])
    return ok(f"the remote `{config.remote}` answers")


def check_records(machine: Machine, folder: Path, remote: str | None) -> Checked:
    """Records could be pushed; nothing is."""
    if remote is None:
        return skipped("no --records REMOTE")
    root = str(open_git_source(folder).root)
    push = ["push", "--dry-run", "--quiet", "--no-verify", "--end-of-options", remote]
    ran = machine.run("git", "-C", root, *push, f"HEAD:{PROBE}")
    if ran is None:
        return error("git is not installed", "next: apt install git")
    if ran.code == 0:
        return ok(f"`{remote}` takes a push")
    fix = "next: git remote -v; in a workflow: permissions: contents: write"
    return error(f"`{remote}` takes no push: {last_words(ran)}", fix)


def last_words(ran: Ran) -> str:
    """Git's own reason, one line."""
    lines = [line for line in ran.err.splitlines() if line.startswith(("fatal:", "error:"))]
    return (lines or ran.err.splitlines() or ["it failed without a word"])[0][:200]


def reader(folder: Path) -> Callable[[], Config]:
    """Reads the config of HEAD when it is called."""
    return lambda: config_of(open_git_source(folder))
