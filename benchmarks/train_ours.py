"""Runs lora_ci's step `train` in this process and records its steps."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.clock import start_clock
from lora_ci.core.artifact import Artifact
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepSpec
from lora_ci.training.step import run

ADAPTER = "adapter.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A step context that keeps files where they are made."""

    spec: StepSpec
    workdir: Path
    cache: Path

    def input_path(self, name: str) -> Path:
        """Where the input lies."""
        return Path(str(self.spec.inputs[name].path))

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        """Nothing is moved."""
        return Artifact(name=name, sha256="", size_bytes=path.stat().st_size, media_type=media_type)

    def progress(self, done: int, total: int, note: str) -> None:
        """Shown to nobody."""

    def stop_requested(self) -> bool:
        """Never."""
        return False


def main() -> None:
    """Trains; the record and the adapter go into --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="TrainSettings as JSON")
    args = parser.parse_args()
    settings = msgspec.json.decode(args.settings, type=TrainSettings)
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
    clock = start_clock()
    run(spec, Place(spec=spec, workdir=args.output, cache=args.cache))
    clock.write(args.output, ADAPTER)


if __name__ == "__main__":
    main()
