"""Runs lora_ci's step `train` in this process and records when each step ended."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepSpec
from lora_ci.training.step import run


@dataclass(slots=True, kw_only=True)
class Recorder:
    """A step context that keeps files where they are made and the time of every step."""

    spec: StepSpec
    folder: Path
    ended_at: list[float] = field(default_factory=list)

    @property
    def workdir(self) -> Path:
        """The folder given on the command line."""
        return self.folder

    @property
    def cache(self) -> Path:
        """Empty at the start: latents and embeddings are made within what is measured."""
        return self.folder / "cache"

    def input_path(self, name: str) -> Path:
        """Where the input lies."""
        return Path(str(self.spec.inputs[name].path))

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        """Nothing is moved."""
        return Artifact(name=name, sha256="", size_bytes=path.stat().st_size, media_type=media_type)

    def progress(self, done: int, total: int, note: str) -> None:
        """Called once a step, and while latents are made, which is no step."""
        if note.startswith("loss"):
            self.ended_at.append(time.perf_counter())

    def stop_requested(self) -> bool:
        """Never."""
        return False


def main() -> None:
    """Trains and writes `record.json` and the adapter into --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="TrainSettings as JSON")
    args = parser.parse_args()
    settings = TrainSettings(**json.loads(args.settings))
    spec = StepSpec(
        stage=Stage.TRAIN,
        lora="benchmark",
        fingerprint="0" * 64,
        inputs={
            "base_model": StepInput(content_id="base", path=str(args.base)),
            "dataset": StepInput(content_id="dataset", path=str(args.dataset)),
        },
        params={"settings": settings_json(settings), "trigger": "benchmark"},
    )
    recorder = Recorder(spec=spec, folder=args.output)
    run(spec, recorder)
    record = {"ended_at": recorder.ended_at, "adapter": "adapter.safetensors"}
    (args.output / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
