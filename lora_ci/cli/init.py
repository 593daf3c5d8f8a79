"""`lora-ci init`: looks at the repository and writes a first, commented config."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lora_ci.changes.git import open_repository
from lora_ci.changes.range import default_branch
from lora_ci.cli import workflow
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.place import top_of
from lora_ci.cli.survey import MIN_IMAGES, Found, Survey, survey
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME
from lora_ci.config.work_tree import read_file, refuse_other_kinds
from lora_ci.config.written import quoted, source_text, unique
from lora_ci.core.errors import ExitCode, UsageError

NO_BASE = "models/base"
HEAD = """\
# Every key: lora-ci config keys. Where each value comes from: lora-ci config show.
version: 1
defaults:
"""
BASE = """\
  # A folder in the diffusers format, in this repository, tracked by DVC or git.
  base_model: {path}
"""
MISSING_BASE = """\
  # None was found here. Put a folder in the diffusers format there (dvc add models/base),
  # or name one on the hub: {{hub: owner/name, revision: <full commit id>}}
  base_model: {path}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, and what else to write."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--github", action="store_true", help=f"also write {workflow.FILE}")
    parser.add_argument(
        "--steps",
        action="store_true",
        help=f"also write {workflow.STEP_FILE}, for `run --executor actions`",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes what is missing; never overwrites anything."""
    root = top_of(args.repo)
    wanted = [FILE_NAME, *([workflow.FILE] if args.github else [])]
    wanted += [workflow.STEP_FILE] if args.steps else []
    for name in wanted:
        refuse_other_kinds(root, name)
    missing = [name for name in wanted if not os.path.lexists(root / name)]
    if not missing:
        text = f"{' and '.join(str(root / name) for name in wanted)}: there already"
        raise UsageError(text, hint="next: lora-ci config check")
    told: dict[str, object] = {"file": None, "datasets": [], "base_model": None}
    lines = []
    if FILE_NAME in missing:
        found = survey(root)
        text = config_text(root, found)
        write_new(root / FILE_NAME, text)
        told = {
            "file": str(root / FILE_NAME),
            "datasets": [path for each in found.datasets for path, _ in each.sources],
            "base_model": next(iter(found.base_models), None),
        }
        names = load_config(text.encode(), read=partial(read_file, root)).loras
        place = "" if root == args.repo else ", at the top of the repository"
        lines.append(f"wrote {told['file']} for {', '.join(names)}{place}")
        if not found.base_models:
            lines.append(f"no base model was found: `base_model` is {NO_BASE}, which is not there")
            lines.append("next: put one there, or write {hub: owner/name, revision: <commit id>}")
        lines.append("next: read it, then lora-ci config check")
    if workflow.FILE in missing:
        write_new(root / workflow.FILE, workflow.written_for(branch_of(root)))
        lines.append(f"wrote {root / workflow.FILE}")
        lines.append(f"next: put owner and commit of your lora-ci into {workflow.PLACE} there")
    if workflow.STEP_FILE in missing:
        write_new(root / workflow.STEP_FILE, workflow.STEP_TEXT)
        lines.append(f"wrote {root / workflow.STEP_FILE}")
        lines.append(f"next: put owner and commit of your lora-ci into {workflow.STEP_PLACE} there")
    output.result("\n".join(lines), told | {"files": missing}, schema="init")
    return ExitCode.PASSED


def config_text(root: Path, found: Survey) -> str:
    """A config that `lora-ci config check` accepts. Raises UsageError if there is no dataset."""
    if not found.datasets and not found.dataset_files:
        hint = "put images with captions in a folder, then: dvc add datasets/<name>"
        raise UsageError(f"no folder with at least {MIN_IMAGES} images in {root}", hint=hint)
    template = BASE if found.base_models else MISSING_BASE
    lines = [HEAD + template.format(path=quoted(next(iter(found.base_models), NO_BASE)))]
    if len(found.base_models) > 1:
        others = ", ".join(found.base_models[1:])
        lines.append(f"  # found as well: {others}\n")
    lines.append("loras:\n")
    taken: set[str] = set()
    for dataset in found.datasets:
        lines.append(lora_text(root, found, dataset, taken))
    for file in found.dataset_files:
        problem = refusal(root, "dataset", file)
        stem = re.sub(r"[_-]?(dataset|data|config)s?$", "", Path(file).stem)
        name = unique(stem, taken)
        if problem is None:
            lines.append(
                f"  {quoted(name)}:\n    dataset: {quoted(file)}  # kohya's dataset file\n"
            )
        else:
            lines.append(f"  # {file} is not taken: {problem}\n")
    text = "".join(lines)
    load_config(text.encode(), read=partial(read_file, root))
    return text


def lora_text(root: Path, found: Survey, dataset: Found, taken: set[str]) -> str:
    """One LoRA, with the train file that seems to be its own."""
    name = unique(dataset.trigger, taken)
    lines = [f"  {quoted(name)}:\n"]
    if len(dataset.sources) == 1:
        lines.append(f"    dataset: {source_text(*dataset.sources[0])}\n")
    else:
        lines.append("    dataset:\n")
        lines += [f"      - {source_text(*source)}\n" for source in dataset.sources]
    lines.append(f"    trigger: {quoted(dataset.trigger)}  # every caption must contain it\n")
    train = "    train: {rank: 16, learning_rate: 1e-4, images_seen: 4000}\n"
    if file := train_file(name, found.train_files):
        problem = refusal(root, "train", file)
        if problem is None:
            train = f"    train: {quoted(file)}  # kohya's train file\n"
        else:
            train = f"    # {file} is not taken: {problem}\n{train}"
    lines.append(train)
    if dataset.references:
        lines.append(f"    qa: {{references: {quoted(dataset.references)}}}\n")
    return "".join(lines)


def train_file(name: str, files: Iterable[str]) -> str | None:
    """The train file with the LoRA's name in its own, or the only one."""
    files = list(files)
    own = [file for file in files if name in Path(file).stem.lower()]
    return own[0] if own else files[0] if len(files) == 1 else None


def refusal(root: Path, key: str, file: str) -> str | None:
    """Why the config would not take a file of kohya's; None if it would."""
    values = {"dataset": "d", "base_model": "m", key: file}
    text = json.dumps({"version": 1, "loras": {"a": values}})
    try:
        load_config(text.encode(), read=partial(read_file, root))
    except UsageError as error:
        first = error.findings[0]
        return f"line {first.line}: {first.message}"
    return None


def write_new(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and never over another. Raises UsageError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(text.encode())
        os.link(temporary, path)
    except FileExistsError as error:
        hint = "next: lora-ci config check"
        raise UsageError(f"{path} is there already", hint=hint) from error
    finally:
        temporary.unlink(missing_ok=True)


def branch_of(root: Path) -> str | None:
    """The default branch, where the folder is a repository already."""
    try:
        return default_branch(open_repository(root))
    except UsageError:
        return None
