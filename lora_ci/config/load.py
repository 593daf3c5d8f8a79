"""The config file → `Config`, or every error in it at once."""

from __future__ import annotations

from lora_ci.config.document import Node, Where, bounded, parse_yaml
from lora_ci.config.globs import check_glob
from lora_ci.config.language import (
    MAX_LORAS,
    SECTIONS,
    Notify,
    Runner,
    Url,
    WrittenConfig,
)
from lora_ci.config.lora import read_lora, refuse_keys
from lora_ci.config.model import FILE_NAME, VERSION, Config, Lora
from lora_ci.config.needs import resolve_needs
from lora_ci.config.reading import ReadFile, Reading, hints_of
from lora_ci.config.texts import check_texts
from lora_ci.config.train_rules import check_budget
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding
from lora_ci.core.settings import Policy


def load_config(text: bytes, file: str = FILE_NAME, read: ReadFile = lambda _: None) -> Config:
    """The config in `text`; `read` gives other files of the same commit.

    Raises:
        UsageError: with one finding for each thing that is wrong, at most 100.
    """
    reading = Reading(file, read)
    root = parse_yaml(text, file)
    config = read_config(reading, root)
    check_texts(reading, root)
    if reading.findings:
        findings = told_once(reading.findings, file)
        raise UsageError(findings[0].message, findings=bounded(findings))
    return config


def read_config(reading: Reading, root: Node) -> Config:
    """The config of a document; complete only if the reading has no findings."""
    hints = hints_of(WrittenConfig)
    top = reading.mapping(root, "the config", hints)
    check_version(reading, top.get("version"), root.where)
    policy = reading.settings(Policy, top.get("policy"), "policy") or Policy()
    paths = reading.value(hints["paths"], top["paths"], "paths") if "paths" in top else ()
    for i, glob in enumerate(paths or ()):
        check_glob(reading, glob, _item(top["paths"], i))
    check_unused(reading, top)
    return Config(
        loras=read_loras(reading, top, root, policy),
        places=reading.places,
        policy=policy,
        paths=paths or (),
        notes=tuple(sorted(reading.notes, key=lambda note: note.line or 0)),
    )


def check_unused(reading: Reading, top: dict[str, Node]) -> None:
    """`notify` and `runners` must be right already; a note says that they do nothing yet."""
    receivers = top.get("notify", Node([], Where(reading.file)))
    if isinstance(receivers.value, list):
        for item in receivers.value:
            if isinstance(item.value, dict):
                reading.settings(Notify, item, "notify")
            else:
                reading.value(Url, item, "notify")
    else:
        reading.value(tuple[str, ...], receivers, "notify")
    for name, node in reading.mapping(top.get("runners"), "runners").items():
        reading.settings(Runner, node, f"runners.{name}")
    for key in top.keys() & {"notify", "runners"}:
        message = f"`{key}` has no effect in this version"
        reading.note("no-effect", message, top[key].name_at)


def check_version(reading: Reading, node: Node | None, root: Where) -> None:
    """`version: 1`, and what to do about another."""
    if node is None:
        hint = f"next: write `version: {VERSION}` in the first line"
        reading.say("version", f"`version` is missing; expected `version: {VERSION}`", root, hint)
    elif type(node.value) is int and node.value > VERSION:
        message = f"version {node.value} is not known to this lora-ci; it reads {VERSION}"
        reading.say("version", message, node.where, "next: pip install --upgrade lora-ci")
    elif type(node.value) is not int or node.value != VERSION:
        message = f"`version` is {node.plain()!r:.60}; expected `version: {VERSION}`"
        reading.say("version", message, node.where)


def read_loras(
    reading: Reading, top: dict[str, Node], root: Node, policy: Policy
) -> dict[str, Lora]:
    """All LoRAs by name, the variants of matrices among them."""
    defaults = reading.mapping(top.get("defaults"), "defaults")
    refuse_keys(reading, defaults, "defaults")
    for key in SECTIONS:
        if key in defaults and isinstance(defaults[key].value, dict):
            reading.settings(SECTIONS[key], defaults[key], f"defaults.{key}")
    check_budget(reading, defaults.get("train"))
    given = reading.mapping(top.get("loras"), "loras")
    where = top["loras"].name_at if "loras" in top else root.where
    if len(given) > MAX_LORAS:
        reading.say("too-many", f"{len(given)} LoRAs; at most {MAX_LORAS}", where)
        return {}
    if "loras" not in top or top["loras"].value in (None, {}):
        hint = "write one under `loras:`, or: lora-ci init"
        reading.say("no-loras", "no LoRA is configured", where, hint)
    variants: dict[str, list[str]] = {}
    found: dict[str, Lora] = {}
    for name, node in given.items():
        loras = read_lora(reading, name, node, defaults, policy)
        variants[name] = [lora.name for lora in loras]
        for lora in loras:
            if lora.name in found or (lora.name != name and lora.name in given):
                message = f"the matrix of `{name}` makes another LoRA `{lora.name}`"
                reading.say("duplicate-name", message, node.name_at, "rename one of them")
            found[lora.name] = lora
        if len(found) > MAX_LORAS:
            reading.say("too-many", f"more than {MAX_LORAS} LoRAs with their matrices", where)
            return {}
    return resolve_needs(reading, given, defaults, found, variants)


def told_once(findings: list[Finding], file: str) -> list[Finding]:
    """By place, the config itself first; an error in `defaults` is not said for each LoRA."""
    first: dict[object, Finding] = {}
    for finding in findings:
        where = (finding.file, finding.line, finding.column)
        first.setdefault((finding.rule, where, finding.hint), finding)
    return sorted(
        first.values(),
        key=lambda f: (f.file != file, f.file or "", f.line or 0, f.column or 0),
    )


def _item(node: Node, index: int) -> Where:
    return node.value[index].where if isinstance(node.value, list) else node.where
