"""kohya's train file → our train settings as lines of a config, each with where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lora_ci.config.document import Node, Where
from lora_ci.config.kohya import flat, train_settings
from lora_ci.config.reading import Reading, hints_of
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.text import clean

# Said by the config itself, or found in the folders.
SAID = ("dataset_config", "in_json", "reg_data_dir", "train_data_dir")
OWN_DEFAULT = "kohya's own default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting, and where it came from."""

    key: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainValues:
    """The settings that are written; `findings` say what could not be."""

    values: tuple[Value, ...] = ()
    findings: tuple[Finding, ...] = ()


def train_values(
    file: Node | None,
    below: Mapping[str, Node],
    names: Mapping[Where, str],
    *,
    regularized: bool,
) -> TrainValues:
    """The settings of a train file over those of a dataset file; either may be absent.

    `names` are kohya's names of the values in the dataset file, by their places. A setting stays
    out if it is our default and no file says it.
    """
    if regularized:
        # Where the images lie is said elsewhere; they have a weight.
        below = {**below, "regularization": Node("", Where(""))}
    if file is None:
        reading = Reading("", lambda _: None)
        whole = dict(below)
    else:
        reading = Reading(file.where.file, lambda _: None)
        given = {key: node for key, node in flat(file).items() if key not in SAID}
        names = {**{node.where: key for key, node in given.items()}, **names}
        # Where both say something, kohya takes the dataset file's.
        whole = {**train_settings(reading, Node(given, file.where), below), **below}
    whole.pop("regularization", None)
    kept = {key: node for key, node in whole.items() if _is_valid(reading, key, node)}
    default = settings_json(TrainSettings())
    values = [
        Value(key=key, text=yaml(kept[key]), origin=_origin(kept[key], names))
        for key in default
        if key in kept and (kept[key].where in names or kept[key].plain() != default[key])
    ]
    findings = [_as_warning(finding) for finding in (*reading.findings, *reading.notes)]
    return TrainValues(values=tuple(values), findings=tuple(dict.fromkeys(findings)))


def yaml(node: Node) -> str:
    """A value on one line, as YAML reads it back."""
    return json.dumps(node.plain(), ensure_ascii=False)


def _is_valid(reading: Reading, key: str, node: Node) -> bool:
    """False, and a finding, for a value that the config could not hold."""
    before = len(reading.findings)
    reading.value(hints_of(TrainSettings)[key], node, f"train.{key}")
    return len(reading.findings) == before


def _origin(node: Node, names: Mapping[Where, str]) -> str:
    where = node.where
    if where in names:
        return clean(f"{where.file}:{where.line}: {names[where]}")
    return OWN_DEFAULT


def _as_warning(finding: Finding) -> Finding:
    return replace(
        finding, severity=Severity.WARNING, rule=finding.rule.replace("config", "import")
    )
