"""`lora-ci import kohya`: a config for a folder that kohya's trainer has worked on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lora_ci.cli.init import NO_BASE, write_new
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.place import top_of
from lora_ci.cli.survey import survey
from lora_ci.config.model import FILE_NAME
from lora_ci.config.work_tree import refuse_other_kinds
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.importing.kohya import Imported, import_kohya
from lora_ci.importing.render import BaseModel
from lora_ci.steps.folder import write_whole

SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to read, what to call it, where to write."""
    parser.add_argument("what", choices=("kohya",))
    parser.add_argument("folder", type=Path, help="folder with N_concept folders, TOML files, …")
    parser.add_argument(
        "--out", type=Path, help=f"(default: {FILE_NAME} at the top of the repository)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite that file")
    parser.add_argument("--dry-run", action="store_true", help="print what would be written")
    parser.add_argument(
        "--base-model", type=Path, metavar="PATH", help="diffusers folder (default: the one there)"
    )
    parser.add_argument("--name", help="one LoRA of all concepts, called so")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes the config, and captions that stand in no file yet; tells what was not taken."""
    if not args.folder.is_dir():
        raise UsageError(f"{args.folder} is no folder", hint="next: ls -l on it")
    folder = args.folder.resolve()
    root = top_of(folder)
    if args.out is None:
        refuse_other_kinds(root, FILE_NAME)
    out = args.out or root / FILE_NAME
    if os.path.lexists(out) and not args.force and not args.dry_run:
        hint = "next: --dry-run to see the new one, --out FILE, or --force to overwrite it"
        raise UsageError(f"{out} is there already", hint=hint)
    made = import_kohya(root, folder, base_model(root, args.base_model), args.name)
    output.findings(made.findings)
    told = {
        "file": None if args.dry_run else str(out),
        "loras": made.loras,
        "captions": sorted(made.captions),
        "findings": made.findings,
        "text": made.text,
    }
    if args.dry_run:
        lines = [made.text.rstrip("\n")]
        lines += [f"# also: {path}, captions of kohya's" for path in sorted(made.captions)]
        output.result("\n".join(lines), told, schema="import")
        return ExitCode.PASSED
    for path, text in made.captions.items():
        write_new(root / path, text)
    if args.force:
        write_whole(out, made.text.encode())
    else:
        write_new(out, made.text)
    output.result("\n".join(summary(made, out)), told, schema="import")
    return ExitCode.PASSED


def base_model(root: Path, given: Path | None) -> BaseModel:
    """The folder that is asked for, else one that lies in the repository, else a name to fill in.

    Raises:
        UsageError: the folder is no diffusers folder below `root`.
    """
    if given is not None:
        path = given.resolve()
        if not (path / "model_index.json").is_file():
            hint = "next: pipeline.save_pretrained(…) writes such a folder"
            raise UsageError(f"{given} is no base model in diffusers format", hint=hint)
        if not path.is_relative_to(root) or path == root:
            hint = "next: move it there, and dvc add it"
            raise UsageError(f"{given} does not lie below {root}", hint=hint)
        return BaseModel(path=path.relative_to(root).as_posix(), why="--base-model")
    found = survey(root).base_models
    if not found:
        why = "put a diffusers folder there, or write {hub: owner/name, revision: <commit id>}"
        return BaseModel(path=NO_BASE, why=why)
    others = f"; found as well: {', '.join(found[1:])}" if len(found) > 1 else ""
    return BaseModel(path=found[0], why=f"lies in this repository{others}")


def summary(made: Imported, out: Path) -> list[str]:
    """What was written, and what to type next."""
    lines = [f"wrote {out} for {', '.join(made.loras[:SHOWN])}"]
    if len(made.loras) > SHOWN:
        lines[0] += f" and {len(made.loras) - SHOWN} more"
    lines += [f"wrote {path}: captions of kohya's" for path in sorted(made.captions)]
    if made.findings:
        lines.append(f"{len(made.findings)} things are not as kohya has them: see above")
    lines.append("next: read it, track its folders by DVC or git, then lora-ci plan")
    return lines
