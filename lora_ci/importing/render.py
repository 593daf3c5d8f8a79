"""The config of an import as text: every value has a comment that says where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_ci.config.written import quoted, source_text
from lora_ci.core.finding import Finding
from lora_ci.core.text import clean
from lora_ci.importing.folders import Folder, many
from lora_ci.importing.train_values import TrainValues


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The base model's folder, and why it is that."""

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A LoRA as it will be written."""

    name: str
    trigger: str
    why: str
    folders: tuple[Folder, ...]
    regularization: str | None
    train: TrainValues
    train_file: str | None
    findings: tuple[Finding, ...]


def render(folder: str, base: BaseModel, drafts: Sequence[Drafted]) -> str:
    """The whole file."""
    lines = [
        f"# Written by: lora-ci import kohya {clean(folder)}",
        "# Every key: lora-ci config keys.",
        "version: 1",
        "defaults:",
        _said(f"  base_model: {quoted(base.path)}", base.why),
        "loras:",
    ]
    for draft in drafts:
        lines += _lora(draft)
    return "\n".join(lines) + "\n"


def _lora(draft: Drafted) -> list[str]:
    lines = [f"  {quoted(draft.name)}:", "    dataset:"]
    for folder in draft.folders:
        source = source_text(folder.path, folder.repeats)
        lines.append(
            _said(f"      - {source}", f"{folder.source}; {many(len(folder.images), 'picture')}")
        )
    lines.append(_said(f"    trigger: {quoted(draft.trigger)}", draft.why))
    lines += _train(draft)
    return lines


def _train(draft: Drafted) -> list[str]:
    values = [_said(f"      {v.key}: {v.text}", v.origin) for v in draft.train.values]
    if draft.regularization is not None:
        path = quoted(draft.regularization)
        values.append(_said(f"      regularization: {path}", "kohya's regularization images"))
    lines = ["    train:"] if values else []
    if draft.train_file is None:
        lines.insert(0, "    # No train file of kohya's was found: the rest is as lora-ci has it.")
    lines += values
    for finding in draft.findings:
        lines += [f"      # not as in {finding.location()}: {clean(finding.message)}"]
    return lines


def _said(line: str, why: str) -> str:
    return f"{line}  # {clean(why)}"
