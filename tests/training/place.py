"""A step's context without a runner: what was told is kept, and a stop comes when a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepSpec
from lora_ci.store.local import LocalStore


@dataclass(kw_only=True)
class Place:
    """As `core.step.StepContext`."""

    root: Path
    spec: StepSpec
    stop: Callable[[], bool] = lambda: False
    told: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def workdir(self) -> Path:
        folder = self.root / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def cache(self) -> Path:
        folder = self.root / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.root / "objects")

    def input_path(self, name: str) -> Path:
        return Path(self.spec.inputs[name].path or "")

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        sha256, size = self.store.put(path), path.stat().st_size
        return Artifact(name=name, sha256=sha256, size_bytes=size, media_type=media_type)

    def progress(self, done: int, total: int, note: str) -> None:
        self.told.append((done, total, note))

    def stop_requested(self) -> bool:
        return self.stop()


def train_spec(settings: TrainSettings, inputs: dict[str, Path], **params: object) -> StepSpec:
    return StepSpec(
        stage=Stage.TRAIN,
        lora="mei",
        fingerprint="f" * 64,
        inputs={
            name: StepInput(content_id=f"id of {name}", path=str(path))
            for name, path in inputs.items()
        },
        params={"settings": settings_json(settings), "trigger": "mei", **params},
    )
