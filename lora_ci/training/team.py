"""The processes that train one adapter together, each on a GPU; mostly it is one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import PartialState


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
        """Replaces the tensor by its sum over all processes, the same bytes in each."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)


def join_team() -> Team:
    """The team that this process was started for; alone if nobody said so."""
    state = PartialState()
    return Team(device=state.device, rank=state.process_index, size=state.num_processes)
