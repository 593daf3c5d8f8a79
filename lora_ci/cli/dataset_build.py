"""`lora-ci dataset build SRC`: the best diverse pictures of a folder, as a dataset with reasons."""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.qa_file import default_cache
from lora_ci.core.embedders import EmbedderSpec, parse_embedder
from lora_ci.core.errors import ExitCode, InfrastructureError, InputError, UsageError
from lora_ci.dataset.rules import RULES
from lora_ci.report.figures import counted

if TYPE_CHECKING:
    from lora_ci.dataset.build_plan import BuildPlan, BuildSettings
    from lora_ci.ruler.feature_cache import CachedEmbedder

STATE = Path(".lora-ci")
MIN_SIZE, MAX_SIZE = 64, 4096
SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is looked at, what is wanted of it, and where it goes."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of pictures; only read")
    parser.add_argument(
        "--target", type=int, required=True, metavar="N", help="how many pictures to train on"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="a new folder; it appears whole or not at all"
    )
    parser.add_argument(
        "--references", type=int, default=0, metavar="N", help="how many to hold out, to judge by"
    )
    parser.add_argument(
        "--pin", action="append", default=[], metavar="PATH", help="take this picture; repeat"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="RULE",
        help="what this check finds makes no picture unfit, such as image.blurred; repeat",
    )
    parser.add_argument(
        "--embedder",
        metavar="SPEC",
        help="what sees which pictures are alike, such as path:models/clip (default: small copies)",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="train.resolution: larger pictures are reduced to it (default: sizes stay)",
    )
    parser.add_argument(
        "--format", choices=("png", "jpeg"), default="png", help="jpeg is of quality 95"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws a sample of over 12,000 pictures"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be chosen")
    parser.add_argument("--dvc", action="store_true", help="let DVC track the folders: dvc add")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Builds, or says what would be built."""
    _check(args)
    from lora_ci.dataset.build_choice import plan_build
    from lora_ci.dataset.build_plan import BuildSettings
    from lora_ci.dataset.builder import check_places, write_build
    from lora_ci.dataset.normalise import Form

    settings = BuildSettings(
        target=args.target,
        references=args.references,
        pinned=tuple(sorted(set(args.pin))),
        allowed=tuple(sorted(set(args.allow))),
        seed=args.seed,
        form=Form(kind=args.format, size=args.size),
    )

    def progress(what: str, done: int, total: int) -> None:
        output.progress(what, done, total, "pictures")

    if args.out:
        check_places(args.source, args.out)
    cache = STATE / "cache" if STATE.is_dir() else default_cache()
    with _opened(args.embedder, cache) as embedder:
        planned = plan_build(
            args.source, settings, embedder=embedder, cache=_writable(cache), progress=progress
        )
    plan = planned.plan
    if not args.dry_run:
        write_build(planned, args.out, progress)
        if args.dvc:
            _dvc_add(args.out, settings)
    for note in plan.notes:
        output.note(note)
    import msgspec

    place = None if args.dry_run else str(args.out)
    pictures = [{**msgspec.to_builtins(p), "reason": p.reason} for p in plan.pictures]
    value = {"out": place, "id": plan.id, **msgspec.to_builtins(plan), "pictures": pictures}
    output.result(_text(plan, None if args.dry_run else args.out), value, schema="dataset-build")
    return ExitCode.PASSED


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for options that cannot be, before anything is looked at."""
    if not args.source.is_dir():
        raise UsageError(f"{args.source} is no folder", hint=f"next: ls {args.source.parent}")
    for option, least in (("target", 1), ("references", 0), ("seed", 0)):
        if getattr(args, option) < least:
            message = f"--{option} {getattr(args, option)}: expected {least} or more"
            raise UsageError(message, hint="next: lora-ci dataset build --help")
    if args.size is not None and not MIN_SIZE <= args.size <= MAX_SIZE:
        message = f"--size {args.size}: expected {MIN_SIZE} to {MAX_SIZE} pixels"
        raise UsageError(message, hint="next: what train.resolution will be, such as 512")
    if unknown := [rule for rule in args.allow if rule not in RULES]:
        near = difflib.get_close_matches(unknown[0], RULES, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "they are in docs/dataset-checks.md"
        raise UsageError(f"--allow {unknown[0]}: no such rule", hint=hint)
    if args.dry_run:
        return
    if args.out is None:
        raise UsageError("--out is not given", hint="next: --out FOLDER, or --dry-run")
    folder = args.out.absolute()
    if args.dvc and not any((above / ".dvc").is_dir() for above in folder.parents):
        message = f"--dvc: {args.out} would lie in no DVC repository"
        raise UsageError(message, hint="next: dvc init, at the top of the git repository")


@contextmanager
def _opened(spec: str | None, cache: Path) -> Iterator[CachedEmbedder | None]:
    """The embedder of a spec; a file of it lies alone in a folder, as it does for a step."""
    if spec is None:
        yield None
        return
    from lora_ci.ruler.opening import open_embedder

    parsed = _parsed(spec)
    with tempfile.TemporaryDirectory(prefix="lora-ci-") as scratch:
        yield open_embedder(spec, _folder(parsed, Path(scratch)), cache=_writable(cache))


def _parsed(spec: str) -> EmbedderSpec:
    try:
        parsed = parse_embedder(spec)
    except InputError as error:
        raise UsageError(f"--embedder: {error}", hint=error.findings[0].hint) from error
    if parsed.path and not Path(parsed.path).exists():
        message = f"--embedder {spec}: {parsed.path} is not there"
        raise UsageError(message, hint=f"next: ls {Path(parsed.path).parent}")
    return parsed


def _folder(parsed: EmbedderSpec, scratch: Path) -> Path | None:
    if parsed.hub:
        from lora_ci.app.hub import EMBEDDER, ensure_hub_model

        return ensure_hub_model(*parsed.hub, EMBEDDER)
    if parsed.path is None or Path(parsed.path).is_dir():
        return Path(parsed.path) if parsed.path else None
    file = Path(parsed.path).resolve()
    (scratch / file.name).symlink_to(file)
    return scratch


def _writable(cache: Path) -> Path | None:
    """The folder, made if it is not there; None where none can be, then nothing is kept."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache if os.access(cache, os.W_OK) else None


def _dvc_add(out: Path, settings: BuildSettings) -> None:
    from lora_ci.dataset.build_plan import DATASET, REFERENCES

    folders = [DATASET, REFERENCES] if settings.references else [DATASET]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", *folders],
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        message = f"{out} is whole, but `dvc add` failed: {said}"
        raise InfrastructureError(message, hint=f"next: cd {out} && dvc add {' '.join(folders)}")


def _text(plan: BuildPlan, out: Path | None) -> str:
    from lora_ci.dataset.build_plan import DATASET, REFERENCES, Fate
    from lora_ci.dataset.builder import CONTACT_SHEET
    from lora_ci.dataset.datasheet import TOLD_IN

    training, held = plan.count(Fate.TRAINING), plan.count(Fate.REFERENCE)
    lines = [
        f"{training} of {counted(len(plan.pictures), 'picture')} to train on"
        + (f", {held} held out" if held else "")
        + f"; what could be chosen is like the chosen at {plan.coverage:.2f} on average",
        f"left out: {plan.count(Fate.UNFIT)} unfit, {plan.count(Fate.DUPLICATE)} nearly the same "
        f"as a better one, {plan.count(Fate.SURPLUS)} because others add more",
    ]
    if out is None:
        chosen = sorted(plan.of(Fate.TRAINING), key=lambda p: (not p.pinned, -(p.gain or 0)))
        lines += [f"  {picture.name}: {picture.reason}" for picture in chosen[:SHOWN]]
        if len(chosen) > SHOWN:
            lines.append(f"  … and {len(chosen) - SHOWN} more (--json tells all)")
        lines.append("nothing was written; next: the same with --out FOLDER, without --dry-run")
        return "\n".join(lines)
    references = f" --references {out / REFERENCES}" if held else ""
    return "\n".join(
        [
            *lines,
            f"every picture with its reason: {out / CONTACT_SHEET}",
            f"next: fill in {out / TOLD_IN}; then "
            f"lora-ci dataset validate {out / DATASET}{references} --trigger WORD",
        ]
    )
