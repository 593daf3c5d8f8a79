"""The loss on held-out pictures, at noise and times that are the same in every training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lora_ci.training.backward import Learner
from lora_ci.training.batch import Batch
from lora_ci.training.state import State
from lora_ci.training.team import Team


def validation_loss(learner: Learner, state: State, batches: Sequence[Batch], team: Team) -> float:
    """The mean squared error, with the weights that the adapter would have; no weight of time.

    Training goes on as if it had not been asked. The processes of a team share the batches.
    """
    sums = torch.zeros(2, device=learner.model.device)
    with state.served(), torch.no_grad():
        for batch in batches[team.rank :: team.size]:
            losses = learner.losses(batch, state)
            sums += torch.stack([losses.sum(), losses.new_tensor(float(len(losses)))])
    team.sum(sums)
    total, count = sums.tolist()
    return float(total / count)
