"""The datasheet of a built dataset: what is known of it, and what only people can tell.

Source: Gebru et al., Datasheets for Datasets, Commun. ACM 64 (12), 2021, 86-92.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

import lora_ci
from lora_ci.dataset.build_plan import DATASET, FOLDERS, BuildPlan, Fate, Picture
from lora_ci.dataset.consent import NAMES
from lora_ci.report.figures import counted
from lora_ci.report.markdown import escape

SCHEMA = "lora-ci.datasheet/1"
# Questions that no program can answer, and why they are asked.
TO_FILL_IN = {
    "purpose": "what the dataset is for, and what it must not be used for",
    "origin": "who made the pictures, and where they were taken from",
    "license": "the license of the pictures, and of what is trained on them (SPDX id)",
    "consent": "who is shown, what they agreed to, and how they can take it back",
    "people": "whether real people are shown: true or false",
    "contact": "whom to ask, and who removes a picture",
}
MOST_LISTED = 200
TOLD_IN = f"{DATASET}/{NAMES[0]}"


def render_datasheet_json(plan: BuildPlan, written: Mapping[str, str]) -> str:
    """All of it, for programs; `written`: sha256 of the written files by that of their source."""
    pictures = [{**msgspec.to_builtins(p), "reason": p.reason} for p in plan.pictures]
    for row in pictures:
        if row["written_as"]:
            row["written_as"] = _path(row["fate"], row["written_as"], plan)
            row["written_sha256"] = written[row["sha256"]]
    value = {
        "schema": SCHEMA,
        "made_by": f"lora-ci {lora_ci.__version__}",
        "plan": plan.id,
        "source": plan.source,
        "settings": msgspec.to_builtins(plan.settings),
        "done_to_pictures": plan.settings.form.words,
        "features": plan.features,
        "libraries": list(plan.libraries),
        "coverage": plan.coverage,
        "stood_for": plan.stood_for,
        "counts": {fate.value: plan.count(fate) for fate in Fate},
        "told": _told(plan),
        "notes": list(plan.notes),
        "pictures": pictures,
    }
    return msgspec.json.format(msgspec.json.encode(value)).decode() + "\n"


def render_told(plan: BuildPlan) -> str:
    """The `datasheet.yml` of the dataset: what is known of what only people can tell."""
    lines = [
        "# What only people can tell of these pictures; see docs/dataset-safety.md of lora-ci."
    ]
    for name, value in _told(plan).items():
        # JSON is a part of YAML.
        known = "" if value is None else f" {msgspec.json.encode(value).decode()}"
        lines += ["", f"# {TO_FILL_IN[name]}", f"{name}:{known}"]
    return "\n".join(lines) + "\n"


def _told(plan: BuildPlan) -> dict[str, str | bool | None]:
    told: dict[str, str | bool | None] = msgspec.to_builtins(plan.told)
    return {name: told.get(name) for name in TO_FILL_IN}


def _answer(name: str, value: str | bool | None) -> str:
    if value is None:
        return f"- **{name}**: _to tell in {TOLD_IN}_: {TO_FILL_IN[name]}"
    return f"- **{name}**: {escape(value if isinstance(value, str) else str(value).lower())}"


def _path(fate: str, stem: str, plan: BuildPlan) -> str:
    return f"{FOLDERS[Fate(fate)]}/{stem}.{plan.settings.form.kind}"


def render_datasheet_markdown(plan: BuildPlan, written: Mapping[str, str]) -> str:
    """The same for people."""
    settings = plan.settings
    parts = [
        f"# Datasheet of {escape(plan.source)}",
        "## What people tell",
        "\n".join(_answer(name, value) for name, value in _told(plan).items()),
        "## What is in it",
        _summary(plan),
        _list("## To train on", plan.of(Fate.TRAINING), plan, written),
        _list("## Held out, to judge by", plan.of(Fate.REFERENCE), plan, written),
        "## How it was made",
        "\n".join(
            [
                f"- by lora-ci {lora_ci.__version__} with {', '.join(plan.libraries)}: "
                f"`lora-ci dataset build`, target {settings.target}, "
                f"references {settings.references}, seed {settings.seed}",
                f"- pictures: {settings.form.words}",
                f"- compared by `{plan.features.split(':')[0]}`",
                f"- plan {plan.id}",
                *(f"- {escape(note)}" for note in plan.notes),
            ]
        ),
        _left_out(plan),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _summary(plan: BuildPlan) -> str:
    chosen = [*plan.of(*FOLDERS)]
    captioned = sum(picture.caption is not None for picture in chosen)
    return (
        f"{plan.count(Fate.TRAINING)} of {counted(len(plan.pictures), 'picture')} to train on, "
        f"{plan.count(Fate.REFERENCE)} held out; {captioned} with a caption. What could have been "
        f"chosen is like the chosen at {plan.coverage:.2f} on average, 1 being the same."
    )


def _list(
    title: str, pictures: Iterable[Picture], plan: BuildPlan, written: Mapping[str, str]
) -> str:
    rows = [
        f"| {picture.written_as}.{plan.settings.form.kind} | {escape(picture.name)} "
        f"| {escape(picture.reason)} | {picture.sha256[:16]} | {written[picture.sha256][:16]} |"
        for picture in pictures
    ]
    if not rows:
        return ""
    head = "| file | from | why | sha256 of the source | sha256 |\n|---|---|---|---|---|"
    return "\n".join([title, "", head, *_bounded(rows, "| … | and {} more | | | |")])


def _left_out(plan: BuildPlan) -> str:
    left = list(plan.of(Fate.UNFIT, Fate.DUPLICATE, Fate.SURPLUS))
    if not left:
        return ""
    rules = Counter(p.flaws[0][0] for p in left if p.fate is Fate.UNFIT and p.flaws)
    counts = [
        *(f"{count} unfit by `{rule}`" for rule, count in rules.most_common()),
        f"{plan.count(Fate.DUPLICATE)} nearly the same as a better one",
        f"{plan.count(Fate.SURPLUS)} because others add more",
    ]
    rows = [f"| {escape(picture.name)} | {escape(picture.reason)} |" for picture in left]
    return "\n".join(
        [
            "## Left out",
            "",
            ", ".join(counts),
            "",
            "| file | why |\n|---|---|",
            *_bounded(rows, "| … | and {} more, all in datasheet.json |"),
        ]
    )


def _bounded(rows: list[str], more: str) -> list[str]:
    if len(rows) <= MOST_LISTED:
        return rows
    return [*rows[:MOST_LISTED], more.format(len(rows) - MOST_LISTED)]
