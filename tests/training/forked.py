"""Trainings in forked processes, which can be killed at an exact step without starting Python."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.precision import dtype_name
from lora_ci.formats.write import Format, write_adapter
from lora_ci.training.continued import Ends
from lora_ci.training.data import read_samples
from lora_ci.training.keeping import Keeping
from lora_ci.training.loop import Surroundings, Trained, train
from lora_ci.training.material import build_material
from lora_ci.training.sampling import Sampler
from lora_ci.training.team import Team, join_team

ADAPTER = "adapter.safetensors"


@dataclass(kw_only=True)
class Place:
    """What a training needs beside its settings."""

    base: Path
    dataset: Path
    work: Path
    cache: Path
    prefix: str | None = None
    fingerprint: str = "f1"
    sampler: Callable[..., Sampler] | None = None
    said: list[str] = field(default_factory=list)

    def train(
        self,
        settings: TrainSettings,
        *,
        progress: Callable[[int, int, str], None] = lambda *_: None,
        stop: Callable[[], bool] = lambda: False,
        team: Team | None = None,
    ) -> Trained:
        """Trains in this process and writes the adapter."""
        team = team or join_team()
        self.work.mkdir(parents=True, exist_ok=True)
        model = load_base(
            self.base, dtype_name(settings.precision, team.device), content_id=self.base.name
        )
        material = build_material(
            model, read_samples(self.dataset, "mei"), settings, trigger="mei", cache=self.cache
        )
        model.let_go(*(("vae",) if settings.text_encoder else ()))
        ends = Ends(cache=self.cache, prefix=self.prefix) if self.prefix else None
        keeping = Keeping(
            folder=self.work / "checkpoints", fingerprint=self.fingerprint, team=team, ends=ends
        )
        around = Surroundings(
            keeping=keeping,
            progress=progress,
            stop=stop,
            team=team,
            sampler=self.sampler(model, settings, "mei", self.work) if self.sampler else None,
        )
        trained = train(model, material, settings, around)
        if team.leads:
            write_adapter(trained.adapter, self.work / ADAPTER, Format.DIFFUSERS)
        return trained

    def digest(self) -> str:
        """Of the adapter that was written."""
        return hashlib.sha256((self.work / ADAPTER).read_bytes()).hexdigest()


def forked(work: Callable[[], object], apart: Path | None = None) -> int:
    """Does the work in a fork of this process; its exit code, negative for a signal.

    `apart` is a folder of packages that only the fork may import.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if apart:
                sys.path.insert(0, str(apart))
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must never return into pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die() -> None:
    """The end that nobody can prepare for."""
    os.kill(os.getpid(), signal.SIGKILL)
