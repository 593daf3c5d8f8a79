"""Curves shown live: accelerate's trackers. What they cannot do is a warning, never a failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings
from lora_ci.training.team import Team

PROJECT = "lora-ci"
# How long a server is waited for at the start.
WAIT_S = 20.0


@dataclass(slots=True, kw_only=True)
class Trackers:
    """Those that work, by name; one that fails is told of once and left out from then on.

    `waiting` start with the first values: what they import does not hold up the first step.
    """

    waiting: dict[str, Callable[[], Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    working: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Shows values of a step."""
        for name in tuple(self.waiting):
            self._try(name, partial(self._start, name, self.waiting.pop(name)))
        for name in tuple(self.working):
            self._try(name, partial(self.working[name].log, dict(values), step=step))

    def finish(self) -> None:
        """Ends them."""
        for name in tuple(self.working):
            self._try(name, self.working.pop(name).finish)

    def _start(self, name: str, make: Callable[[], Any]) -> None:
        tracker = make()
        tracker.start()
        self.working[name] = tracker
        if name != "tensorboard":
            tracker.store_init_configuration(dict(self.settings))

    def _try(self, name: str, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises, training goes on
            self.working.pop(name, None)
            words = next(iter(str(error).strip().splitlines()), type(error).__name__)
            self.findings.append(
                Finding(
                    rule="train.tracker",
                    severity=Severity.WARNING,
                    message=f"tracker {name}: {words}; its curves are not whole",
                    hint=f"next: check that {name} is installed and reachable, or drop it from "
                    "train.trackers",
                )
            )


def trackers_of(
    settings: TrainSettings, run: str, folder: Path, values: Mapping[str, Any], team: Team
) -> Trackers:
    """The trackers that the settings name, for a run called `run`; of a team, the leader has them.

    Tensorboard's files go into `folder`; the others are shown `values`, the settings, too.
    """
    if not team.leads:
        return Trackers()
    # They tell users of their own doings.
    for talker in ("accelerate", "mlflow", "alembic.runtime"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    waiting: dict[str, Callable[[], Any]] = {
        name: partial(STARTERS[name], run, folder) for name in settings.trackers
    }
    return Trackers(waiting=waiting, settings=values)


def _tensorboard(run: str, folder: Path) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(run, folder)


def _wandb(run: str, folder: Path) -> Any:
    """What it would send of the machine and its programs stays here."""
    from accelerate.tracking import WandBTracker

    quiet = {"init_timeout": WAIT_S, "disable_git": True, "disable_code": True, "console": "off"}
    return WandBTracker(PROJECT, name=run, dir=str(folder), settings=quiet)


def _mlflow(run: str, folder: Path) -> Any:
    """To the server that mlflow's own environment variables name; without one, into `folder`."""
    import mlflow
    from accelerate.tracking import MLflowTracker

    tracking: Any = mlflow
    if not tracking.is_tracking_uri_set():
        folder.mkdir(parents=True, exist_ok=True)
        tracking.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    return MLflowTracker(PROJECT, run_name=run)


STARTERS: Mapping[str, Callable[[str, Path], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
