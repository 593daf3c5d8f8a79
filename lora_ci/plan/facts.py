"""What a commit holds for one LoRA, as far as the plan needs it."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFacts:
    """Inputs by name; `findings` are errors that forbid every stage (an input is not there).

    `dataset` holds the files of all `sources`, those of several below the paths of their sources;
    `repeats` has one number a source, as it is written. `companion` is a second adapter,
    `scanner` and `rules` are what pictures and files of the dataset are scanned with.
    """

    dataset: InputFacts | None
    base_model: InputFacts | None
    references: InputFacts | None = None
    embedder: InputFacts | None = None
    companion: InputFacts | None = None
    regularization: InputFacts | None = None
    scanner: InputFacts | None = None
    rules: InputFacts | None = None
    sources: tuple[InputFacts, ...] = ()
    repeats: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()
