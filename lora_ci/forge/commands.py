"""Comments → what people ask for: `/lora-ci run mei`. Pure; a comment is foreign text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lora_ci.plan.tags import ReleaseTag, parse_tag

WORD = "/lora-ci"
# Our own comments carry it on a line of its own; they never ask for anything.
MARKER = "<!-- lora-ci"
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
LORA = re.compile(r"[a-z0-9][a-z0-9._-]*")
# All of it: for a short one, whoever wrote the commit can make another that fits.
SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
MAX_LORAS = 100


class Verb(StrEnum):
    """What can be asked for."""

    RUN = "run"
    RETRAIN = "retrain"
    CANCEL = "cancel"
    APPROVE = "approve"
    DEPLOY = "deploy"
    STATUS = "status"
    HELP = "help"


USAGE = {
    Verb.RUN: "run [lora …]",
    Verb.RETRAIN: "retrain [lora …]",
    Verb.CANCEL: "cancel",
    Verb.APPROVE: "approve <commit>",
    Verb.DEPLOY: "deploy <lora>@v<version>",
    Verb.STATUS: "status",
    Verb.HELP: "help",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: `loras` are empty for all, `tag` is what `deploy` names.

    `problem` says why what was typed is none; its verb is `help` then.
    """

    verb: Verb
    loras: tuple[str, ...] = ()
    sha: str | None = None
    tag: str | None = None
    problem: str | None = None


def parse_command(body: str) -> Command | None:
    """The first command of a comment, outside code and quotes; None if it has none."""
    lines = body.replace("\r\n", "\n").split("\n")
    if any(line.startswith(MARKER) for line in lines):
        return None
    fence, hidden = "", False
    for line in lines:
        mark = FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif hidden or "<!--" in line:
            hidden = "-->" not in line.rpartition("<!--")[2]
        elif mark:
            fence = mark[1]
        elif line == WORD or line.startswith((f"{WORD} ", f"{WORD}\t")):
            return _parse(line.split()[1:])
    return None


def _parse(words: list[str]) -> Command:
    if not words:
        return Command(verb=Verb.HELP)
    try:
        verb = Verb(words[0].lower())
    except ValueError:
        return _bad(f"there is no command `{words[0]}`")
    rest = words[1:]
    match verb:
        case Verb.RUN | Verb.RETRAIN:
            return _for_loras(verb, rest)
        case Verb.APPROVE:
            if len(rest) != 1 or not SHA.fullmatch(rest[0].lower()):
                return _bad(
                    "`approve` needs the whole id of the commit, as lora-ci's comment has it"
                )
            return Command(verb=verb, sha=rest[0].lower())
        case Verb.DEPLOY:
            tag = parse_tag(rest[0]) if len(rest) == 1 else None
            if not isinstance(tag, ReleaseTag):
                return _bad("`deploy` needs a LoRA and a version, such as `mei@v1.2.0`")
            return Command(verb=verb, loras=(tag.lora,), tag=rest[0])
        case Verb.CANCEL | Verb.STATUS | Verb.HELP:
            return _bad(f"`{verb}` takes nothing else") if rest else Command(verb=verb)


def _for_loras(verb: Verb, names: list[str]) -> Command:
    if len(names) > MAX_LORAS:
        return _bad(f"{len(names)} LoRAs are named; at most {MAX_LORAS} can be")
    for name in names:
        if not LORA.fullmatch(name):
            return _bad(f"`{name}` cannot be the name of a LoRA")
    return Command(verb=verb, loras=tuple(dict.fromkeys(names)))


def _bad(problem: str) -> Command:
    return Command(verb=Verb.HELP, problem=problem)
