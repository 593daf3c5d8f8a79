"""Config and a way to look at inputs → the facts of every LoRA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.document import Where
from lora_ci.config.model import Config, HubModel, Lora
from lora_ci.core.changeset import FileEntry, kind_of
from lora_ci.core.digest import sha256_json
from lora_ci.core.embedders import EmbedderKind, EmbedderSpec, parse_embedder
from lora_ci.core.errors import InputError
from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.families import missing_parts
from lora_ci.plan.facts import LoraFacts
from lora_ci.training.data import count_held_out

# What stands at a path now. Raises InputError if nothing does.
Resolve = Callable[[str], InputFacts]
HUB = "hub"
# What a dataset is scanned with: of a foreign push that must not be the push's own.
SCANNING = ("scanner", "rules")


def gather(config: Config, resolve: Resolve, ruling: Resolve | None = None) -> dict[str, LoraFacts]:
    """Looks at the inputs of every LoRA; one that several LoRAs share is looked at once.

    `ruling` looks where what scans datasets is taken from, if that is another place.
    """
    once, rules = cache(resolve), cache(ruling or resolve)
    return {name: gather_lora(lora, config, once, rules) for name, lora in config.loras.items()}


def gather_lora(lora: Lora, config: Config, resolve: Resolve, ruling: Resolve) -> LoraFacts:
    """The inputs of one LoRA; what cannot be used becomes a finding at its line in the config."""
    findings: list[Finding] = []

    def look(name: str, path: str, where: Where) -> InputFacts | None:
        try:
            facts = ruling(path) if name in SCANNING else resolve(path)
        except InputError as error:
            findings.extend(_at(finding, name, where) for finding in error.findings)
            return None
        written = {"embedder": lora.qa.embedder, "scanner": lora.validate.scanner}.get(name)
        spec = parse_embedder(written) if written else None
        if problem := _problem(name, path, facts) or (spec and _embedder_problem(spec, facts)):
            message, hint = problem
            finding = Finding(rule="", severity=Severity.ERROR, message=message, hint=hint)
            findings.append(_at(finding, name, where))
        return facts

    top = f"loras.{lora.name}"
    # As the trainer orders paths.
    wanted = sorted(lora.dataset, key=lambda source: source.path.split("/"))
    sources = [look("dataset", s.path, config.where(f"{top}.dataset")) for s in wanted]
    whole = [source for source in sources if source is not None]
    others = {
        name: look(name, path, config.where(f"{top}.{key}"))
        for name, (key, path) in further_paths(lora).items()
    }
    if isinstance(lora.base_model, HubModel):
        base: InputFacts | None = hub_facts(lora.base_model)
    else:
        base = look("base_model", lora.base_model, config.where(f"{top}.base_model"))
    embedder = others.get("embedder")
    if (named := parse_embedder(lora.qa.embedder).hub) is not None:
        embedder = hub_facts(HubModel(hub=named[0], revision=named[1]))
    scanner = others.get("scanner")
    if lora.validate.scanner and (hub := parse_embedder(lora.validate.scanner).hub):
        scanner = hub_facts(HubModel(hub=hub[0], revision=hub[1]))
    if len(whole) == len(sources) and (problem := too_few_images(lora, whole)):
        where = config.where(f"{top}.train.shards")
        findings.append(replace(problem, file=where.file, line=where.line, column=where.column))
    return LoraFacts(
        dataset=together(whole) if len(whole) == len(sources) else None,
        base_model=base,
        references=others.get("references"),
        embedder=embedder,
        companion=others.get("companion"),
        regularization=others.get("regularization"),
        scanner=scanner,
        rules=others.get("rules"),
        sources=tuple(whole),
        repeats=tuple(source.repeats for source in wanted),
        findings=tuple(findings),
    )


def too_few_images(lora: Lora, sources: list[InputFacts]) -> Finding | None:
    """The error of a LoRA of which a shard would have no image to learn from."""
    shards, counts = lora.train.shards, [source.entries for source in sources]
    if shards == 1 or None in counts:
        return None
    images = sum(kind_of(e.path) == "image" for entries in counts for e in entries or ())
    held = count_held_out(images, lora.train.validation_share)
    if images - held >= shards:
        return None
    besides = f" beside {held} held out" if held else ""
    return Finding(
        rule="inputs.shards",
        severity=Severity.ERROR,
        message=f"`shards: {shards}`: {images - held} images in the dataset{besides}",
        hint=f"next: `shards` of at most {max(1, images - held)}, or more images",
    )


def together(sources: list[InputFacts]) -> InputFacts:
    """All sources, sorted by path, as one input: files below the paths of their sources.

    The identity holds no path, but the order that paths give: a dataset that moves stays what it
    is, and the order of its images too.
    """
    if len(sources) == 1:
        return sources[0]
    entries = [
        FileEntry(path=f"{source.path}/{entry.path}", content_id=entry.content_id)
        for source in sources
        for entry in source.entries or ()
    ]
    known = all(source.entries is not None for source in sources)
    return InputFacts(
        path="",
        tracked_by="sources",
        content_id="sources:" + sha256_json([source.content_id for source in sources]),
        entries=tuple(entries) if known else None,
        missing=tuple(f"{s.path}/{name}" for s in sources for name in s.missing),
    )


def hub_facts(model: HubModel) -> InputFacts:
    """A model on the hub: its commit is its content; its files come when they are needed."""
    content = f"hf:{model.hub}@{model.revision}"
    return InputFacts(path=model.hub, tracked_by=HUB, content_id=content, entries=())


def further_paths(lora: Lora) -> dict[str, tuple[str, str]]:
    """Key below the LoRA and path of what it trains and is measured with, by the inputs' names."""
    paths = {
        "references": ("qa.references", lora.qa.references),
        "embedder": ("qa.embedder", parse_embedder(lora.qa.embedder).path),
        "companion": ("qa.compose_with", lora.qa.compose_with),
        "regularization": ("train.regularization", lora.train.regularization),
        "rules": ("validate.yara", lora.validate.yara),
    }
    if lora.validate.scanner:
        paths["scanner"] = ("validate.content", parse_embedder(lora.validate.scanner).path)
    return {name: (key, path) for name, (key, path) in paths.items() if path is not None}


