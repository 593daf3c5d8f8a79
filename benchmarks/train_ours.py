"""Runs lora_ci's step `train` in this process, as `lora-ci exec-step` does; records its steps."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import msgspec

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

CLOCKED = "benchmarks.clocked_step"
ADAPTER = "adapter.safetensors"


def main() -> None:
    """Trains; the step's folder and the record are --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="TrainSettings as JSON")
    args = parser.parse_args()
    settings = msgspec.json.decode(args.settings, type=TrainSettings)
    folder, store = StepFolder(args.output), LocalStore(args.output / "objects")
    folder.write_spec(
        StepSpec(
            stage=Stage.TRAIN,
            lora="benchmark",
            fingerprint="0" * 64,
            inputs={
                "base_model": StepInput(content_id="base", path=str(args.base)),
                "dataset": StepInput(content_id="dataset", path=str(args.dataset)),
            },
            params={"settings": settings_json(settings), "trigger": "benchmark"},
        )
    )
    result = exec_step(folder, store, args.cache, table={Stage.TRAIN: f"{CLOCKED}:run"})
    artifact = result.artifact(ADAPTER)
    if result.outcome is not Outcome.PASSED or artifact is None:
        raise SystemExit(f"{result.outcome}: {'; '.join(f.message for f in result.findings)}")
    adapter = store.get(artifact.sha256)
    # Loaded by the step: its clock has read the time.
    importlib.import_module(CLOCKED).clock.write(args.output, str(adapter))


if __name__ == "__main__":
    main()
