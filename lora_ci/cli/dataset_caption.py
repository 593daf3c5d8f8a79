"""`lora-ci dataset caption FOLDER`: captions by models, with their provenance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.qa_file import default_cache
from lora_ci.core.embedders import EmbedderKind, EmbedderSpec, parse_embedder
from lora_ci.core.errors import ExitCode, InputError, UsageError
from lora_ci.core.finding import Severity
from lora_ci.core.text import clean
from lora_ci.report.figures import counted

if TYPE_CHECKING:
    from lora_ci.app.hub import HubKind
    from lora_ci.dataset.captioning.captioner import CaptionModel
    from lora_ci.dataset.captioning.folder import CaptionPlan, Sees
    from lora_ci.dataset.captioning.merge import Likeness
    from lora_ci.diffusion.request import Picture

STATE = Path(".lora-ci")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is captioned, by which models, and how."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of pictures")
    parser.add_argument(
        "--models",
        nargs="+",
        action="extend",
        required=True,
        metavar="SPEC",
        help="what says what pictures show, such as path:models/git onnx:models/wd-tagger",
    )
    parser.add_argument(
        "--trigger", required=True, metavar="WORD", help="the token that calls the concept"
    )
    parser.add_argument(
        "--style", choices=("prose", "tags"), default="prose", help="of the captions"
    )
    parser.add_argument(
        "--class",
        dest="class_noun",
        metavar="WORD",
        help="what the trigger stands for, such as woman: it takes that word's place",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what models that are spoken with are asked"
    )
    parser.add_argument("--base-model", type=Path, metavar="FOLDER", help="its tokenizer counts")
    parser.add_argument(
        "--embedder",
        metavar="SPEC",
        help="a CLIP or SigLIP: lets stay what one model says where the picture is near to it",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the changes, write nothing")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Captions the pictures that no person captioned."""
    _check(args)
    from lora_ci.dataset.captioning.budget import budget_of
    from lora_ci.dataset.captioning.folder import plan_captions, write_captions
    from lora_ci.dataset.captioning.merge import MergeSettings

    budget = budget_of(args.base_model)
    settings = MergeSettings(
        trigger=args.trigger,
        count=budget.count,
        limit=budget.limit,
        style=args.style,
        class_noun=args.class_noun,
    )
    cache = STATE / "cache" if STATE.is_dir() else default_cache()
    sees, seen_by = _eye(args.embedder, cache) if args.embedder else (None, "")
    plan = plan_captions(
        args.folder,
        [_model(spec, args.prompt) for spec in args.models],
        settings,
        counted_by=budget.counted_by,
        sees=sees,
        seen_by=seen_by,
        cache=cache,
        progress=lambda what, done, total: output.progress(what, done, total, "pictures"),
    )
    left = () if args.dry_run else write_captions(args.folder, plan)
    output.findings(plan.findings)
    output.result(
        _text(plan, left, dry=args.dry_run),
        _value(plan, left, dry=args.dry_run),
        schema="dataset-caption",
    )
    failed = left or any(one.severity is Severity.ERROR for one in plan.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError for what cannot be, before anything is looked at."""
    for folder in filter(None, (args.folder, args.base_model)):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint=f"next: ls {folder.parent}")
    for option, text in (("--trigger", args.trigger), ("--class", args.class_noun)):
        if text is not None and not (text.strip() == text and text.isprintable() and text):
            message = f"{option} {text!r}: expected words in one line, without blanks around them"
            raise UsageError(message, hint=f"next: {option} {'mei' if 'trig' in option else 'cat'}")
    if "," in args.trigger:
        message = f"--trigger {args.trigger!r}: a comma would part it where captions are tags"
        raise UsageError(message, hint="next: --trigger mei")


def _model(spec: str, prompt: str | None) -> CaptionModel:
    """The model of a spec, its files fetched if it is one of the hub."""
    from lora_ci.app.hub import CAPTIONER
    from lora_ci.dataset.captioning.opening import PROMPT, caption_model, parse_captioner

    try:
        parsed = parse_captioner(spec)
    except InputError as error:
        raise UsageError(f"--models: {error}", hint=error.findings[0].hint) from error
    folder = _folder("--models", spec, parsed, CAPTIONER)
    return caption_model(spec, folder, prompt or PROMPT)


def _folder(option: str, spec: str, parsed: EmbedderSpec, kind: HubKind) -> Path | None:
    """Where its files lie; None for what has none."""
    if parsed.hub:
        from lora_ci.app.hub import ensure_hub_model

        return ensure_hub_model(*parsed.hub, kind)
    if parsed.path and not Path(parsed.path).is_dir():
        message = f"{option} {spec}: {parsed.path} is no folder"
        raise UsageError(message, hint=f"next: ls {Path(parsed.path).parent}")
    return Path(parsed.path) if parsed.path else None


def _eye(spec: str, cache: Path) -> tuple[Sees, str]:
    """What tells how near pictures are to texts, and its name."""
    from lora_ci.app.hub import EMBEDDER
    from lora_ci.ruler.opening import open_embedder

    try:
        parsed = parse_embedder(spec)
    except InputError as error:
        raise UsageError(f"--embedder: {error}", hint=error.findings[0].hint) from error
    known = (EmbedderKind.PATH, EmbedderKind.HUB)
    folder = _folder("--embedder", spec, parsed, EMBEDDER) if parsed.kind in known else None
    embedder = open_embedder(spec, folder, cache=cache) if folder else None
    if embedder is None or not embedder.knows_texts:
        message = f"--embedder {spec}: it knows no texts"
        raise UsageError(message, hint="next: a CLIP or SigLIP, as path: or hf:")
    opened = embedder

    def sees(picture: Picture) -> Likeness:
        (seen,) = opened.embed_pictures([picture])
        return lambda texts: [float(near) for near in opened.embed_texts(texts) @ seen]

    return sees, embedder.identity


def _text(plan: CaptionPlan, left: Sequence[str], *, dry: bool) -> str:
    done = len(plan.changes) - len(left)
    diffs = [change.diff() for change in plan.changes] if dry else []
    lines = [clean(line) for diff in diffs for line in diff.split("\n")]
    lines.append(
        f"{counted(done, 'caption')} {'would be written' if dry else 'written'}, "
        f"{len(plan.current)} stay as they are, {len(plan.human)} are people's and were not touched"
    )
    lines += [f"{clean(name)} changed meanwhile and was not touched" for name in left]
    if plan.review:
        lines.append("look at these, in which the models differ most:")
        for one in plan.review:
            ties = f" ({'; '.join(one.ties)})" if one.ties else ""
            lines.append(f"  {clean(one.image)}: {one.disagreement:.2f}{clean(ties)}")
    return "\n".join(lines)


def _value(plan: CaptionPlan, left: Sequence[str], *, dry: bool) -> dict[str, object]:
    return {
        "written": not dry,
        "captions": [
            {
                "image": change.image,
                "file": change.file,
                "caption": change.after.decode().rstrip("\n"),
                "before": None if change.before is None else change.before.decode().rstrip("\n"),
            }
            for change in plan.changes
            if change.file not in left
        ],
        "current": plan.current,
        "human": plan.human,
        "left": left,
        "review": plan.review,
        "findings": plan.findings,
    }
