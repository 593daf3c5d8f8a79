"""`lora-ci qa compare A B`: two judgements by the same ruler, metric by metric."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ci.app.report_files import TWIN
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.metrics import OVERALL, TEST
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.core.text import clean
from lora_ci.report.details import read_details
from lora_ci.report.figures import between
from lora_ci.report.text import aligned

MAX_BYTES = 64 * 2**20
# What of a ruler a report tells: named where two rulers differ.
TOLD = ("embedder", "sampler", "weight", "trigger", "error")
REJUDGE = "next: lora-ci qa rejudge --all, which judges both by the present ruler, or of files: "
REJUDGE += "lora-ci qa ADAPTER alike for both, each with a new --out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A metric, and the ends of its 95 % interval where the report tells them."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a report says of one LoRA."""

    name: str
    ruler: str
    metrics: Mapping[str, Figure]
    told: Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two reports."""
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=Path,
            metavar=name.upper(),
            help=f"{TWIN} of a run, or the folder that holds it",
        )
    parser.add_argument("--lora", metavar="NAME", help="where reports have several")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints both values and their difference. Different rulers are a usage error."""
    one, other = (read_judgement(path, args.lora) for path in (args.a, args.b))
    if one.ruler != other.ruler:
        differing = [name for name in TOLD if one.told.get(name) != other.told.get(name)]
        what = ", ".join(differing) or "prompts, references, thresholds or lora-ci itself"
        message = (
            f"judged by different rulers ({one.ruler[:12]}, {other.ruler[:12]}: {what}): "
            "their figures say nothing of each other"
        )
        raise UsageError(message, hint=REJUDGE)
    names = sorted(one.metrics.keys() | other.metrics.keys())
    rows = [(name, one.metrics.get(name), other.metrics.get(name)) for name in names]
    cells = [(name, shown(a), shown(b), change(a, b)) for name, a, b in rows]
    lines = aligned(("metric", "A", "B", "B - A"), cells)
    value = {
        "a": one.name,
        "b": other.name,
        "ruler": one.ruler,
        "metrics": {name: {"a": a, "b": b} for name, a, b in rows},
    }
    output.result("\n".join(lines), value, schema="qa-compare")
    return ExitCode.PASSED


def shown(figure: Figure | None) -> str:
    """A value with its interval, or that there is none."""
    if figure is None:
        return "–"
    ends = between(figure.low, figure.high, 3)
    return f"{figure.value:.3f}" + (f" ({ends})" if ends else "")


def change(a: Figure | None, b: Figure | None) -> str:
    """The difference, if both are known."""
    return "" if a is None or b is None else f"{b.value - a.value:+.3f}"


def read_judgement(path: Path, lora: str | None) -> Judgement:
    """The judgement in a report. Raises UsageError for none, or several."""
    file = path / TWIN if path.is_dir() else path
    hint = "next: lora-ci report, or lora-ci qa ADAPTER --base …, writes one"
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file}: too large for a report", hint=hint)
        report = json.loads(file.read_text("utf-8"))
        loras = {
            name: found["stages"][Stage.QA]
            for name, found in report["loras"].items()
            if Stage.QA in found["stages"]
        }
        if lora is not None:
            loras = {name: found for name, found in loras.items() if name == lora}
        if len(loras) != 1:
            known = ", ".join(map(clean, report["loras"]))
            raise UsageError(f"{file}: {len(loras)} judgements", hint=f"--lora, one of: {known}")
        name, stage = next(iter(loras.items()))
        details = stage.get("details", {})
        return Judgement(
            name=name,
            ruler=str(details["ruler"]),
            metrics=figures(stage["metrics"], details),
            told={key: details.get(key) for key in TOLD},
        )
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint=hint) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file}: holds no judgement of a LoRA", hint=hint) from error


def figures(metrics: Mapping[str, Any], details: dict[str, Any]) -> dict[str, Figure]:
    """The metrics of a judgement with their intervals. Raises ValueError for no numbers."""
    found = read_details(Stage.QA, StepResult(outcome=Outcome.PASSED, details=details))
    ends = {check.metric: (check.low, check.high) for check in found.checks}
    ends |= {gate.metric: (gate.low, gate.high) for gate in found.gates}
    ends |= {f"{TEST}{test.name}": (test.low, test.high) for test in found.tests}
    if found.overall:
        ends[OVERALL] = found.overall.low, found.overall.high
    made = {}
    for name, value in metrics.items():
        low, high = ends.get(name, (None, None))
        known = low is not None and high is not None
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(name)
        made[name] = Figure(value=number, low=low if known else None, high=high if known else None)
    return made
