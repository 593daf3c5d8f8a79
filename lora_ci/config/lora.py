"""One LoRA below `loras:` → its values, one `Lora` for each combination of its matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_ci.config.backends import check_backend
from lora_ci.config.document import Node, Where
from lora_ci.config.inputs import read_base_model, read_sources
from lora_ci.config.kohya import is_train_file, train_settings
from lora_ci.config.language import GATE, NAME, SECTIONS, Prepare, WrittenConfig, WrittenLora
from lora_ci.config.matrix import Variant, expand
from lora_ci.config.measuring import check_measuring, check_scanning
from lora_ci.config.model import Lora, Source
from lora_ci.config.reading import Reading, hints_of, merge, nearest
from lora_ci.config.shards import check_shards
from lora_ci.config.texts import check_texts
from lora_ci.config.train_rules import check_train, note_idle, with_nearest_budget
from lora_ci.core.metrics import QA_METRICS
from lora_ci.core.settings import (
    DeploySettings,
    Policy,
    QaSettings,
    TrainSettings,
    ValidateSettings,
)
from lora_ci.core.shard import parse_shard


def read_lora(
    reading: Reading, name: str, node: Node, defaults: Mapping[str, Node], policy: Policy
) -> list[Lora]:
    """The LoRA, or its variants; none where something is wrong."""
    before = len(reading.findings)
    path = f"loras.{name}"
    if not NAME.fullmatch(name):
        message = f"`{name[:64]}` is no LoRA name"
        hint = "expected: small letters, digits, `.`, `_`, `-`, at most 64"
        reading.say("name", message, node.name_at, hint)
    elif parse_shard(name):
        message = f"`{name}` is what the shard of a LoRA is called"
        reading.say("name", message, node.name_at, "expected: a name without such an end")
    own = reading.mapping(node, path)
    refuse_keys(reading, own, path)
    merged = merge(defaults, own)
    merged = {key: value for key, value in merged.items() if key in hints_of(WrittenLora)}
    if "train" in merged:
        merged["train"] = with_nearest_budget(merged["train"], own.get("train"))
    if "prepare" in merged:
        reading.settings(Prepare, merged["prepare"], f"{path}.prepare")
        message = "`prepare` has no effect in this version"
        reading.note("no-effect", message, merged["prepare"].name_at)
    sources: tuple[Source, ...] = ()
    below: dict[str, Node] = {}
    if "dataset" in merged:
        sources, below = read_sources(reading, merged["dataset"], f"{path}.dataset")
    sections = {key: section(reading, merged.get(key), f"{path}.{key}", below) for key in SECTIONS}
    written = _Written(name, node, merged, sections, sources, own.get("train"), policy)
    variants = expand(reading, name, merged.get("matrix"), f"{path}.matrix")
    made = [build(reading, written, variant) for variant in variants]
    return [lora for lora in made if lora] if len(reading.findings) == before else []


@dataclass(frozen=True, slots=True)
class _Written:
    """A LoRA as it is written, `defaults` and files merged in; `own_train` without them."""

    name: str
    node: Node
    keys: Mapping[str, Node]
    sections: Mapping[str, Node]
    sources: tuple[Source, ...]
    own_train: Node | None
    policy: Policy


def refuse_keys(reading: Reading, own: Mapping[str, Node], path: str) -> None:
    """Unknown keys, and those of the whole repository."""
    known = hints_of(WrittenLora)
    outer = [key for key in own if key not in known and key in hints_of(WrittenConfig)]
    for key in outer:
        message = f"`{key}` holds for the whole repository"
        hint = f"write `{key}:` at the top of the file"
        reading.say("misplaced-key", message, own[key].name_at, hint)
    rest = {key: child for key, child in own.items() if key not in outer}
    reading.refuse_unknown(rest, known, path)


def section(reading: Reading, node: Node | None, path: str, below: Mapping[str, Node]) -> Node:
    """The mapping of a section, read from the file it names; kohya's keys in ours."""
    extra = below if path.endswith(".train") else {}
    if node is None:
        return Node(dict(extra), Where(reading.file))
    where, name = node.where, node.name_at
    if isinstance(node.value, str):
        reading.places[path] = where
        found = reading.document(node.value, where)
        node = found or Node({}, where)
        if path.endswith(".train") and is_train_file(node):
            return Node(train_settings(reading, node, extra), where, name)
        check_texts(reading, node)
    given = reading.mapping(node, path)
    return Node({**extra, **given}, where, name)


