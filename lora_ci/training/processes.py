"""Starts the processes of a training on several GPUs, and makes one result of theirs.

Each draws the whole batch and computes its rows of it; gradients are summed once a step. So the
adapter is that of one GPU, up to the order in which sums are rounded.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, replace

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, StepContext, StepInput, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.training.foreign.process import Ended, run_trainer
from lora_ci.training.foreign.progress import Watched
from lora_ci.training.team import LEFT

FOLDER, KEPT = "processes", "kept"
# How the leader's lines of progress begin.
PROGRESS = "lora-ci progress "


@dataclass(slots=True, kw_only=True)
class WatchedLeader(Watched):
    """Reads the leader's own lines of progress; all others are its last words."""

    def _progress(self, line: str) -> bool:
        if not line.startswith(PROGRESS):
            return False
        self.done, self.total, self.loss = json.loads(line.removeprefix(PROGRESS))
        return True


def count_processes(spec: StepSpec, settings: TrainSettings) -> int:
    """How many processes train: one a GPU, but no more than a batch has images.

    Raises:
        InfrastructureError: this machine has fewer GPUs.
    """
    wanted = min(max(1, spec.resources.gpus), settings.batch_size)
    found = torch.cuda.device_count()
    if found == 0:
        return min(wanted, os.cpu_count() or 1)
    if found < wanted:
        raise InfrastructureError(
            f"`resources.gpus: {wanted}`, but this machine has {found}",
            hint="next: nvidia-smi; or set resources.gpus lower",
        )
    return wanted


def train_in_processes(spec: StepSpec, context: StepContext, count: int) -> StepResult:
    """The leader's result, with its files kept.

    Raises:
        InfrastructureError: one of them died.
        Interrupted: a stop was asked for; they have written a checkpoint.
    """
    folder = context.workdir / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    inputs = {
        name: StepInput(content_id=given.content_id, path=str(context.input_path(name)))
        for name, given in spec.inputs.items()
    }
    StepFolder(folder).write_spec(replace(spec, inputs=inputs))
    watched = WatchedLeader(total=1)
    # -P: what lies in the folder is never imported.
    launcher = ("-P", "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
    program = ("-m", "lora_ci.training.process", folder, context.workdir, context.cache, count)
    ended = run_trainer(
        (sys.executable, *launcher, f"--nproc-per-node={count}", *map(str, program)),
        watched,
        folder=folder,
        log=context.workdir / "processes.log",
        told=context.progress,
        stop=context.stop_requested,
        # They are ours: trackers find their servers and keys in it.
        environment=os.environ,
    )
    places = [StepFolder(folder / str(rank)) for rank in range(count)]
    told = [result for place in places if (result := place.read_result(spec.fingerprint))]
    result = next((result for result in told if _says_why(result)), None)
    if result is None:
        raise _died(ended, count)
    artifacts = tuple(
        context.keep(made.name, folder / KEPT / made.name, made.media_type)
        for made in result.artifacts
    )
    return replace(result, artifacts=artifacts)


def _says_why(result: StepResult) -> bool:
    """False for what ended because another process had ended, without a stop of ours."""
    left = any(finding.rule == LEFT for finding in result.findings)
    return not left and result.outcome is not Outcome.INTERRUPTED


def _died(ended: Ended, count: int) -> InfrastructureError:
    code, watched = ended.code, ended.watched
    words = "; ".join(list(watched.tail)[-3:])
    message = f"one of {count} training processes died after step {watched.done}, exit code {code}"
    return InfrastructureError(
        f"{message}: {words}" if words else message,
        rule="train.process-died",
        hint=f"next: less {ended.log}; the same command goes on from the newest checkpoint",
    )
