"""A machine that runs steps, and its GPUs as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, or a slice of one: then `mig` is the UUID of the whole.

    `free_gib` is what the driver says. `held_gib` is what attempts of ours hold of the rest, by
    their marks; what nobody is known to hold counts as taken by others.
    """

    index: int
    uuid: str
    name: str
    total_gib: float
    free_gib: float
    capability: str = ""
    mig: str = ""
    held_gib: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine; `slots` is how many steps without a GPU it does at once.

    `note` says why there is no GPU, or which of them were left out. `cpu_only` is true of one that
    is to have none, or none that could be told apart.
    """

    name: str
    gpus: tuple[Gpu, ...] = ()
    slots: int = 1
    note: str = ""
    cpu_only: bool = False
