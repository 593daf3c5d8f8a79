"""`lora-ci formats`: looks at adapter files, converts, shrinks, merges and checks them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.finding import Severity
from lora_ci.core.text import clean
from lora_ci.formats.inspection import Inspection, inspect_file

if TYPE_CHECKING:
    from lora_ci.formats.adapter import Adapter
    from lora_ci.formats.resize import Resized

FORMATS = ("diffusers", "kohya")
DTYPES = ("fp32", "bf16", "fp16")
METHODS = ("cat", "svd", "average")
SHOWN_CHARACTERS = 100
WORST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each thing to do with a file."""
    commands = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    _add_inspect(commands.add_parser("inspect", help="tell what a file is; loads no tensor"))
    _add_convert(commands.add_parser("convert", help="write it in another format"))
    _add_resize(commands.add_parser("resize", help="lower its rank, with the error stated"))
    _add_merge(commands.add_parser("merge", help="make one adapter of several"))
    _add_check(commands.add_parser("check", help="tell whether it works, and with a base model"))


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(act=run_inspect)
    add_output_arguments(parser)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("out", type=Path, metavar="OUT")
    _add_writing(parser, needs_format=True)
    parser.set_defaults(act=run_convert)
    add_output_arguments(parser)


def _add_resize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("out", type=Path, metavar="OUT")
    _add_limits(parser)
    _add_writing(parser, needs_format=False)
    parser.set_defaults(act=run_resize)
    add_output_arguments(parser)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument(
        "--weights", metavar="W,W,…", help="one number for each file (default: 1 for each)"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="cat: exact, ranks add up; svd: to --rank or --max-error (default: svd if one of them "
        "is given, else cat); average of the factors is refused, with its error",
    )
    _add_limits(parser)
    _add_writing(parser, needs_format=False)
    parser.set_defaults(act=run_merge)
    add_output_arguments(parser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="base model, diffusers format")
    parser.set_defaults(act=run_check)
    add_output_arguments(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rank", type=int, metavar="N", help="highest rank of a layer")
    parser.add_argument(
        "--max-error",
        type=float,
        metavar="E",
        help="relative error that each layer may have, such as 0.05; the lowest rank within it",
    )


def _add_writing(parser: argparse.ArgumentParser, *, needs_format: bool) -> None:
    parser.add_argument(
        "--to",
        choices=FORMATS,
        required=needs_format,
        help="diffusers: its pipelines; kohya: ComfyUI, A1111, sd-scripts"
        + ("" if needs_format else " (default: that of the first file)"),
    )
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="numbers (default: fp32)")
    parser.add_argument("--force", action="store_true", help="overwrite the file if it is there")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the chosen action."""
    return int(args.act(args, output))


def run_inspect(args: argparse.Namespace, output: Output) -> int:
    """Prints what the file is."""
    found = inspect_file(args.file)
    output.result(render_inspection(found), found, schema="formats-inspect")
    return ExitCode.PASSED


def render_inspection(found: Inspection) -> str:
    """One line a fact, the metadata below."""
    matches = {None: "none named", True: "as the file says", False: "NOT what the file says"}
    rows = {
        "file": f"{found.file}, {found.size_bytes / 1e6:.1f} MB",
        "format": found.format,
        "family": found.family,
        "algorithm": found.algorithm,
        "layers": f"{sum(found.layers.values())} ({_counts(found.layers)})",
        "rank": _counts(found.ranks),
        "alpha": _counts(found.alphas),
        "numbers": _counts(found.dtypes),
        "sha256": f"{found.payload_sha256} of the tensors, {matches[found.hash_matches]}",
    }
    lines = [f"{name:<10} {text}" for name, text in rows.items()]
    for key, value in found.metadata.items():
        shown = clean(value[:SHOWN_CHARACTERS]) + ("…" if len(value) > SHOWN_CHARACTERS else "")
        lines.append(f"  {clean(key[:SHOWN_CHARACTERS])}: {shown}")
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return clean(next(iter(counts)))
    return ", ".join(f"{clean(word)}: {count}" for word, count in counts.items())


def run_convert(args: argparse.Namespace, output: Output) -> int:
    """Writes the file in the other format, its effect compared."""
    from lora_ci.formats.read import read_adapter

    refuse_overwriting(args)
    output.progress("convert", 0, 2, f"reading {args.source.name}")
    adapter = read_adapter(args.source)
    output.progress("convert", 1, 2, f"writing {args.out.name}, comparing its effect")
    _write(adapter, args, args.to)
    output.progress("convert", 2, 2, "")
    layers = len(adapter.layers)
    output.result(
        f"{args.out}: {layers} layers for {adapter.family}, {args.to}, {args.dtype}",
        {"file": str(args.out), "format": args.to, "family": adapter.family, "layers": layers},
        schema="formats-convert",
    )
    return ExitCode.PASSED


def run_resize(args: argparse.Namespace, output: Output) -> int:
    """Writes the smaller adapter and says how far off it is."""
    from lora_ci.formats.read import read_adapter
    from lora_ci.formats.resize import check_limits, resize

    refuse_overwriting(args)
    check_limits(args.rank, args.max_error)
    kind = args.to or inspect_file(args.source).format
    done = resize(
        read_adapter(args.source),
        rank=args.rank,
        max_error=args.max_error,
        told=lambda at, total, note: output.progress("resize", at, total, note),
    )
    _write(done.adapter, args, kind)
    output.result(
        render_resized(args.out, done),
        {"file": str(args.out), "format": kind, "error": done.error, "layers": done.layers},
        schema="formats-resize",
    )
    return ExitCode.PASSED


def render_resized(path: Path, done: Resized) -> str:
    """The whole, then the layers that lost most."""
    before = max(layer.rank_before for layer in done.layers)
    ranks = done.adapter.ranks()
    shown = f"{ranks[0]}–{ranks[-1]}" if len(ranks) > 1 else f"{ranks[0]}"
    padded = ", padded to the highest in the file" if len(ranks) > 1 else ""
    lines = [f"{path}: rank {before} → {shown}{padded}; relative error {done.error:.2%}"]
    worst = sorted(done.layers, key=lambda layer: (-layer.error, layer.module))[:WORST]
    lines += [f"  {w.error:7.2%}  rank {w.rank:>4}  {clean(w.module)}" for w in worst if w.error]
    return "\n".join(lines)


def run_merge(args: argparse.Namespace, output: Output) -> int:
    """Writes the sum of the adapters and says how far off the exact one it is."""
    from lora_ci.formats.merge import merge
    from lora_ci.formats.read import read_adapter

    refuse_overwriting(args)
    limited = args.rank is not None or args.max_error is not None
    _check_method(args.method, limited=limited)
    weights = _weights(args.weights, len(args.sources))
    kind = args.to or inspect_file(args.sources[0]).format
    adapters = [read_adapter(path) for path in args.sources]
    if args.method == "average":
        raise _average_refused(adapters, weights)
    merged = merge(
        adapters,
        weights,
        rank=args.rank,
        max_error=args.max_error,
        told=lambda at, total, note: output.progress("merge", at, total, note),
    )
    _write(merged.adapter, args, kind)
    rank = max(merged.adapter.ranks())
    exact = f"relative error {merged.error:.2%}" if limited else "exact"
    output.result(
        f"{args.out}: {len(adapters)} adapters, rank {rank}, {exact}",
        {"file": str(args.out), "format": kind, "rank": rank, "error": merged.error},
        schema="formats-merge",
    )
    return ExitCode.PASSED


def _check_method(method: str | None, *, limited: bool) -> None:
    if method == "svd" and not limited:
        raise UsageError("--method svd to what?", hint="next: --rank 16, or --max-error 0.05")
    if method == "cat" and limited:
        raise UsageError(
            "--method cat is exact and knows no --rank and no --max-error",
            hint="next: leave out --method cat, or the limit",
        )


def _average_refused(adapters: list[Adapter], weights: list[float]) -> UsageError:
    from lora_ci.formats.merge import average_error

    error = average_error(adapters, weights)
    if error is None:
        measured = "these even have factors of different shapes"
    else:
        measured = f"for these files it is off by {error:.0%} of the update's size"
    return UsageError(
        "averaging ups and downs apart mixes each adapter's ups with the others' downs: "
        + measured,
        hint="next: --method cat (exact), or --rank N; --weights 0.5,0.5 for a mean",
    )


def _weights(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1.0] * count
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--weights {text[:100]}: not numbers with commas between", hint="next: --weights 1,0.5"
        ) from error


def run_check(args: argparse.Namespace, output: Output) -> int:
    """Prints findings; fails if one is an error."""
    from lora_ci.formats.contract import check_adapter
    from lora_ci.formats.read import read_adapter

    if args.base is not None and not args.base.is_dir():
        raise UsageError(
            f"{args.base} is no folder", hint="next: --base with a model in diffusers format"
        )
    adapter = read_adapter(args.file)
    shapes = family = None
    if args.base is not None:
        from lora_ci.diffusion.load import read_family
        from lora_ci.diffusion.outline import base_shapes

        shapes, family = base_shapes(args.base), read_family(args.base).name
    findings = check_adapter(adapter, shapes, family)
    output.findings(findings)
    bad = any(finding.severity is Severity.ERROR for finding in findings)
    against = f"with {args.base}" if args.base else "by itself; with a base: --base FOLDER"
    verdict = "does not fit" if bad and args.base else "does not work" if bad else "fits"
    output.result(
        f"{args.file}: {len(adapter.layers)} layers for {adapter.family}, {verdict} ({against})",
        {"file": str(args.file), "family": adapter.family, "fits": not bad, "findings": findings},
        schema="formats-check",
    )
    return ExitCode.FAILED if bad else ExitCode.PASSED


def refuse_overwriting(args: argparse.Namespace) -> None:
    """Of `--out` and `--force`, before the work. Raises UsageError."""
    if args.out.is_dir():
        raise UsageError(f"{args.out} is a folder", hint=f"next: {args.out}/NAME.safetensors")
    if args.out.exists() and not args.force:
        raise UsageError(f"{args.out} is there already", hint="next: another name, or --force")
    if not args.out.parent.is_dir():
        raise UsageError(
            f"{args.out.parent}: no such folder", hint=f"next: mkdir -p {args.out.parent}"
        )


def _write(adapter: Adapter, args: argparse.Namespace, kind: str) -> None:
    from lora_ci.formats.convert import Precision
    from lora_ci.formats.write import Format, write_adapter

    write_adapter(adapter, args.out, Format(kind), Precision(args.dtype))
