"""The gradients of all parameters as one vector: one norm, one sum over GPUs, nothing copied.

Shapes: p all numbers that learn, b images of a batch over all GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from lora_ci.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gradients:
    """`buffer` [p + b + 1]: gradients, each image's loss, and whether anybody was asked to stop.

    The parameters' gradients are views of it.
    """

    buffer: torch.Tensor
    numbers: int

    @property
    def values(self) -> torch.Tensor:
        """The gradients [p]."""
        return self.buffer[: self.numbers]

    @property
    def losses(self) -> torch.Tensor:
        """The losses of the batch's images [b]; those of other GPUs are 0 before `share`."""
        return self.buffer[self.numbers : -1]

    @property
    def asked_to_stop(self) -> bool:
        """True if any process was; after `share` all of them know."""
        return bool(self.buffer[-1] > 0)

    def clear(self) -> None:
        """Before a step."""
        self.buffer.zero_()

    def share(self, team: Team, *, stop: bool) -> None:
        """Sums over the GPUs."""
        if team.size > 1:
            self.buffer[-1] = float(stop)
            team.sum(self.buffer)

    def clip(self, largest: float, scale: float) -> torch.Tensor:
        """Takes the loss scale out, and shortens the vector to `largest`; its norm before, []."""
        if scale != 1:
            self.values.div_(scale)
        norm = torch.linalg.vector_norm(self.values)
        self.values.mul_((largest / (norm + 1e-6)).clamp_max(1.0))
        return norm


def gradients_of(parameters: Iterable[torch.nn.Parameter], batch: int) -> Gradients:
    """Gives each parameter a gradient that lies in the vector."""
    parameters = list(parameters)
    numbers = sum(parameter.numel() for parameter in parameters)
    buffer = torch.zeros(numbers + batch + 1, device=parameters[0].device)
    first = 0
    for parameter in parameters:
        part = buffer[first : first + parameter.numel()]
        parameter.grad = part.view(parameter.shape)
        first += parameter.numel()
    return Gradients(buffer=buffer, numbers=numbers)
