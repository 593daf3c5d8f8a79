"""A plan: for each stage of each LoRA, what to do and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lora_ci.core.changeset import ChangeSet
from lora_ci.core.finding import Finding
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.step import Stage, StepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The result kept under a fingerprint."""

    fingerprint: str
    stage: Stage
    lora: str
    parts: dict[str, str]
    result: StepResult
    run_id: str
    commit: str
    finished_at: str


class Action(StrEnum):
    """What a plan does with a stage: `wait` until the stage before it has an output."""

    REUSE = "reuse"
    RUN = "run"
    WAIT = "wait"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What something costs in GPU-hours, as a range, and what the range rests on."""

    low: float
    high: float
    basis: str

    @property
    def expected(self) -> float:
        """The middle of the range, which budgets count with."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision for one stage of one LoRA, explained in one line (`why`).

    `fingerprint` is None while it depends on an output that does not exist yet (`wait`);
    `record` is the reused record; `estimate` stands where a GPU will be needed. `after` is the
    LoRA whose step this one is the same as, or goes on from.
    """

    lora: str
    stage: Stage
    action: Action
    why: str
    fingerprint: Fingerprint | None = None
    record: Record | None = None
    estimate: Estimate | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A LoRA that a matrix made: `of` is the name in the config, `values` by path of the key."""

    lora: str
    of: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """How many trainings a rule saves, in words."""

    rule: str
    trainings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How many trainings the configurations of a matrix come to, and which rules save the others.

    `apart` says why no longer budget continues a shorter one, None where they do or there is one
    budget only.
    """

    of: str
    configurations: int
    trainings: int
    saved: tuple[Saving, ...]
    apart: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All decisions for one commit.

    `estimate` is what they cost together, None where no GPU is needed. `skipped` says why nothing
    is looked at, as the push itself wished. `awaits_approval` is true where an approval of this
    commit would let blocked stages run; `releasable` names the LoRAs that a tag may release once
    they have passed. `left_out` names the LoRAs that nobody asked for this time and that are not
    known to pass. `variants` are the LoRAs that matrices made, `sharing` what they come to.
    """

    head: str
    decisions: tuple[Decision, ...]
    changes: ChangeSet
    findings: tuple[Finding, ...] = field(default=())
    estimate: Estimate | None = None
    skipped: str | None = None
    awaits_approval: bool = False
    releasable: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    sharing: tuple[Sharing, ...] = ()

    def of(self, lora: str) -> tuple[Decision, ...]:
        """The decisions of one LoRA, in stage order."""
        return tuple(d for d in self.decisions if d.lora == lora)

    def to_run(self) -> tuple[Decision, ...]:
        """The decisions that run now."""
        return tuple(d for d in self.decisions if d.action is Action.RUN)
