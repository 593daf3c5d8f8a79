"""What steps tell in `details` → values. A border: result files are written by other machines.

What is absent is None or empty; what is there in another shape is named in `unreadable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from lora_ci.core.step import Outcome, Stage, StepResult

T = TypeVar("T")

# Wide enough for every metric, and narrow enough that charts can count with it.
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
FileName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
Count = Annotated[int, Meta(ge=0, le=10**12)]
# (x, y) points; y is None where it was no finite number.
Curve = tuple[tuple[Number, Number | None], ...]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval over `n` prompts; an end that is not known is None."""

    mean: Number
    low: Number | None = None
    high: Number | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """The mean of the tests. `score` is None where one of them could not be measured."""

    score: Number | None = None
    low: Number | None = None
    high: Number | None = None
    pass_mark: Annotated[float, Meta(ge=0, le=1)] = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One test from 0 to 1; None where it could not be measured. `why` has the raw figures."""

    name: str
    score: Number | None = None
    low: Number | None = None
    high: Number | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition on a metric and how it came out."""

    metric: str
    condition: str
    outcome: Outcome
    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Likeness to the held-out references; of the references, to each other."""

    base: Interval | None = None
    adapter: Interval | None = None
    references: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """New less released adapter in a metric, on the same prompts and seeds."""

    metric: str
    difference: Number
    low: Number | None = None
    high: Number | None = None
    pairs: int | None = None
    released_version: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A test beside the five: `sound` is None where it was not measured or says nothing.

    `skipped`: the config turned it off. `metric` names the figure that it comes down to.
    """

    name: str
    metric: str = ""
    sound: bool | None = None
    skipped: bool = False
    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A generated picture and the training picture that it is most like; both are artifacts."""

    artifact: str
    twin: str
    similarity: Number
    prompt: str = ""
    seed: int | None = None
    copied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The weights at which an adapter is good, of those tried; None where it is at none."""

    low: Number | None = None
    high: Number | None = None
    recommended: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the pictures of so many seeds a prompt, and how much error it may make."""

    seeds: Count
    error: Number
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """How pictures were made."""

    steps: Count
    guidance: Number
    resolution: Count
    precision: str = ""
    rescale: Number = 0.0
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A picture that QA kept as `artifact`, and how it was made.

    `strength`: the adapter at another weight; `composed`: with a second adapter beside it.
    `likeness`: how near to the references the judge places it.
    """

    kind: Literal["base", "adapter", "released", "reference", "training", "strength", "composed"]
    prompt: str
    artifact: str
    seed: int | None = None
    weight: Number | None = None
    likeness: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """What the adapter does at a weight."""

    weight: Number
    clean: Number
    identity: Number | None = None
    score: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A released file; the name is a plain one, so that it can be a file's."""

    name: FileName
    sha256: Sha256
    size: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel in a target, the version that it names and how often it moved."""

    name: str
    version: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTarget:
    """A store that has the release."""

    name: str
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a deployment released, and where to."""

    version: str
    targets: tuple[ReleaseTarget, ...] = ()
    key_id: str | None = None
    files: tuple[ReleaseFile, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that name this version in some target."""
        names = (
            channel.name
            for target in self.targets
            for channel in target.channels
            if channel.version == self.version
        )
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a dataset holds: how many captions have a word, how many findings are of a rule."""

    words: tuple[tuple[str, Number], ...] = ()
    rules: Mapping[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How a batch was computed: `rows` images at once; `checkpointing`: activations twice."""

    rows: Count
    checkpointing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All that the stages tell; a result fills the part of its stage."""

    overall: Overall | None = None
    tests: tuple[Score, ...] = ()
    gates: tuple[Gate, ...] = ()
    similarity: Similarity | None = None
    comparison: Comparison | None = None
    checks: tuple[Check, ...] = ()
    pairs: tuple[Pair, ...] = ()
    window: Window | None = None
    looks: tuple[Look, ...] = ()
    settle: tuple[str, ...] = ()
    error: float | None = None
    sampler: Sampler | None = None
    trigger: str | None = None
    pictures: tuple[Exhibit, ...] = ()
    embedder: str | None = None
    embedder_license: str | None = None
    ruler: str | None = None
    weight: float | None = None
    seeds: int | None = None
    most_seeds: int | None = None
    curve: tuple[Strength, ...] = ()
    release: Release | None = None
    loss: Curve = ()
    validation_loss: Curve = ()
    learning_rate: Curve = ()
    memory: Memory | None = None
    device: str | None = None
    processes: int | None = None
    precision: str | None = None
    optimizer: str | None = None
    backend: Mapping[str, str] = field(default_factory=dict)
    buckets: Mapping[str, int] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    statistics: Statistics | None = None
    traceback: str | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """True if QA came as far as scores."""
        return self.overall is not None or bool(self.tests)

    @property
    def weakest(self) -> Score | None:
        """The test that holds the mean down: one that is not measured, else the lowest."""
        return min(self.tests, key=lambda t: (t.score is not None, t.score or 0.0), default=None)


NOTHING = Details()
TRACEBACK: dict[str, Any] = {"traceback": str}
SECTIONS: dict[Stage, dict[str, Any]] = {
    Stage.VALIDATE: {"statistics": Statistics},
    Stage.TRAIN: {
        "loss": Curve,
        "validation_loss": Curve,
        "learning_rate": Curve,
        "memory": Memory,
        "device": str,
        "processes": Count,
        "precision": str,
        "optimizer": str,
        "backend": dict[str, str],
        "buckets": dict[str, Count],
        "prompts": tuple[str, ...],
    },
    Stage.QA: {
        "overall": Overall,
        "tests": tuple[Score, ...],
        "gates": tuple[Gate, ...],
        "similarity": Similarity,
        "comparison": Comparison,
        "checks": tuple[Check, ...],
        "pairs": tuple[Pair, ...],
        "window": Window,
        "curve": tuple[Strength, ...],
        "looks": tuple[Look, ...],
        "settle": tuple[str, ...],
        "error": Number,
        "sampler": Sampler,
        "trigger": str,
        "pictures": tuple[Exhibit, ...],
        "embedder": str,
        "embedder_license": str,
        "ruler": str,
        "weight": Number,
        "seeds": int,
        "most_seeds": int,
    },
    Stage.OPTIMIZE: {"curve": tuple[Strength, ...]},
    Stage.DEPLOY: {},
}


def read_details(stage: Stage, result: StepResult | None) -> Details:
    """The details of a result of `stage`, each section on its own; never raises."""
    if result is None:
        return NOTHING
    found: dict[str, Any] = {}
    unreadable = []
    given = dict(result.details)
    sections = SECTIONS[stage] | TRACEBACK
    if stage is Stage.DEPLOY and given.keys() - TRACEBACK.keys():
        given["release"], sections = dict(given), sections | {"release": Release}
    for name, kind in sections.items():
        if given.get(name) is None:
            continue
        try:
            found[name] = parse(given[name], kind)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            unreadable.append(name)
    return Details(**found, unreadable=tuple(unreadable))


def rules_of(result: StepResult) -> Mapping[str, int]:
    """How many findings of each rule a validation made; of older results those that it kept."""
    told = read_details(Stage.VALIDATE, result).statistics
    if told is not None and told.rules is not None:
        return told.rules
    return Counter(finding.rule for finding in result.findings)


def parse(value: object, kind: type[T]) -> T:
    """JSON as a value of `kind`; numbers that are not finite become null on the way.

    Raises:
        msgspec.MsgspecError: it has another shape.
    """
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


def metric(result: StepResult | None, name: str) -> float | None:
    """A metric of a result, if it is there and finite."""
    try:
        return parse(result.metrics.get(name), Number) if result else None
    except msgspec.MsgspecError:
        return None
