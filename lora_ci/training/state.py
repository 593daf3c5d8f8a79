"""What changes from step to step, to and from a checkpoint; nothing else is carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch

from lora_ci.training.checkpoint import Checkpoint
from lora_ci.training.curves import Curves
from lora_ci.training.memory import Rung
from lora_ci.training.optimizers import serve
from lora_ci.training.precision import LossScale

# Options that an optimizer was made with, as long as JSON can say them.
SCALARS = (bool, int, float, str, type(None))


@dataclass(slots=True, kw_only=True)
class State:
    """`step` steps are done. `average` is the running mean of the weights, where one is kept.

    `rung` is how batches are computed, `wanted` how they were to be.
    """

    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    scale: LossScale
    rung: Rung
    wanted: Rung
    average: dict[str, torch.Tensor] | None = None
    step: int = 0
    curves: Curves = field(default_factory=Curves)

    def follow(self, decay: float | None) -> None:
        """Moves the running mean towards the weights; slowly at the end, quickly at first.

        Source: the warm-up of TensorFlow's ExponentialMovingAverage, (1 + step) / (10 + step).
        """
        if self.average is not None and decay is not None:
            share = 1 - min(decay, (1 + self.step) / (10 + self.step))
            weights = [p.detach() for p in self.parameters.values()]
            torch._foreach_lerp_(list(self.average.values()), weights, share)

    @contextmanager
    def served(self) -> Iterator[None]:
        """The weights are those that the adapter would have now; afterwards the very same again."""
        kept = [parameter.detach().clone() for parameter in self.parameters.values()]
        modes = [group.get("train_mode") for group in self.optimizer.param_groups]
        with torch.no_grad():
            serve(self.optimizer)
            if self.average is not None:
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters.values(), kept, strict=True):
                    parameter.copy_(value)
            for group, mode in zip(self.optimizer.param_groups, modes, strict=True):
                if mode is not None:
                    group["train_mode"] = mode


def packed(state: State) -> Checkpoint:
    """The state as a checkpoint; all that is on a GPU is copied."""
    tensors, scalars = {}, {}
    for name, parameter in state.parameters.items():
        tensors[f"weight/{name}"] = _copy(parameter)
        for key, value in state.optimizer.state[parameter].items():
            if isinstance(value, torch.Tensor):
                # AdamW may keep its step count on the CPU: it belongs there again.
                place = "device" if value.device == parameter.device else "host"
                tensors[f"{place}/{key}/{name}"] = _copy(value)
            else:
                scalars[f"{key}/{name}"] = value
    for name, value in (state.average or {}).items():
        tensors[f"average/{name}"] = _copy(value)
    notes = {
        "scalars": scalars,
        "groups": [
            {key: value for key, value in group.items() if isinstance(value, SCALARS)}
            for group in state.optimizer.param_groups
        ],
        "scale": asdict(state.scale),
        # As the settings want it, it is none of the state: they may ask for another next time.
        "rung": asdict(state.rung) if state.rung != state.wanted else None,
        "curves": state.curves.as_json(),
    }
    return Checkpoint(step=state.step, tensors=tensors, notes=notes)


def fits(checkpoint: Checkpoint, state: State) -> bool:
    """True if it is of these very parameters: another version of a package may name them anew."""
    wanted = {f"weight/{name}": p.shape for name, p in state.parameters.items()}
    wanted |= {f"average/{name}": value.shape for name, value in (state.average or {}).items()}
    kinds = ("weight/", "average/")
    return wanted == {n: t.shape for n, t in checkpoint.tensors.items() if n.startswith(kinds)}


def unpack(checkpoint: Checkpoint, state: State) -> None:
    """Makes the state the one that was packed, which must fit."""
    tensors, notes = checkpoint.tensors, checkpoint.notes
    with torch.no_grad():
        for name, parameter in state.parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            state.optimizer.state[parameter] = {}
        if state.average is not None:
            for name, value in state.average.items():
                value.copy_(tensors[f"average/{name}"])
    for path, tensor in tensors.items():
        place, key = path.split("/", 1)
        if place in ("device", "host"):
            key, name = key.split("/", 1)
            parameter = state.parameters[name]
            home = parameter.device if place == "device" else torch.device("cpu")
            state.optimizer.state[parameter][key] = tensor.to(home)
    for path, value in notes["scalars"].items():
        key, name = path.split("/", 1)
        state.optimizer.state[state.parameters[name]][key] = value
    for group, saved in zip(state.optimizer.param_groups, notes["groups"], strict=True):
        group.update(saved)
    scale = LossScale(**notes["scale"])
    # Left as it is where the machine is of another kind, and `auto` another precision.
    if scale.used == state.scale.used:
        state.scale = scale
    if notes["rung"]:
        state.rung = state.wanted.least(Rung(**notes["rung"]))
    state.curves = Curves.from_json(notes["curves"])
    state.step = checkpoint.step


def _copy(value: torch.Tensor) -> torch.Tensor:
    """Apart from everything else: optimizers share tensors between parameters."""
    return value.detach().to("cpu", copy=True).contiguous()
