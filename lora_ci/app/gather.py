"""Config and a way to look at inputs → the facts of every LoRA, and what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from lora_ci.app.source import Gathered
from lora_ci.changes.diff import diff_inputs
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.document import Where
from lora_ci.config.model import Config, Lora
from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.errors import InputError, LoraCIError
from lora_ci.core.event import Event
from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.families import PARTS
from lora_ci.plan.facts import LoraFacts

# What stands at a path now. Raises InputError if nothing does.
Resolve = Callable[[str], InputFacts]
# What stood at the path of an input before; None if nothing, or nothing else, did.
Former = Callable[[InputFacts], InputFacts | None]


def gather(event: Event, config: Config, resolve: Resolve, former: Former) -> Gathered:
    """Looks at the inputs of every LoRA; one that several LoRAs share is looked at once."""
    once = cache(resolve)
    facts = {name: gather_lora(lora, config, once) for name, lora in config.loras.items()}
    return Gathered(config=config, facts=facts, changes=gather_changes(event, facts, former))


def gather_lora(lora: Lora, config: Config, resolve: Resolve) -> LoraFacts:
    """The inputs of one LoRA; what cannot be used becomes a finding at its line in the config."""
    found: dict[str, InputFacts] = {}
    findings: list[Finding] = []
    for name, path in input_paths(lora).items():
        key = name if name in ("dataset", "base_model") else f"qa.{name}"
        where = config.where(f"loras.{lora.name}.{key}")
        try:
            found[name] = resolve(path)
        except InputError as error:
            findings.extend(_at(finding, name, where) for finding in error.findings)
            continue
        problem = _problem(name, path, found[name])
        if problem:
            message, hint = problem
            finding = Finding(rule="", severity=Severity.ERROR, message=message, hint=hint)
            findings.append(_at(finding, name, where))
    return LoraFacts(
        dataset=found.get("dataset"),
        base_model=found.get("base_model"),
        references=found.get("references"),
        embedder=found.get("embedder"),
        findings=tuple(findings),
    )


def input_paths(lora: Lora) -> dict[str, str]:
    """The paths that a LoRA's config names, by the names of the inputs."""
    embedder = lora.qa.embedder
    paths = {
        "dataset": lora.dataset,
        "base_model": lora.base_model,
        "references": lora.qa.references,
        "embedder": embedder.removeprefix("path:") if embedder.startswith("path:") else None,
    }
    return {name: path for name, path in paths.items() if path is not None}


def _at(finding: Finding, name: str, where: Where) -> Finding:
    """The finding at the line that names the input, unless it stands in a file of its own."""
    rule = f"inputs.{name.replace('_', '-')}"
    message = f"{name.replace('_', ' ')}: {finding.message}"
    if not finding.file:
        finding = replace(finding, file=where.file, line=where.line, column=where.column)
    return replace(finding, rule=rule, message=message)


def _problem(name: str, path: str, facts: InputFacts) -> tuple[str, str] | None:
    """Why an input cannot be used, and what to do; missing dataset files are validation's."""
    if facts.entries is None:
        message = f"unknown: the manifest of `{path}` ({facts.content_id}) was not pushed"
        return message, f"next: dvc push {path}.dvc, on the machine that has it"
    if facts.missing and name != "dataset":
        message = f"{len(facts.missing)} of {len(facts.entries)} files of `{path}` were not pushed"
        return message, f"next: dvc push {path}.dvc, on the machine that has them"
    if name == "base_model":
        inside = {entry.path.partition("/")[0] for entry in facts.entries if "/" in entry.path}
        absent = [f"{part}/" for part in PARTS if part not in inside]
        if absent:
            message = f"`{path}` is no Stable Diffusion model in diffusers format: no " + ", ".join(
                absent
            )
            return message, "next: pipeline.save_pretrained(…) writes the folder that is expected"
    return None


def gather_changes(event: Event, facts: dict[str, LoraFacts], former: Former) -> ChangeSet:
    """What differs from before; it only explains, so what cannot be read explains nothing."""
    changes: dict[str, DatasetChange] = {}
    for lora in facts.values():
        for new in (lora.dataset, lora.references):
            if new is None or new.path in changes:
                continue
            try:
                old = former(new)
            except LoraCIError:
                old = None
            change = diff_inputs(old, new)
            if change:
                changes[new.path] = change
    return ChangeSet(base=event.base, head=event.head, datasets=tuple(changes.values()))
