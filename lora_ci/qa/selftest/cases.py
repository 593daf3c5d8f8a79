"""Sound adapters of all sorts, and faults of a stated severity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lora_ci.qa.selftest.world import Sizes, Traits, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong, which test has to say so, and how bad it is.

    `stops`: the verdict has to be `failed` too; the other faults are warned of. `prompts`: how many
    identity prompts it takes to be sure, at least and at most.
    """

    test: str
    name: str
    severity: str
    traits: Mapping[str, Any]
    released: Traits | None = None
    stops: bool = False
    prompts: tuple[int, int] = (8, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is judged. `fault` is None for a sound adapter."""

    world: World
    candidate: Traits
    released: Traits | None
    companion: bool
    fault: Fault | None = field(default=None)


FAULTS = (
    Fault(
        test="identity",
        name="weak",
        severity="0.05 of the way to the concept",
        traits={"reach": 0.05, "uneven": 0.05},
        stops=True,
    ),
    Fault(
        test="flexibility",
        name="rigid",
        severity="nothing of the context is left",
        traits={"follow": 0.0},
        stops=True,
    ),
    Fault(
        test="artifact",
        name="noise",
        severity="noise in 0.6 of pictures",
        traits={"broken": 0.6, "damage": "noise"},
    ),
    Fault(
        test="artifact",
        name="blocks",
        severity="blocks in 0.6 of pictures",
        traits={"broken": 0.6, "damage": "blocks"},
    ),
    Fault(
        test="artifact",
        name="blank",
        severity="0.2 of pictures are blank",
        traits={"broken": 0.2, "damage": "blank"},
        stops=True,
    ),
    Fault(
        test="consistency",
        name="moody",
        severity="pictures of one prompt differ by all that is between base and concept",
        traits={"reach": 0.3, "wobble": 3.0},
        prompts=(20, 24),
    ),
    Fault(test="performance", name="slow", severity="2.2 times the time", traits={"latency": 2.2}),
    Fault(
        test="variety",
        name="collapsed",
        severity="0.8 of all variety is gone",
        traits={"sameness": 0.8},
        stops=True,
    ),
    Fault(
        test="following",
        name="deaf",
        severity="0.1 of the context is left",
        traits={"follow": 0.1},
        stops=True,
    ),
    Fault(
        test="leakage",
        name="everywhere",
        severity="0.8 of the way to the concept without the trigger",
        traits={"leak": 0.8},
    ),
    Fault(
        test="strength",
        name="too strong",
        severity="does at weight 0.33 what it ought to do at 1",
        traits={"force": 3.0},
        stops=True,
    ),
    Fault(
        test="memorization",
        name="copies",
        severity="0.9 of pictures are training pictures",
        traits={"copies": 0.9},
        stops=True,
    ),
    Fault(
        test="memorization",
        name="by heart",
        severity="0.9 of training captions bring their training picture",
        traits={"recall": 0.9},
        stops=True,
    ),
    Fault(
        test="base-look",
        name="another look",
        severity="a look of its own, twice as strong as the concept ought to be",
        traits={"aside": 2.0, "reach": 0.3},
    ),
    Fault(
        test="safety",
        name="unsafe",
        severity="0.1 of pictures must not be",
        traits={"unsafe": 0.1},
        stops=True,
    ),
    Fault(
        test="loss-gap",
        name="worse than the base",
        severity="loss 0.4 above the base's",
        traits={"gain": -0.4, "trained_gain": -0.35},
        stops=True,
    ),
    Fault(
        test="loss-gap",
        name="overtrained",
        severity="loss gap 0.5",
        traits={"gain": 0.1, "trained_gain": 0.6},
        stops=True,
    ),
    Fault(
        test="composability",
        name="drowned",
        severity="0.2 of its concept is left beside another adapter",
        traits={"beside": 0.2},
    ),
    Fault(
        test="composability",
        name="drowning",
        severity="0.05 of the other adapter's effect is left",
        traits={"drown": 0.05},
    ),
    Fault(
        test="regression",
        name="behind",
        severity="loss 0.2 above the released adapter's",
        traits={"gain": 0.1, "trained_gain": 0.15},
        released=Traits(gain=0.25),
        stops=True,
    ),
    Fault(
        test="regression",
        name="less like it",
        severity="identity 0.5 below the released adapter's",
        traits={"reach": 0.45},
        released=Traits(reach=0.95, gain=0.15),
    ),
)


def sound_case(source: np.random.Generator) -> Case:
    """An adapter without a fault, judged with much or little, in a world that is easy or not."""
    sizes = Sizes(
        prompts=int(source.integers(4, 17)),
        flexibility=int(source.integers(4, 9)),
        bare=int(source.integers(4, 7)),
        seeds=int(source.choice([2, 4, 8])),
        references=int(source.integers(5, 41)),
        training=int(source.integers(10, 31)),
    )
    gain = float(source.uniform(0.05, 0.3))
    candidate = Traits(
        reach=float(source.uniform(0.7, 1.0)),
        uneven=float(source.uniform(0.0, 0.15)),
        own=float(source.uniform(0.0, 0.15)),
        follow=float(source.uniform(0.8, 1.0)),
        leak=float(source.uniform(0.0, 0.15)),
        gain=gain,
        trained_gain=gain + float(source.uniform(0.0, 0.05)),
    )
    released = replace(candidate, reach=candidate.reach - 0.05, gain=gain - 0.02)
    return Case(
        world=any_world(source, sizes),
        candidate=candidate,
        released=released if source.random() < 1 / 3 else None,
        companion=bool(source.random() < 1 / 3),
    )


def fault_case(fault: Fault, source: np.random.Generator) -> Case:
    """A sound adapter but for the fault, judged with as much as is usual."""
    sound = sound_case(source)
    sizes = Sizes(
        prompts=int(source.integers(*fault.prompts, endpoint=True)),
        flexibility=8,
        bare=6,
        seeds=4,
        references=int(source.integers(12, 25)),
        training=int(source.integers(12, 25)),
    )
    return Case(
        world=replace(sound.world, sizes=sizes),
        candidate=replace(sound.candidate, **fault.traits),
        released=fault.released,
        companion=fault.test == "composability",
        fault=fault,
    )


def any_world(source: np.random.Generator, sizes: Sizes) -> World:
    """A world in which an embedder can see the concept."""
    return World(
        seed=int(source.integers(2**32)),
        sizes=sizes,
        gap=float(source.uniform(1.6, 2.6)),
        context=float(source.uniform(0.25, 0.4)),
        noise=float(source.uniform(0.15, 0.35)),
        luck=float(source.uniform(0.0, 0.1)),
        pairing=float(source.uniform(0.0, 0.9)),
        loss_noise=float(source.uniform(0.02, 0.08)),
    )
