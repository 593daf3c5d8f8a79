"""What is simulated: machines, LoRAs and faults, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lora_ci.core.errors import UsageError


class Arrivals(StrEnum):
    """When LoRAs come: at any moment, in office hours, or many of one repository at once."""

    POISSON = "poisson"
    OFFICE = "office"
    BURST = "burst"


class Family(StrEnum):
    """Kinds of base models, which take times of their own."""

    SD15 = "sd15"
    SDXL = "sdxl"


# With it a LoRA takes a GPU for 55 minutes on average.
MIX = {Family.SD15: 0.4, Family.SDXL: 0.6}


class Fault(StrEnum):
    """What goes wrong."""

    GPU = "gpu"
    NODE = "node"
    PREEMPTION = "preemption"
    NETWORK = "network"
    DATA = "data"
    SERVER = "server"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that a simulation depends on. `faults` are multiples of the usual rates."""

    gpus: int
    loras_per_day: float
    days: float = 7.0
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 0
    faults: Mapping[Fault, float] = field(default_factory=lambda: dict.fromkeys(Fault, 1.0))
    mix: Mapping[Family, float] = field(default_factory=lambda: dict(MIX))
    repositories: int = 5
    gpus_per_node: int = 4
    price: float = 0.0


def parse_faults(text: str) -> dict[Fault, float]:
    """`all`, `none`, or kinds with how often as usual: `gpu,node=3`. Raises UsageError."""
    if text in ("all", "none"):
        return dict.fromkeys(Fault, 1.0) if text == "all" else {}
    return {Fault(name): times for name, times in _numbers(text, "--faults", list(Fault)).items()}


def parse_mix(text: str) -> dict[Family, float]:
    """`sd15=1,sdxl=3`: shares of base models. Raises UsageError."""
    mix = {Family(n): share for n, share in _numbers(text, "--mix", list(Family)).items()}
    if sum(mix.values()) <= 0:
        raise UsageError(f"--mix: {text!r} leaves nothing", hint="next: --mix sd15=0.4,sdxl=0.6")
    return mix


def _numbers(text: str, option: str, known: list[str]) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            found[name] = float(number or "1")
        except ValueError:
            found[name] = -1.0
        if name not in known or not 0 <= found[name] < 1e6:
            hint = f"expected some of {', '.join(known)}, each with an optional =NUMBER"
            raise UsageError(f"{option}: {part.strip()!r} is not known", hint=hint)
    return found
