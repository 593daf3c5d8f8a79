"""`lora-ci shard`: deals a dataset out to sites, and makes one adapter of what they trained."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.events import positive
from lora_ci.cli.formats import refuse_overwriting
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from lora_ci.formats.adapter import Adapter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command before the trainings, one after them."""
    commands = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    split = commands.add_parser("split", help="deal a dataset out, every image to one site")
    split.add_argument("dataset", type=Path, metavar="DATASET")
    split.add_argument("--sites", type=positive, required=True, metavar="N")
    split.add_argument("--out", type=Path, required=True, metavar="DIR", help="made by this")
    split.add_argument("--link", action="store_true", help="hard links in place of copies")
    split.set_defaults(act=run_split)
    add_output_arguments(split)
    merge = commands.add_parser("merge", help="the exact weighted sum of the sites' adapters")
    merge.add_argument("adapters", type=Path, nargs="+", metavar="FILE")
    merge.add_argument("--out", type=Path, required=True, metavar="OUT")
    merge.add_argument(
        "--weights-by",
        choices=("images",),
        default="images",
        help="images: as each site's part of all images (default)",
    )
    merge.add_argument(
        "--images", metavar="N,N,…", help="images of each site, where the files do not say it"
    )
    merge.add_argument("--force", action="store_true", help="overwrite the file if it is there")
    merge.set_defaults(act=run_merge)
    add_output_arguments(merge)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the chosen action."""
    return int(args.act(args, output))


def run_split(args: argparse.Namespace, output: Output) -> int:
    """Writes a folder for each site; says how many images it has."""
    from lora_ci.training.data import read_samples
    from lora_ci.training.shards import concept_of, split, write_shards

    if not args.dataset.is_dir():
        raise UsageError(f"{args.dataset} is no folder", hint="next: ls -l on it")
    if os.path.lexists(args.out):
        raise UsageError(f"{args.out} is there already", hint="next: another --out")
    if args.out.resolve().is_relative_to(args.dataset.resolve()):
        message = f"{args.out} lies in the dataset, and would be a part of it"
        raise UsageError(message, hint="next: --out beside the dataset")
    samples = read_samples(args.dataset, trigger="")
    shards = split(samples, args.sites)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    folders = write_shards(
        args.dataset,
        shards,
        args.out,
        link=args.link,
        told=lambda done, total, note: output.progress("split", done, total, note),
    )
    counts = {str(folder): len(shard) for folder, shard in zip(folders, shards, strict=True)}
    concepts = len(set(map(concept_of, samples)))
    lines = [f"{len(samples)} images, {concepts} concepts, {len(shards)} sites"]
    lines += [f"  {count:>6}  {folder}" for folder, count in counts.items()]
    lines.append("next: train each with the same settings, then lora-ci shard merge")
    told = {"images": len(samples), "concepts": concepts, "sites": counts}
    output.result("\n".join(lines), told, schema="shard-split")
    return ExitCode.PASSED


def run_merge(args: argparse.Namespace, output: Output) -> int:
    """Writes the merged adapter; its rank is the sum of the ranks."""
    from lora_ci.formats.inspection import inspect_file
    from lora_ci.formats.read import read_adapter
    from lora_ci.formats.write import Format, write_adapter
    from lora_ci.training.merging import merge_by_images

    refuse_overwriting(args)
    kind = inspect_file(args.adapters[0]).format
    adapters = [read_adapter(path) for path in args.adapters]
    images = _images(args, adapters)
    weights = [count / sum(images) for count in images]
    merged = merge_by_images(
        adapters,
        images,
        told=lambda at, total, note: output.progress("merge", at, total, note),
    )
    write_adapter(merged, args.out, Format(kind))
    rank = max(merged.ranks())
    lines = [f"{args.out}: the exact sum of {len(adapters)} adapters, rank {rank}"]
    lines += [
        f"  {weight:6.1%}  {path}" for weight, path in zip(weights, args.adapters, strict=True)
    ]
    lines.append(f"next, for a smaller file: lora-ci formats resize {args.out} OUT --rank N")
    told = {"file": str(args.out), "format": kind, "rank": rank, "weights": weights}
    output.result("\n".join(lines), told, schema="shard-merge")
    return ExitCode.PASSED


def _images(args: argparse.Namespace, adapters: list[Adapter]) -> list[int]:
    """The images that each adapter was trained on. Raises UsageError, InputError."""
    if args.images is not None:
        words = args.images.split(",")
        if len(words) != len(adapters) or not all(w.isascii() and w.isdigit() for w in words):
            message = f"--images {args.images[:100]}: expected {len(adapters)} whole numbers"
            raise UsageError(message, hint="next: --images 40,35,38")
        counts = [int(word[:18]) for word in words]
    else:
        counts = [_said(path, found) for path, found in zip(args.adapters, adapters, strict=True)]
    if not all(counts):
        raise UsageError("a site without images has no weight", hint="next: leave its file out")
    return counts


def _said(path: Path, adapter: Adapter) -> int:
    from lora_ci.training.merging import IMAGES, figure_of

    found = figure_of(adapter, IMAGES)
    if found is None:
        message = f"{path} does not say on how many images it was trained"
        raise InputError(message, hint="next: --images with one number for each file")
    return found
