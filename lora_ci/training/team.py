"""The processes that train one adapter together, each on a GPU; mostly it is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import PartialState

from lora_ci.core.errors import InfrastructureError

# The rule of what those tell who were left by a process that died.
LEFT = "train.left-alone"
# The launcher notices at once if a process died. One may have pictures to encode for hours.
WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Number `rank` of `size` processes, and the device of this one."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True for the one that writes files and tells."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's images of a batch; shares differ by one image at most."""
        return slice(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def sum(self, tensor: torch.Tensor) -> None:
        """Replaces the tensor by its sum over all processes, the same bytes in each.

        Raises:
            InfrastructureError: another one is gone.
        """
        if self.size == 1:
            return
        try:
            torch.distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise InfrastructureError(f"others are gone: {error}", rule=LEFT) from error


def join_team() -> Team:
    """The team that this process was started for; alone if nobody said so."""
    # Unless it is told that there is no GPU, it trains alone in each process without a word.
    no_gpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    state = PartialState(cpu=no_gpu, timeout=WAIT)
    if state.device.type == "cuda":
        # Resumed to the byte: sums must not depend on which block of a GPU is done first.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Else every fresh tensor is filled, to find bugs.
        torch.utils.deterministic.fill_uninitialized_memory = False
    return Team(device=state.device, rank=state.process_index, size=state.num_processes)
