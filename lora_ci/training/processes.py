"""Starts the processes of a training on several GPUs, and makes one result of theirs.

Each draws the whole batch and computes its rows of it; gradients are summed once a step. So the
adapter is that of one GPU, up to the order in which sums are rounded.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, StepContext, StepInput, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.training.foreign.process import Ended, run_trainer
from lora_ci.training.foreign.progress import Watched
from lora_ci.training.launch import ADDRESS, PORT
from lora_ci.training.on_machines import MACHINES
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
    """How many processes train on each machine: one a GPU, but no more than a batch has images.

    Raises:
        InfrastructureError: this machine has fewer GPUs.
    """
    share = max(1, settings.batch_size // spec.resources.nodes)
    wanted = min(max(1, spec.resources.gpus), share)
    if MACHINES in os.environ:
        # Others train, which were chosen for their GPUs.
        return wanted
    found = torch.cuda.device_count()
    if found == 0:
        return min(wanted, os.cpu_count() or 1)
    if found < wanted:
        raise InfrastructureError(
            f"`resources.gpus: {wanted}`, but this machine has {found}",
            hint="next: nvidia-smi; or set resources.gpus lower",
        )
    return wanted


def train_in_processes(spec: StepSpec, context: StepContext, each: int) -> StepResult:
    """The leader's result, with its files kept; `each` is how many train on each machine.

    Raises:
        InfrastructureError: one of them died, or there are not so many machines.
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
    count = each * spec.resources.nodes
    where = (folder, context.workdir, context.cache)
    program = ("-P", "-m", "lora_ci.training.process", *where, count)
    launcher = launcher_of(each, spec.resources.nodes, os.environ)
    ended = run_trainer(
        (*launcher, *map(str, program)),
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


def launcher_of(each: int, nodes: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command that starts `each` processes of a training, here or on each of several machines.

    Of a SLURM job `srun` does that on each machine, and they find each other at this one, the first
    of them. A step of Ray asks who holds its machines, and is on none of them perhaps. Source: man
    srun.

    Raises:
        InfrastructureError: there are not so many machines.
    """
    # -P: what lies in the folder is never imported.
    python = (sys.executable, "-P", "-m")
    launch = (*python, "lora_ci.training.launch", str(each), str(nodes))
    if nodes == 1:
        return launch
    if holder := environment.get(MACHINES):
        return (*python, "lora_ci.training.on_machines", holder, *launch)
    found = environment.get("SLURM_JOB_NUM_NODES", "1")
    if found != str(nodes):
        raise InfrastructureError(
            f"`resources.nodes: {nodes}`, but this step has {found}",
            hint="next: --executor slurm or ray=URL, which give a step several machines",
        )
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return (
        *("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap"),
        *("env", f"{ADDRESS}={socket.gethostname()}", f"{PORT}={port}", *launch),
    )


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
