"""Reads what the planner needs of a commit: config, facts of every input, what changed."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.app.wiring import Deps
from lora_ci.changes.diff import diff_inputs
from lora_ci.changes.inputs import InputFacts, resolve_input
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME, Config, Lora
from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.errors import LoraCIError, UsageError
from lora_ci.core.event import Event
from lora_ci.core.finding import Finding, Severity
from lora_ci.plan.facts import LoraFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All that deciding needs of a commit."""

    config: Config
    facts: dict[str, LoraFacts]
    changes: ChangeSet


def gather(event: Event, deps: Deps) -> Gathered:
    """Reads the commit of the event. Raises UsageError for a config that cannot be used."""
    config = read_config(event.head, deps)
    facts = {
        name: gather_lora(lora, config, event.head, deps) for name, lora in config.loras.items()
    }
    return Gathered(config=config, facts=facts, changes=gather_changes(event, facts, deps))


def read_config(commit: str, deps: Deps) -> Config:
    """The config of a commit."""
    text = deps.repo.read(commit, FILE_NAME)
    if text is None:
        hint = "next: lora-ci init, then git add .lora-ci.yml && git commit"
        raise UsageError(f"{FILE_NAME} is not in commit {commit[:7]}", hint=hint)
    return load_config(text, FILE_NAME, lambda path: deps.repo.read(commit, path))


def gather_lora(lora: Lora, config: Config, commit: str, deps: Deps) -> LoraFacts:
    """The inputs of one LoRA; what is missing becomes a finding at its line in the config."""
    embedder = lora.qa.embedder
    paths = {
        "dataset": lora.dataset,
        "base_model": lora.base_model,
        "references": lora.qa.references,
        "embedder": embedder.removeprefix("path:") if embedder.startswith("path:") else None,
    }
    found: dict[str, InputFacts | None] = {}
    findings: list[Finding] = []
    for name, path in paths.items():
        if path is None:
            continue
        key = name if name in ("dataset", "base_model") else f"qa.{name}"
        where = config.where(f"loras.{lora.name}.{key}")
        try:
            facts = resolve_input(deps.repo, commit, path, deps.objects)
        except LoraCIError as error:
            findings.extend(error.findings)
            continue
        found[name] = facts
        problem = _problem(name, path, facts)
        if problem:
            message, hint = problem
            findings.append(
                Finding(
                    rule=f"inputs.{name.replace('_', '-')}",
                    severity=Severity.ERROR,
                    message=message,
                    hint=hint,
                    file=where.file,
                    line=where.line,
                    column=where.column,
                )
            )
    return LoraFacts(
        dataset=found.get("dataset"),
        base_model=found.get("base_model"),
        references=found.get("references"),
        embedder=found.get("embedder"),
        findings=tuple(findings),
    )


def _problem(name: str, path: str, facts: InputFacts | None) -> tuple[str, str] | None:
    """Why an input cannot be used, and what to do; missing dataset files are validation's."""
    if facts is None:
        return f"{name} `{path}` is neither in git nor tracked by DVC", f"next: dvc add {path}"
    if facts.entries is None:
        message = f"unknown: the manifest of `{path}` ({facts.content_id}) was not pushed"
        return message, "next: dvc push, on the machine that has it"
    if facts.missing and name != "dataset":
        message = f"{len(facts.missing)} of {len(facts.entries)} files of `{path}` were not pushed"
        return message, "next: dvc push, on the machine that has them"
    return None


def gather_changes(event: Event, facts: dict[str, LoraFacts], deps: Deps) -> ChangeSet:
    """What differs from the event's base; everything is new without one."""
    changes: dict[str, DatasetChange] = {}
    for lora in facts.values():
        for new in (lora.dataset, lora.references):
            if new is None or new.path in changes:
                continue
            old = None
            if event.base:
                try:
                    old = resolve_input(deps.repo, event.base, new.path, deps.objects)
                except LoraCIError:
                    old = None  # the old side only explains; an unreadable one explains nothing
            change = diff_inputs(old, new)
            if change:
                changes[new.path] = change
    return ChangeSet(base=event.base, head=event.head, datasets=tuple(changes.values()))
