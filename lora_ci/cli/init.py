"""`lora-ci init`: looks at the repository and writes a first, commented config."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME
from lora_ci.core.errors import ExitCode, UsageError

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
MIN_IMAGES = 3
HEAD = """\
# yaml-language-server: $schema=.lora-ci.schema.json
version: 1
defaults:
  # A folder in the diffusers format, in this repository, tracked by DVC or git.
  base_model: {base_model}
loras:
"""
LORA = """\
  {name}:
    dataset: {dataset}
    trigger: {name}  # every caption must contain it
    train: {{rank: 16, learning_rate: 1e-4, images_seen: 4000}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes the config; never overwrites one."""
    path = args.repo / FILE_NAME
    if path.exists():
        raise UsageError(f"{path} is there already", hint="next: lora-ci config check")
    datasets = find_datasets(args.repo)
    if not datasets:
        hint = "put images with captions in a folder, then: dvc add datasets/<name>"
        raise UsageError(f"no folder with at least {MIN_IMAGES} images in {args.repo}", hint=hint)
    base_model = find_base_model(args.repo)
    text = HEAD.format(base_model=base_model or "models/sd")
    text += "".join(LORA.format(name=lora_name(d), dataset=d) for d in datasets)
    load_config(text.encode())
    path.write_text(text)
    output.result(
        f"wrote {path} for {', '.join(datasets)}\nnext: read it, then lora-ci config check",
        {"file": str(path), "datasets": datasets},
        schema="init",
    )
    return ExitCode.PASSED


def find_datasets(root: Path) -> list[str]:
    """Folders, seen from the root, that hold images; those tracked by DVC even if not pulled."""
    found = {
        p.with_suffix("").relative_to(root).as_posix() for p in root.rglob("*.dvc") if p.is_file()
    }
    found -= {find_base_model(root)}
    for folder in sorted(p for p in root.rglob("*") if p.is_dir()):
        relative = folder.relative_to(root)
        if not any(part.startswith(".") for part in relative.parts):
            images = sum(file.suffix.lower() in IMAGES for file in folder.iterdir())
            if images >= MIN_IMAGES:
                found.add(relative.as_posix())
    return sorted(found)


def find_base_model(root: Path) -> str | None:
    """A folder with a model_index.json, seen from the root."""
    indexes = sorted(root.rglob("model_index.json"))
    return indexes[0].parent.relative_to(root).as_posix() if indexes else None


def lora_name(dataset: str) -> str:
    """A name that the config accepts."""
    return re.sub(r"[^a-z0-9._-]+", "-", dataset.rpartition("/")[2].lower()).strip("-._") or "lora"
