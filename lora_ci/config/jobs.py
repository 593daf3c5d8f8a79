"""A list of jobs, each a LoRA made of folders → `Config`, or every error in it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from lora_ci.config.document import Node, Where, bounded, parse_yaml
from lora_ci.config.language import MAX_LORAS, WrittenLora
from lora_ci.config.load import check_version, read_loras, told_once
from lora_ci.config.model import VERSION, Config, Lora
from lora_ci.config.reading import Reading, hints_of, shown
from lora_ci.config.texts import check_texts
from lora_ci.config.work_tree import read_file
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding
from lora_ci.core.settings import Policy

# What else may be wrong with a job.
Check = Callable[[Reading, Lora], None]

# Room for as many jobs as are allowed.
MAX_BYTES = 10_000_000
TOP = ("version", "defaults", "jobs")
EXAMPLE = "expected such as: jobs: [{name: mei, dataset: pictures/mei, base_model: models/sd15}]"
# Releases are made of tags, and a batch has none.
WITHOUT = ("deploy", "prepare")
# What a config says of a repository, in the words of who has none.
WORDS = {
    "`loras.": "`jobs.",
    "no key of loras.": "no key of jobs.",
    "leads out of the repository": "leads out of the folder that the file of jobs is in",
    "is not in this commit": "is not there",
    "is no LoRA name": "is no name of a job",
    "next: git add ": "next: write ",
}


def read_jobs(path: Path, check: Check = lambda *_: None) -> Config:
    """The jobs of a file as it lies there; each is a LoRA of the config.

    `check` looks at each job that can be read, and says what else is wrong with it.

    Raises:
        UsageError: with one finding for each thing that is wrong, at most 100.
    """
    text = _text(path)
    reading = Reading(path.name, partial(read_file, path.parent))
    root = parse_yaml(text, path.name, MAX_BYTES)
    config = _config(reading, root)
    for lora in config.loras.values():
        check(reading, lora)
    check_texts(reading, root)
    if reading.findings:
        findings = [_worded(f) for f in told_once(reading.findings, path.name)]
        raise UsageError(findings[0].message, findings=bounded(findings))
    return config


def _text(path: Path) -> bytes:
    """What the file holds, or just more of it than is allowed."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", hint=EXAMPLE) from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder", hint=f"next: ls {path}/*.yml") from error


def _config(reading: Reading, root: Node) -> Config:
    listed = isinstance(root.value, list)
    top = {"jobs": root} if listed else reading.mapping(root, "the file of jobs", TOP)
    if not listed and root.value and not isinstance(root.value, dict):
        return Config(loras={}, places={})
    check_version(reading, top.get("version", Node(VERSION, root.where)), root.where)
    defaults = _as_lora(reading, top.get("defaults"), "defaults", named=False)
    given = _by_name(reading, top.get("jobs"), root)
    loras = {
        name: Node(_as_lora(reading, node, f"jobs.{name}"), node.where, node.key)
        for name, node in given.items()
    }
    where = top["jobs"].name_at if "jobs" in top else root.where
    written = {"loras": Node(dict(loras), where), "defaults": Node(defaults, where)}
    return Config(
        loras=read_loras(reading, written, root, Policy()) if loras else {},
        places=reading.places,
        notes=tuple(sorted(reading.notes, key=lambda note: note.line or 0)),
    )


def _by_name(reading: Reading, jobs: Node | None, root: Node) -> dict[str, Node]:
    """The jobs by name; `key` of each is where its name stands."""
    if jobs is None or jobs.value in (None, []):
        reading.say("no-jobs", "there is no job in the list", (jobs or root).where, EXAMPLE)
        return {}
    if not isinstance(jobs.value, list):
        reading.say("value", f"`jobs` is {shown(jobs)}: expected a list", jobs.where, EXAMPLE)
        return {}
    if len(jobs.value) > MAX_LORAS:
        message = f"{len(jobs.value):,} jobs; at most {MAX_LORAS:,} in one file"
        reading.say("too-many", message, jobs.where, "next: split the file, say by base model")
        return {}
    found: dict[str, Node] = {}
    for number, node in enumerate(jobs.value, 1):
        named = _name(reading, node, number)
        if named is None:
            continue
        name, where = named
        if name in found:
            first = found[name].name_at.line
            message = f"two jobs are called `{name[:64]}` (the first in line {first})"
            reading.say("duplicate-name", message, where, "rename one of them")
        else:
            found[name] = Node(node.value, node.where, where)
    return found


def _name(reading: Reading, node: Node, number: int) -> tuple[str, Where] | None:
    """What a job is called, and where; None, and an error, where it is not."""
    if not isinstance(node.value, dict):
        message = f"job {number} is {shown(node)}: expected keys and values"
        reading.say("value", message, node.where, EXAMPLE)
        return None
    name = node.value.get("name")
    if name is None:
        reading.say("missing-key", f"job {number} has no `name`", node.where, "next: add `name:`")
        return None
    if not isinstance(name.value, str):
        message = f"`name` is {shown(name)}: expected a text"
        reading.say("value", message, name.where, "next: put it in quotes")
        return None
    return name.value, name.where


def _as_lora(
    reading: Reading, node: Node | None, what: str, *, named: bool = True
) -> dict[str, Node]:
    """The keys of a job as those of a LoRA in a config: references are part of `qa` there."""
    known = [*(["name"] if named else []), *hints_of(WrittenLora), "references"]
    known = [key for key in known if key not in WITHOUT]
    keys = dict(reading.mapping(node, what, known))
    keys.pop("name", None)
    references = keys.pop("references", None)
    if references is None:
        return keys
    qa = keys.get("qa", Node({}, references.where))
    if not isinstance(qa.value, dict):
        message = "`references` stands beside a `qa` that is a file"
        hint = "next: write `references:` in that file"
        reading.say("misplaced-key", message, references.name_at, hint)
    elif "references" in qa.value:
        message = "`references` and `qa.references` are the same"
        reading.say("duplicate-key", message, references.name_at, "remove one of them")
    else:
        keys["qa"] = Node({**qa.value, "references": references}, qa.where, qa.key)
    return keys


def _worded(finding: Finding) -> Finding:
    message, hint = finding.message, finding.hint
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
        hint = hint.replace(theirs, ours) if hint else None
    return replace(finding, message=message, hint=hint)
