"""What an event may have run: by whose push it is, and by what the repository's policy says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from lora_ci.config.model import Lora
from lora_ci.core.embedders import parse_embedder
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.settings import Policy
from lora_ci.core.step import Stage
from lora_ci.plan.globs import matches

SKIP = re.compile(r"\[(skip lora-ci|lora-ci skip)\]", re.IGNORECASE)
PUSHES = (EventKind.PUSH, EventKind.PULL_REQUEST)


class Right(StrEnum):
    """How far an event may go: nothing, validation on the CPU, or every stage."""

    NOTHING = "nothing"
    VALIDATE = "validate"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Allowed:
    """The right of an event; `why` is told of the stages it does not cover.

    `widens` is true where an approval would let everything run.
    """

    right: Right
    why: str = ""
    widens: bool = False

    def covers(self, stage: Stage) -> bool:
        """True if the stage may run."""
        return self.right is Right.EVERYTHING or (
            self.right is Right.VALIDATE and stage is Stage.VALIDATE
        )


def is_approved(event: Event, policy: Policy) -> bool:
    """True if somebody who may has said that it may run; nobody may for their own push."""
    others = [who for who in event.approvals if who != event.actor]
    return any(not policy.approvers or who in policy.approvers for who in others)


def decide_right(event: Event, policy: Policy) -> Allowed:
    """How far the event may go. The policy is the default branch's, never the push's own."""
    if event.trust is Trust.UNTRUSTED and not (
        policy.forks == "approve" and is_approved(event, policy)
    ):
        if policy.forks == "nothing":
            return Allowed(Right.NOTHING, "a foreign push gets nothing (`policy.forks: nothing`)")
        if policy.forks == "validate":
            return Allowed(
                Right.VALIDATE, "a foreign push gets validation only (`policy.forks: validate`)"
            )
        return Allowed(Right.VALIDATE, _waits(event, policy), widens=True)
    absent = [c for c in policy.required_checks if c not in event.passed_checks]
    if event.kind in PUSHES and absent:
        checks = ", ".join(f"`{name}`" for name in absent)
        return Allowed(Right.VALIDATE, f"waits for other checks to pass: {checks}")
    return Allowed(Right.EVERYTHING)


def forbidden_program(stage: Stage, lora: Lora, policy: Policy) -> str | None:
    """Why a stage may not run: its config names a program, which would do as it likes."""
    named = _programs(stage, lora)
    if not named or policy.commands:
        return None
    return (
        f"`{named[0]}` runs a program that the config names; "
        "`policy.commands` of the default branch does not allow that"
    )


def _programs(stage: Stage, lora: Lora) -> list[str]:
    """The settings that have a stage run what is not ours, as they are written."""
    named = []
    if stage is Stage.TRAIN and lora.train.backend != "native":
        named.append(f"train.backend: {lora.train.backend}")
    scanner = lora.validate.scanner
    if stage is Stage.VALIDATE and scanner and parse_embedder(scanner).runs_code:
        named.append("validate.content: exec:")
    embedder = parse_embedder(lora.qa.embedder)
    if stage in (Stage.QA, Stage.OPTIMIZE) and embedder.runs_code:
        named.append(f"qa.embedder: {embedder.kind}:")
    if stage is Stage.QA and lora.qa.safety is not None and "safety" not in lora.qa.skip:
        named.append("qa.safety: exec:")
    return named


def _waits(event: Event, policy: Policy) -> str:
    """Why an unapproved push waits, and who can end that."""
    who = ", ".join(policy.approvers) or "somebody who may push"
    if event.approvals:
        those = ", ".join(event.approvals)
        return f"{those} may not approve; validation only until one of {who} does"
    return f"an untrusted push gets validation only, until {who} approves it"


def skip_reason(event: Event, paths: tuple[str, ...], files: tuple[str, ...]) -> str | None:
    """Why a push is not looked at: it says so itself, or none of its files matches `paths`.

    Fingerprints see to it that what is skipped is caught up with by the next push. What is skipped
    passes, so a foreign push has no say in it.
    """
    if event.kind not in PUSHES:
        return None
    own = event.trust is Trust.TRUSTED
    if own and (match := SKIP.search(event.message)):
        return f"its message says {match[0]}"
    if paths and event.base and not any(matches(name, paths) for name in files):
        return f"none of the {len(files)} changed files matches `paths`"
    return None