def input_paths(lora: Lora) -> list[str]:
    """Every path of the repository that a LoRA's config names."""
    base = [] if isinstance(lora.base_model, HubModel) else [lora.base_model]
    further = [path for _, path in further_paths(lora).values()]
    return [*(source.path for source in lora.dataset), *base, *further]


def _at(finding: Finding, name: str, where: Where) -> Finding:
    """The finding at the line that names the input, unless it stands in a file of its own."""
    rule = f"inputs.{name.replace('_', '-')}"
    message = f"{name.replace('_', ' ')}: {finding.message}"
    if not finding.file:
        finding = replace(finding, file=where.file, line=where.line, column=where.column)
    return replace(finding, rule=rule, message=message)


def _embedder_problem(spec: EmbedderSpec, facts: InputFacts) -> tuple[str, str] | None:
    """Why an embedder cannot be opened, as far as the names of its files tell."""
    names = {entry.path for entry in facts.entries or ()}
    if spec.kind is not EmbedderKind.PATH:
        if len(names) == 1:
            return None
        return f"`{spec.target}` has {len(names)} files; expected one", "next: name the file itself"
    hint = "next: model.save_pretrained(…) and processor.save_pretrained(…) write what is expected"
    if "config.json" not in names:
        return f"`{spec.target}` is no model in transformers format: no config.json", hint
    if not any(name.endswith(".safetensors") for name in names):
        return f"`{spec.target}` has no weights as safetensors", hint
    return None


def _problem(name: str, path: str, facts: InputFacts) -> tuple[str, str] | None:
    """Why an input cannot be used, and what to do; missing dataset files are validation's."""
    pointer = facts.pointer or f"{path}.dvc"
    if facts.entries is None:
        message = f"unknown: the manifest of `{path}` ({facts.content_id}) was not pushed"
        return message, f"next: dvc push {pointer}, on the machine that has it"
    if facts.missing and name != "dataset":
        message = f"{len(facts.missing)} of {len(facts.entries)} files of `{path}` were not pushed"
        return message, f"next: dvc push {pointer}, on the machine that has them"
    if name == "regularization" and not any(kind_of(e.path) == "image" for e in facts.entries):
        return f"no image in `{path}`", "next: put images of the class there, with captions"
    if name == "base_model":
        inside = {entry.path.partition("/")[0] for entry in facts.entries if "/" in entry.path}
        absent = [f"{part}/" for part in missing_parts(inside)]
        if absent:
            message = f"`{path}` is no Stable Diffusion model in diffusers format: no " + ", ".join(
                absent
            )
            return message, "next: pipeline.save_pretrained(…) writes the folder that is expected"
    return None
