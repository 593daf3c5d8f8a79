"""What a test says, and the row by which the judge knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.scores import Score
from lora_ci.ruler.statistics import Estimate
from lora_ci.ruler.strength import Strength, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A generated picture (a prompt's, a seed's) and the training picture that it is most like."""

    prompt: str
    seed: int
    twin: int
    similarity: float
    copied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one test measured; `metrics` holds what could be, and no more.

    `why` puts the figures in words. `lacking` says why there are none, `settle` what would make
    them measurable. `owed` are metrics that were asked for and are not there: no pass without them.
    """

    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    why: str = ""
    lacking: str = ""
    settle: str = ""
    owed: tuple[str, ...] = ()
    score: Score | None = None
    pairs: tuple[Pair, ...] = ()
    curve: tuple[Strength, ...] = ()
    window: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a metric ought to hold. A gate fails the adapter, the rest warns.

    `fault` names what is wrong where it does not hold, `hint` says what to do then.
    """

    condition: str
    gate: bool = False
    fault: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A test: `run` is a pure function of the evidence, `metrics` all that it can measure.

    The first limit is the main one.
    """

    name: str
    run: Callable[[Evidence], Reading]
    metrics: tuple[str, ...]
    limits: Mapping[str, Limit] = field(default_factory=dict)
