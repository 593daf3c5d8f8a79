"""One of the processes of a training on several GPUs; `processes.py` starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.signals import StopFlag
from lora_ci.core.step import Outcome, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.outcome import result_of
from lora_ci.training.native import train_here
from lora_ci.training.processes import KEPT, PROGRESS
from lora_ci.training.team import Team, join_team

PROGRESS_EVERY_S = 0.2


@dataclass(slots=True, kw_only=True)
class Context:
    """What a process may do (`core.step.StepContext`): only the leader tells and keeps."""

    spec: StepSpec
    folder: Path
    workdir: Path
    cache: Path
    team: Team
    stop: StopFlag
    _told_at: float = field(default=-1.0)

    def input_path(self, name: str) -> Path:
        """Where the input lies."""
        given = self.spec.inputs.get(name)
        if given is None or given.path is None:
            raise InputError(f"step {self.spec.stage} of {self.spec.lora} has no input `{name}`")
        return Path(given.path)

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        """Puts the file where the parent finds it; that one puts it into the store."""
        kept = self.folder / KEPT / name
        kept.parent.mkdir(exist_ok=True)
        try:
            os.link(path, kept)
        except OSError:
            shutil.copyfile(path, kept)
        size = path.stat().st_size
        return Artifact(name=name, sha256="", size_bytes=size, media_type=media_type)

    def progress(self, done: int, total: int, note: str) -> None:
        """Prints a line for the parent."""
        now = time.monotonic()
        if not self.team.leads or (now - self._told_at < PROGRESS_EVERY_S and done < total):
            return
        self._told_at = now
        loss = None
        with suppress(ValueError):
            loss = float(note.removeprefix("loss "))
        sys.stdout.write(f"{PROGRESS}{json.dumps([done, total, loss])}\n")
        sys.stdout.flush()

    def stop_requested(self) -> bool:
        """True after SIGTERM."""
        return self.stop.raised


def main(folder: Path, workdir: Path, cache: Path, count: int) -> int:
    """Trains as one of a team of `count`; 1 has the launcher end the others."""
    spec = StepFolder(folder).read_spec()
    stop = StopFlag()

    def heed(*_: object) -> None:
        # Its launcher may say so, and a cluster to all that it finds: a second signal is no news.
        stop.raised = True

    signal.signal(signal.SIGTERM, heed)
    signal.signal(signal.SIGINT, heed)
    team = join_team()
    context = Context(spec=spec, folder=folder, workdir=workdir, cache=cache, team=team, stop=stop)
    result = _train(spec, context, team, count)
    if team.leads or result.outcome is not Outcome.PASSED:
        mine = StepFolder(folder / str(team.rank))
        mine.path.mkdir(exist_ok=True)
        mine.write_result(spec.fingerprint, result)
    return 0 if result.outcome is Outcome.PASSED else 1


def _train(spec: StepSpec, context: Context, team: Team, count: int) -> StepResult:
    try:
        if team.size != count:
            raise InfrastructureError(f"a team of {team.size} came together, not of {count}")
        return train_here(spec, context, team)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the border of a process
        return result_of(error, f"{spec.stage} of {spec.lora}", context.workdir)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
