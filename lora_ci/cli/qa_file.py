"""`lora-ci qa file ADAPTER`: judges an adapter file with no repository and no config."""

from __future__ import annotations

import argparse
import os
import webbrowser
from dataclasses import replace
from pathlib import Path

from lora_ci.cli.junit import add_junit_argument, forget_junit, write_junit
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.embedders import parse_embedder
from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.run import RunView
from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.core.step import Outcome, Stage

CACHE = "lora-ci"
PROMPTS = {
    "prompt": "identity prompt, {trigger} is replaced",
    "flexibility-prompt": "prompt that combines {trigger} with something else",
    "base-prompt": "prompt without the trigger",
}
FOLDERS = {"base_model": "base", "references": "references", "dataset": "dataset"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, what it is judged with, and where the judgement goes."""
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="file, diffusers or kohya")
    parser.add_argument(
        "--base", type=Path, required=True, metavar="FOLDER", help="base model, diffusers format"
    )
    parser.add_argument(
        "--references", type=Path, metavar="FOLDER", help="held-out pictures of the concept"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="FOLDER", help="what it was trained on, to find copies"
    )
    parser.add_argument(
        "--embedder",
        metavar="SPEC",
        help="what sees likeness, such as path:models/clip (default: classic:)",
    )
    parser.add_argument("--trigger", metavar="WORD", help="default: what the file says")
    parser.add_argument("--type", choices=[str(kind) for kind in LoraType], default="concept")
    parser.add_argument("--released", type=Path, metavar="FILE", help="must not fall behind this")
    parser.add_argument("--with", type=Path, dest="companion", metavar="FILE", help="a second one")
    group = parser.add_argument_group("how it is judged")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="take the `qa` section of --lora from here"
    )
    group.add_argument("--lora", metavar="NAME", help="which LoRA of --config")
    for option, what in PROMPTS.items():
        group.add_argument(f"--{option}", action="append", metavar="TEXT", help=f"{what}; repeat")
    group.add_argument("--gate", action="append", metavar="'METRIC >= X'", help="repeat")
    group.add_argument("--skip", action="append", metavar="TEST", help="do not make it; repeat")
    for name, kind in (("seeds", int), ("steps", int), ("resolution", int), ("guidance", float)):
        group.add_argument(f"--{name}", type=kind, metavar="N")
    group = parser.add_argument_group("where it goes")
    group.add_argument("--out", type=Path, metavar="FOLDER", help="default: ADAPTER's name.qa")
    group.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="pictures shared by all judgements (default: lora-ci in XDG_CACHE_HOME or ~/.cache)",
    )
    group.add_argument("--open", action="store_true", help="open the report in the browser")
    add_junit_argument(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Judges; the exit code is that of the verdict."""
    forget_junit(args)
    settings, trigger, kind = asked_settings(args)
    inputs = asked_inputs(args, settings)
    from lora_ci.app.handle import EXIT_CODES
    from lora_ci.app.lone import Lone, judge_lone
    from lora_ci.app.report_files import PAGE
    from lora_ci.config.model import Lora

    name = args.adapter.stem
    out = args.out or Path(f"{name}.qa")
    lone = Lone(
        lora=Lora(
            name=name,
            dataset=(),
            base_model=str(args.base),
            trigger=trigger or trigger_of(args.adapter),
            type=kind,
            qa=settings,
        ),
        adapter=args.adapter,
        inputs=inputs,
        released=args.released,
    )

    def watch(_lora: str, stage: Stage, done: int, total: int, note: str) -> None:
        output.progress(f"{stage} {name}", done, total, note)

    view = judge_lone(lone, out, cache=args.cache or default_cache(), watch=watch)
    tell(view, out / PAGE, output)
    write_junit(args, view)
    if args.open:
        webbrowser.open((out / PAGE).resolve().as_uri())
    return EXIT_CODES[view.outcome]


def tell(view: RunView, page: Path, output: Output) -> None:
    """Verdict and scores on stdout, faults and where the report is on stderr."""
    from lora_ci.report.verdict_text import render_verdict_text

    output.result(render_verdict_text(view), view, schema="run")
    for step in view.steps:
        output.findings(step.result.findings if step.result else ())
    output.findings(view.notes)
    if view.outcome is Outcome.INTERRUPTED:
        output.note("interrupted; the same command goes on where it stopped")
    output.note(f"report: {page}")


def asked_settings(args: argparse.Namespace) -> tuple[QaSettings, str | None, LoraType]:
    """Settings, trigger and type: the config's where one is named, the options before it.

    Raises UsageError.
    """
    settings, trigger, kind = QaSettings(), args.trigger, LoraType(args.type)
    if args.config:
        from lora_ci.app.folder_source import choose
        from lora_ci.config.work_tree import read_config

        lora = choose(read_config(args.config), args.lora, args.config)
        settings, trigger, kind = lora.qa, trigger or lora.trigger, lora.type
    given = {
        name: value
        for name in ("embedder", "seeds", "steps", "resolution", "guidance")
        if (value := getattr(args, name)) is not None
    }
    for name, prompts in (
        ("prompts", args.prompt),
        ("flexibility_prompts", args.flexibility_prompt),
        ("base_prompts", args.base_prompt),
    ):
        if prompts:
            given[name] = tuple(prompts)
    if args.skip:
        given["skip"] = tuple(args.skip)
    if args.gate:
        given["gates"] = dict(settings.gates) | dict(map(parse_gate, args.gate))
    return checked(replace(settings, **given)), trigger, kind


def checked(settings: QaSettings) -> QaSettings:
    """The settings, within their ranges. Raises UsageError."""
    import msgspec

    from lora_ci.core.settings import parse_settings, settings_json

    try:
        return parse_settings(settings_json(settings), QaSettings)
    except msgspec.ValidationError as error:
        raise UsageError(str(error), hint="next: lora-ci qa file --help") from error


def parse_gate(text: str) -> tuple[str, str]:
    """`identity >= 0.7` as metric and condition. Raises UsageError."""
    metric, sign, rest = (part.strip() for part in partition(text))
    if not metric or not sign or not rest:
        raise UsageError(f"--gate {text!r}: expected such as 'identity >= 0.7'")
    return metric, f"{sign} {rest}"


def partition(text: str) -> tuple[str, str, str]:
    """Metric, sign and limit; empty where there is no sign."""
    for sign in (">=", "<=", ">", "<"):
        if sign in text:
            return text.partition(sign)
    return text, "", ""


def asked_inputs(args: argparse.Namespace, settings: QaSettings) -> dict[str, Path]:
    """Folders and files by the step's inputs. Raises UsageError for one that is not there."""
    inputs = {
        name: path
        for name, option in FOLDERS.items()
        if (path := getattr(args, option)) is not None
    }
    try:
        embedder = parse_embedder(settings.embedder)
    except InputError as error:
        raise UsageError(f"--embedder: {error}", hint=error.findings[0].hint) from error
    if embedder.path:
        inputs["embedder"] = Path(embedder.path)
    if args.companion:
        inputs["companion"] = args.companion
    files = {"ADAPTER": args.adapter, "--released": args.released, "--with": args.companion}
    for option, path in files.items():
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path}: no such file", hint=f"next: ls {path.parent}")
    for name, path in inputs.items():
        if not path.exists():
            option = FOLDERS.get(name, name)
            raise UsageError(f"--{option} {path}: not there", hint=f"next: ls {path.parent}")
    return inputs


def trigger_of(adapter: Path) -> str:
    """The trigger that the file names. Raises UsageError, or InputError for no adapter."""
    from lora_ci.formats.inspection import inspect_file

    found = inspect_file(adapter).metadata.get("modelspec.trigger_phrase", "").strip()
    if not found:
        raise UsageError(f"{adapter.name} names no trigger", hint="next: --trigger WORD")
    return found


def default_cache() -> Path:
    """Where this user's caches are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / CACHE
