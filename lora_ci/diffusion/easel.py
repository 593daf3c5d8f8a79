"""A base in memory for many makers of pictures: each puts on its adapter when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from lora_ci.diffusion.attach import Attached, attach, detach, set_weight
from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import Memory, memory_told
from lora_ci.formats.adapter import Adapter

# What turns requests into pixels beside our own code.
LIBRARIES = ("torch", "diffusers", "transformers")


@dataclass(slots=True, kw_only=True, eq=False)
class Easel:
    """Puts adapters on a base and takes them off again; nothing is read until it is needed.

    `memory` tells whether less than wanted was computed at once.
    """

    model: BaseModel
    memory: Memory = field(default_factory=Memory)
    _worn: Attached | None = None
    _texts: dict[tuple[str, float], Conditioning] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, ...]:
        """All that a picture of the base depends on, beside its request."""
        base = self.model.content_id or str(self.model.folder)
        machine = self.model.device.type, str(self.model.dtype)
        return (base, *machine, *(f"{name} {version(name)}" for name in LIBRARIES))

    def bare(self) -> BaseModel:
        """The base with nothing on it."""
        if self._worn:
            detach(self._worn)
            self._worn = None
        return self.model

    def wearing(
        self, adapter: Adapter, weight: float, beside: Sequence[tuple[Adapter, float]] = ()
    ) -> Attached:
        """The base with an adapter on it, and others beside it; a new weight alone is quick.

        Raises InputError for an adapter that does not fit, OutOfMemory for one too large.
        """
        worn = self._worn
        if not (worn and worn.adapter is adapter and worn.beside == tuple(beside)):
            self.bare()
            with memory_told("the adapter"):
                self._worn = worn = attach(self.model, adapter, weight, beside=beside)
        set_weight(worn, weight)
        return worn

    def generator(
        self,
        adapter: Adapter | None = None,
        weight: float = 1.0,
        beside: Sequence[tuple[Adapter, float]] = (),
    ) -> DiffusersGenerator:
        """Makes pictures of the base, or of an adapter; good until another one is asked for."""
        worn = self.wearing(adapter, weight, beside) if adapter else None
        model = self.model if worn else self.bare()
        generator = DiffusersGenerator(model, worn, memory=self.memory)
        if not generator.teaches_text:
            generator.texts = self._texts
        return generator
