"""The shipped example, trained once for all tests that need a real adapter."""

from __future__ import annotations

from pathlib import Path

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage, StepInput, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

WORLD = Path(__file__).parents[1] / "examples" / "emoji"
SETTINGS = TrainSettings(
    rank=16, alpha=16, learning_rate=3e-3, batch_size=8, images_seen=1200, warmup_steps=10,
    resolution=64, min_snr_gamma=None,
)  # fmt: skip


def train_style(root: Path) -> Path:
    """The `fluent3d` adapter as a diffusers file."""
    folder, store = StepFolder(root / "step"), LocalStore(root / "objects")
    inputs = {"dataset": WORLD / "pictures" / "fluent3d", "base_model": WORLD / "base"}
    folder.write_spec(
        StepSpec(
            stage=Stage.TRAIN,
            lora="fluent3d",
            fingerprint="a" * 64,
            inputs={n: StepInput(content_id=n, path=str(p)) for n, p in inputs.items()},
            params={"settings": settings_json(SETTINGS), "trigger": "fluent3d"},
        )
    )
    result = exec_step(folder, store, root / "cache")
    artifact = result.artifact("adapter.safetensors")
    assert artifact, result.findings
    return store.get(artifact.sha256)
