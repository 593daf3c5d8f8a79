"""Stages before `deploy` that pass at once: `train` makes a small adapter, the others nothing."""

from PIL import Image

from lora_ci.core.step import Outcome, Stage, StepContext, StepResult, StepSpec
from tests.releases import write_small_adapter


def run(spec: StepSpec, context: StepContext) -> StepResult:
    artifacts = []
    if spec.stage is Stage.TRAIN:
        made = write_small_adapter(context.workdir, seed=spec.params["settings"]["seed"])
        names = ("adapter.safetensors", "adapter-kohya.safetensors")
        for name, path in zip(names, made.values(), strict=True):
            artifacts.append(context.keep(name, path, "application/vnd.safetensors"))
        sample = context.workdir / "sample-000000-0.png"
        Image.new("RGB", (8, 8)).save(sample)
        artifacts.append(context.keep(sample.name, sample, "image/png"))
    metrics = {"recommended_weight": 0.8} if spec.stage is Stage.OPTIMIZE else {}
    return StepResult(outcome=Outcome.PASSED, metrics=metrics, artifacts=tuple(artifacts))
