"""The studio that a real base model draws in. What was made or timed once is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import Interrupted
from lora_ci.diffusion.easel import Easel
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.request import Picture
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.read import read_adapter
from lora_ci.qa.evidence import Cost
from lora_ci.qa.studio import Worn
from lora_ci.ruler.album import Album, Maker
from lora_ci.ruler.held_out import held_out_losses
from lora_ci.ruler.readings import Readings
from lora_ci.ruler.references import Reference

# Raise it when the same key would get another loss or cost.
READING_VERSION = 1
TIMED_PICTURES = 2
TIMED_ROUNDS = 5


@dataclass(slots=True, kw_only=True)
class DiffusionStudio:
    """A base on an easel, and adapters as files by sha256.

    Weights are read when a picture or reading is asked for that is not kept, and not before.
    """

    easel: Easel
    album: Album
    readings: Readings
    adapters: Mapping[str, Path]
    trigger: str
    stop: Callable[[], bool]
    _read: dict[str, Adapter] = field(default_factory=dict)

    def draw(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Mapping[str, Sequence[Picture]]:
        """Pictures [height, width, 3] by prompt, one a seed. Raises Interrupted, OutOfMemory."""
        maker = Maker(
            base=self.easel.identity,
            adapters=tuple((one.adapter, one.weight) for one in worn),
            open=partial(self._generator, worn),
        )
        return self.album.pictures(maker, prompts, seeds)

    def losses(self, worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> NDArray[np.float64]:
        """Mean losses [n] of pictures, inf where any is no number.

        Raises Interrupted, OutOfMemory.
        """
        shown = [[sha256_bytes(one.picture.tobytes()), one.caption] for one in pictures]
        key = self._key("losses", worn, self.trigger, shown)
        found = self.readings.get(key, list[float])
        if found is None or len(found) != len(pictures):
            self._go_on("measuring losses")
            self._generator(worn)
            model, memory = self.easel.model, self.easel.memory
            measured = held_out_losses(model, pictures, self.trigger, memory)
            if not np.isfinite(measured).all():
                return np.full(len(pictures), np.inf)
            found = measured.tolist()
            self.readings.put(key, found)
        return np.asarray(found)

    def cost(self, worn: Worn, prompt: str) -> Cost:
        """Times an adapter against the base, in turns. Raises Interrupted, OutOfMemory."""
        key = self._key("cost", (worn,), prompt, msgspec.to_builtins(self.album.template))
        found = self.readings.get(key, Cost)
        if found is None:
            found = self._measure_cost(worn, prompt)
            self.readings.put(key, msgspec.to_builtins(found))
        return found

    def _key(self, what: str, worn: tuple[Worn, ...], *further: Any) -> list[Any]:
        adapters = [[one.adapter, one.weight] for one in worn]
        return [READING_VERSION, what, self.easel.identity, adapters, *further]

    def _go_on(self, doing: str) -> None:
        if self.stop():
            raise Interrupted(f"stopped while {doing}; what was made by then is kept")

    def _generator(self, worn: tuple[Worn, ...]) -> DiffusersGenerator:
        """Puts on what is worn, and nothing else."""
        if not worn:
            return self.easel.generator()
        first, *others = worn
        beside = [(self._adapter(one), one.weight) for one in others]
        return self.easel.generator(self._adapter(first), first.weight, beside)

    def _adapter(self, worn: Worn) -> Adapter:
        if worn.adapter not in self._read:
            self._read[worn.adapter] = read_adapter(self.adapters[worn.adapter])
        return self._read[worn.adapter]

    def _measure_cost(self, worn: Worn, prompt: str) -> Cost:
        model = self.easel.bare()
        # On a processor only what we use ourselves; a GPU works on while ours waits.
        clock = time.process_time if model.device.type == "cpu" else time.perf_counter
        requests = [self.album.request(prompt, seed) for seed in range(TIMED_PICTURES)]
        # What is read once is no cost of the adapter.
        adapter = self._adapter(worn)
        self.easel.generator().generate(requests[:1])
        started = clock()
        generator = self._generator((worn,))
        attach_s = clock() - started
        times: dict[float, list[float]] = {0.0: [], worn.weight: []}
        for _ in range(TIMED_ROUNDS):
            self._go_on("timing the adapter")
            for weight, taken in times.items():
                started = clock()
                generator.generate([replace(request, weight=weight) for request in requests])
                taken.append(clock() - started)
        parts = (model.denoiser, *model.text_encoders.values())
        base_values = sum(p.numel() for part in parts for p in part.parameters())
        values = sum(la.up.numel() + la.down.numel() for la in adapter.layers.values())
        return Cost(
            attach_s=attach_s,
            latency_ratio=min(times[worn.weight]) / max(min(times[0.0]), 1e-9),
            size_bytes=self.adapters[worn.adapter].stat().st_size,
            size_share=values / base_values,
        )
