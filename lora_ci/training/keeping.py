"""Where the state of a training is kept: checkpoints of its own, ends of shorter trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.training.checkpoint import load_checkpoint, save_checkpoint
from lora_ci.training.continued import Ends
from lora_ci.training.state import State, fits, packed, unpack
from lora_ci.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Checkpoints in `folder` are of the training `fingerprint` alone; `ends` are shared.

    Of a team, all read and one writes.
    """

    folder: Path
    fingerprint: str
    team: Team
    ends: Ends | None = None

    def restore(self, state: State, total: int) -> tuple[Finding, ...]:
        """Goes on from the furthest of all; what was damaged is told.

        Raises:
            InfrastructureError: the processes of a team do not see the same files.
        """
        found = load_checkpoint(self.folder, self.fingerprint, tidy=self.team.leads)
        furthest = found.checkpoint
        end = self.ends.furthest(total) if self.ends else None
        if end and (furthest is None or end.step > furthest.step):
            furthest = end
        findings = found.findings()
        if furthest and fits(furthest, state):
            unpack(furthest, state)
        elif furthest:
            findings = (*findings, _of_other_parameters(furthest.step))
        reached = torch.tensor(
            float(state.step), device=next(iter(state.parameters.values())).device
        )
        self.team.sum(reached)
        if reached.item() != state.step * self.team.size:
            raise InfrastructureError(
                f"the processes of the training do not see the same files in {self.folder}",
                hint="next: put the step's folder and the cache on a disk that all machines share",
            )
        return findings

    def save(self, state: State) -> None:
        """Writes a checkpoint. Raises OSError; the one before is whole then."""
        if self.team.leads:
            save_checkpoint(self.folder, self.fingerprint, packed(state))

    def end(self, state: State) -> tuple[Finding, ...]:
        """After the last step: a longer training may go on from here, if the disk takes it."""
        if not (self.ends and self.team.leads):
            return ()
        try:
            self.ends.keep(packed(state))
        except OSError as error:
            message = f"{error.filename or self.ends.cache}: {error.strerror}: the end of the "
            message += "training is not kept, a longer one will begin anew"
            hint = "next: df -h; make room in the cache"
            rule = "train.end-not-kept"
            return (Finding(rule=rule, severity=Severity.WARNING, message=message, hint=hint),)
        return ()


def _of_other_parameters(step: int) -> Finding:
    message = f"the state after step {step} is of other parameters: training begins anew"
    hint = "packages such as peft were changed in the middle of it"
    rule = "train.checkpoint-other"
    return Finding(rule=rule, severity=Severity.WARNING, message=message, hint=hint)
