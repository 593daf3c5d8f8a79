"""The judge and the weight's curve on SDXL and FLUX: tiny random ones, so that numbers exist."""

import math

import pytest
import torch

from lora_ci.core.settings import OptimizeSettings, QaSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepSpec
from lora_ci.diffusion.outline import base_shapes
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

QA = QaSettings(
    prompts=("{trigger}, a cat", "{trigger}, a dog"), flexibility_prompts=("{trigger} in snow",),
    base_prompts=("a tree",), seeds=2, steps=2, guidance=3.0,
)  # fmt: skip


def random_adapter(base, family):
    draw = torch.Generator().manual_seed(1)
    layers = {
        name: LoraLayer(
            down=torch.randn(2, shape[1], generator=draw) * 0.3,
            up=torch.randn(shape[0], 2, generator=draw) * 0.3,
            alpha=2.0,
        )
        for name, shape in base_shapes(base).items()
        if name.endswith(("to_q", "to_v", "q_proj"))
    }
    return Adapter(layers=layers, family=family)


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_an_adapter_is_judged_and_weighed(tmp_path, tiny_sdxl, tiny_flux, family):
    base = {"sdxl": tiny_sdxl, "flux": tiny_flux}[family]
    store, path = LocalStore(tmp_path / "objects"), tmp_path / "adapter.safetensors"
    write_adapter(random_adapter(base, family), path, Format.DIFFUSERS)
    references = write_dataset(tmp_path / "references", images=4)

    def run(stage, adapter=path, **params):
        folder, sha256 = StepFolder(tmp_path / f"{stage}-{adapter.stem}"), store.put(adapter)
        places = {"base_model": base, "references": references}
        inputs = {n: StepInput(content_id=str(p), path=str(p)) for n, p in places.items()}
        inputs["adapter"] = StepInput(content_id=sha256, sha256=sha256)
        params |= {"trigger": "mei", "type": "style"}
        folder.write_spec(
            StepSpec(stage=stage, lora="mei", fingerprint="f" * 64, inputs=inputs, params=params)
        )
        return exec_step(folder, store, tmp_path / "cache")

    judged = run(Stage.QA, settings=settings_json(QA))
    # Noise of weights may be good or bad: it is judged, and no machine's error.
    assert judged.outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)
    assert len(judged.details["tests"]) == 5
    assert math.isfinite(judged.metrics["loss.against-base"])
    assert judged.metrics["loss.against-base"] != 0
    kinds = [picture["kind"] for picture in judged.details["pictures"]]
    assert kinds.count("base") == kinds.count("adapter") > 0
    weights = settings_json(OptimizeSettings(weights=(0.5, 1.0)))
    weighed = run(Stage.OPTIMIZE, settings=weights, qa=settings_json(QA))
    assert weighed.outcome is Outcome.PASSED
    assert [point["weight"] for point in weighed.details["curve"]] == [0.5, 1.0]
    foreign = tmp_path / "foreign.safetensors"
    other = {"sdxl": tiny_flux, "flux": tiny_sdxl}[family]
    name = "flux" if family == "sdxl" else "sdxl"
    write_adapter(random_adapter(other, name), foreign, Format.DIFFUSERS)
    refused = run(Stage.QA, foreign, settings=settings_json(QA))
    assert refused.outcome is Outcome.FAILED
    assert refused.findings
    assert not refused.metrics