def build(reading: Reading, written: _Written, variant: Variant) -> Lora | None:
    """One LoRA with the values of its variant laid over."""
    before = len(reading.findings)
    path, name, node = f"loras.{variant.name}", written.name, written.node
    hints = hints_of(WrittenLora)
    reading.places[path] = node.where
    given = {**written.keys, **{k: v for k, v in variant.nodes.items() if "." not in k}}
    for key in [key for key in ("dataset", "base_model") if key not in given]:
        hint = f"next: add `{key}:` below `{name}:`"
        reading.say("missing-key", f"`loras.{name}` has no `{key}`", node.name_at, hint)
    values: dict[str, Any] = {"name": variant.name, "variant": variant.values, "trigger": name}
    values["dataset"] = written.sources
    values["variant_of"] = name if variant.values else None
    if "dataset" in given:
        reading.places[f"{path}.dataset"] = given["dataset"].where
    if "base_model" in given:
        values["base_model"] = read_base_model(reading, given["base_model"], f"{path}.base_model")
    for key in ("trigger", "type", "needs"):
        if key in given:
            values[key] = reading.value(hints[key], given[key], f"{path}.{key}")
    for key, kind in SECTIONS.items():
        inner = overlaid(written.sections[key], key, variant.nodes)
        if inner.where.line is not None:
            reading.places[f"{path}.{key}"] = inner.where
        values[key] = reading.settings(kind, inner, f"{path}.{key}")
        check_section(reading, values[key], inner, written, variant)
        if isinstance(values[key], TrainSettings):
            check_shards(reading, values[key], inner, variant.name)
    return Lora(**values) if len(reading.findings) == before else None


def check_section(
    reading: Reading,
    settings: object,
    node: Node,
    written: _Written,
    variant: Variant,
) -> None:
    """What a section must hold beyond its types."""
    if isinstance(settings, QaSettings):
        check_qa(reading, settings, node)
    elif isinstance(settings, ValidateSettings):
        check_scanning(reading, settings, node)
    elif isinstance(settings, DeploySettings):
        check_deploy(reading, settings, node, written.policy)
    elif isinstance(settings, TrainSettings):
        check_train(reading, settings, node, [s.path for s in written.sources])
        check_backend(reading, settings, node)
        note_train(reading, settings, written, variant)


def overlaid(section: Node, key: str, nodes: Mapping[str, Node]) -> Node:
    """The section with a variant's values in it."""
    mine = {k.partition(".")[2]: v for k, v in nodes.items() if k.startswith(f"{key}.")}
    if key == "train":
        section = with_nearest_budget(section, Node(dict(mine), section.where))
    if not mine or not isinstance(section.value, dict):
        return section
    return Node({**section.value, **mine}, section.where, section.key)


def note_train(reading: Reading, train: TrainSettings, written: _Written, variant: Variant) -> None:
    """Notes at what has no effect in the LoRA's own `train`; `defaults` are for others too."""
    own = written.own_train
    if own is not None and isinstance(own.value, str):
        own = reading.document(own.value, own.where)
    # Of kohya's files it is told where they are translated.
    if own is None or not isinstance(own.value, dict) or is_train_file(own):
        return
    varied = [key.partition(".")[2] for key in variant.nodes if key.startswith("train.")]
    note_idle(reading, train, own.value, varied)


def check_qa(reading: Reading, settings: QaSettings, node: Node) -> None:
    """Gates must be conditions, what is measured with must be known, paths must be ours."""
    if not isinstance(node.value, dict):
        return
    children = node.value
    gates = children.get("gates", node).value
    for metric, condition in settings.gates.items():
        if not GATE.fullmatch(condition) and isinstance(gates, dict):
            message = f'gate `{metric}: {condition[:60]}`: expected such as ">= 0.7"'
            reading.say("gate", message, gates[metric].where)
        elif metric not in QA_METRICS and isinstance(gates, dict):
            message = f"gate `{metric[:60]}`: nothing measures that, so it will never hold"
            reading.note("gate", message, gates[metric].where, nearest(metric, QA_METRICS))
    check_measuring(reading, settings, node)
    paths = {"references": settings.references, "compose_with": settings.compose_with}
    for key, path in paths.items():
        if path is not None:
            reading.inside_repository(path, children.get(key, node).where)


def check_deploy(reading: Reading, settings: DeploySettings, node: Node, policy: Policy) -> None:
    """The license must be one that the repository's policy allows."""
    if not policy.licenses or not isinstance(node.value, dict):
        return
    allowed = ", ".join(f"`{name}`" for name in policy.licenses)
    if settings.license is None and settings.targets:
        message = f"`deploy` has no `license`; `policy.licenses` allows {allowed}"
        reading.say("license", message, node.value["targets"].name_at)
    elif settings.license is not None and settings.license not in policy.licenses:
        where = node.value["license"].where
        message = f"license `{settings.license[:60]}`: `policy.licenses` allows {allowed}"
        reading.say("license", message, where)
