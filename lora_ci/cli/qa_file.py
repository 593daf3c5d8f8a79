"""`lora-ci qa file ADAPTER`: judges an adapter file with no repository and no config."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import webbrowser
from dataclasses import replace
from pathlib import Path

from lora_ci.cli.junit import add_junit_argument, forget_junit, write_junit
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.changeset import READ_IMAGES
from lora_ci.core.embedders import parse_embedder
from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.metrics import QA_METRICS
from lora_ci.core.run import RunView
from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.core.step import Outcome

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
    parser.add_argument(
        "--type",
        choices=[str(kind) for kind in LoraType],
        help="what it teaches (default: concept)",
    )
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
    out, cache = args.out or Path(f"{name}.qa"), args.cache or default_cache()
    need_places({"--out": out, "--cache": cache})
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

    view = judge_lone(lone, out, cache=cache, watch=output.watch)
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
    settings, trigger, kind = QaSettings(), args.trigger, LoraType(args.type or LoraType.CONCEPT)
    if args.config:
        settings, told, of_config = told_by_config(args.config, args.lora)
        trigger, kind = trigger or told, kind if args.type else of_config
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
        if prompts and not all(prompt.strip() for prompt in prompts):
            option = "--" + name.removesuffix("s").replace("_", "-")
            raise UsageError(f"{option}: an empty prompt", hint="expected what is to be drawn")
        if prompts:
            given[name] = tuple(prompts)
    if args.skip:
        given["skip"] = tuple(args.skip)
    if args.gate:
        given["gates"] = dict(settings.gates) | dict(map(parse_gate, args.gate))
    return checked(replace(settings, **given)), trigger, kind


def told_by_config(path: Path, name: str | None) -> tuple[QaSettings, str, LoraType]:
    """The `qa` section of a LoRA, its trigger and type. Raises UsageError.

    What the section names in the repository is looked for there, wherever we are.
    """
    from lora_ci.config.work_tree import read_config

    loras, top = read_config(path).loras, path.resolve().parent
    if name is None and len(loras) == 1:
        (name,) = loras
    if name is None or name not in loras:
        message = f"{path} has no LoRA `{name}`" if name else f"{path} has {len(loras)} LoRAs"
        raise UsageError(message, hint=f"next: --lora, one of: {', '.join(loras)}")
    lora = loras[name]
    embedder = parse_embedder(lora.qa.embedder)
    if embedder.path:
        settings = replace(lora.qa, embedder=f"{embedder.kind}:{top / embedder.path}")
    else:
        settings = lora.qa
    return settings, lora.trigger, lora.type


def checked(settings: QaSettings) -> QaSettings:
    """The settings, within their ranges. Raises UsageError."""
    import msgspec

    from lora_ci.config.reading import choices, hints_of
    from lora_ci.core.settings import parse_settings, settings_json

    try:
        parsed = parse_settings(settings_json(settings), QaSettings)
    except msgspec.ValidationError as error:
        told, _, where = str(error).partition(" - at ")
        option = re.sub(r"\W|\d", "", where)
        if option == "skip":
            hint = f"expected one of: {', '.join(choices(hints_of(QaSettings)['skip']))}"
        else:
            hint = "next: lora-ci qa file --help"
        raise UsageError(f"--{option}: {told}", hint=hint) from error
    for metric in parsed.gates:
        if metric not in QA_METRICS:
            near = difflib.get_close_matches(metric, QA_METRICS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(QA_METRICS)}"
            raise UsageError(f"--gate: nothing measures `{metric[:60]}`", hint=hint)
    return parsed


def parse_gate(text: str) -> tuple[str, str]:
    """`identity >= 0.7` as metric and condition. Raises UsageError."""
    from lora_ci.config.language import GATE

    metric, sign, limit = (part.strip() for part in partition(text))
    if not metric or not GATE.fullmatch(f"{sign} {limit}"):
        raise UsageError(
            f"--gate {text[:60]!r}: no condition on a metric",
            hint="such as --gate 'identity >= 0.7'",
        )
    return metric, f"{sign} {limit}"


def partition(text: str) -> tuple[str, str, str]:
    """Metric, sign and limit; empty where there is no sign."""
    for sign in (">=", "<=", ">", "<"):
        if sign in text:
            return text.partition(sign)
    return text, "", ""


def asked_inputs(args: argparse.Namespace, settings: QaSettings) -> dict[str, Path]:
    """Folders and files by the step's inputs. Raises UsageError for what cannot be one."""
    for option, file in {"ADAPTER": args.adapter, "--released": args.released}.items():
        need_file(option, file)
    inputs = {
        name: path
        for name, option in FOLDERS.items()
        if (path := getattr(args, option)) is not None
    }
    for name, path in inputs.items():
        need_folder(f"--{FOLDERS[name]}", path, pictures=name != "base_model")
    if args.companion:
        need_file("--with", args.companion)
        inputs["companion"] = args.companion
    try:
        embedder = parse_embedder(settings.embedder).path
    except InputError as error:
        raise UsageError(f"--embedder: {error}", hint=error.findings[0].hint) from error
    if embedder:
        inputs["embedder"] = Path(embedder)
        if not inputs["embedder"].exists():
            message = f"--embedder {settings.embedder}: {embedder} is not there"
            raise UsageError(message, hint=f"next: ls {inputs['embedder'].parent}")
    return inputs


def need_file(option: str, path: Path | None) -> None:
    """Raises UsageError for a path that is no file; none was given where it is None."""
    if path is not None and not path.is_file():
        what = "a folder; expected a file" if path.is_dir() else "no such file"
        raise UsageError(f"{option} {path}: {what}", hint=f"next: ls {path.parent}")


def need_folder(option: str, path: Path, *, pictures: bool) -> None:
    """Raises UsageError for a path that is no folder, or one without `pictures`."""
    if not path.is_dir():
        what = "a file; expected a folder" if path.exists() else "no such folder"
        raise UsageError(f"{option} {path}: {what}", hint=f"next: ls {path.parent}")
    if pictures and not has_pictures(path):
        hint = f"expected pictures: {', '.join(READ_IMAGES)}"
        raise UsageError(f"{option} {path}: no pictures below it", hint=hint)


def has_pictures(folder: Path) -> bool:
    """True for a folder with any file that is named as a picture."""
    return any(path.suffix.lower() in READ_IMAGES for path in folder.rglob("*"))


def need_places(places: dict[str, Path]) -> None:
    """Makes the folders by their options. Raises UsageError where that cannot be."""
    for option, folder in places.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{option} {folder}: no folder can be made there: {error.strerror}"
            raise UsageError(message, hint=f"next: another {option}") from error


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
