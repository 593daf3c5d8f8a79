"""A step: `spec.json` in, `result.json` and artifacts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from lora_ci.core.artifact import Artifact
from lora_ci.core.finding import Finding


class Stage(StrEnum):
    """The stages of a LoRA, in order. `prepare` joins the chain with the builder and captioner."""

    VALIDATE = "validate"
    TRAIN = "train"
    QA = "qa"
    OPTIMIZE = "optimize"
    DEPLOY = "deploy"


class Outcome(StrEnum):
    """How a step ended. `error`: ours or the machine's fault, retried; `failed`: the input's."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    INTERRUPTED = "interrupted"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInput:
    """One input of a step: a file or folder at `path`, or an artifact `sha256` in the store.

    `content_id` is the identity that entered the fingerprint (DVC md5, git tree, sha256),
    `shown_as` is what the user calls it.
    """

    content_id: str
    path: str | None = None
    sha256: str | None = None
    shown_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a step needs from a machine, or from each of several `nodes`."""

    gpus: int = 0
    nodes: int = 1
    vram_gib: float = 0.0
    timeout_s: float = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """All that a step may know. `params` is the JSON form of the stage's settings value."""

    stage: Stage
    lora: str
    fingerprint: str
    inputs: Mapping[str, StepInput]
    params: Mapping[str, Any]
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step found and made. `details` holds JSON the report renders (plots, tables)."""

    outcome: Outcome
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    findings: tuple[Finding, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def artifact(self, name: str) -> Artifact | None:
        """The artifact called `name`, if the step made one."""
        return next((a for a in self.artifacts if a.name == name), None)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running step is."""

    done: int
    total: int
    note: str


class StepContext(Protocol):
    """What a running step is given by its runner. A step touches nothing else of the world."""

    @property
    def workdir(self) -> Path:
        """Scratch folder that outlives a killed attempt of the same fingerprint (checkpoints)."""
        ...

    @property
    def cache(self) -> Path:
        """Folder of content-addressed caches that steps and runs share (latents, base images)."""
        ...

    def input_path(self, name: str) -> Path:
        """Where the input lies on this machine. Raises InputError if the spec has none."""
        ...

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        """Puts a file into the store and returns it as an artifact of this step."""
        ...

    def progress(self, done: int, total: int, note: str) -> None:
        """Tells a watching person how far the step is; cheap, call it as often as you like."""
        ...

    def stop_requested(self) -> bool:
        """True after SIGTERM or SIGINT: save, then raise Interrupted."""
        ...
