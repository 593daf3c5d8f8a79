"""The judge on real adapters of the emoji world: a good one, a ruined one, a foreign one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lora_ci.core.finding import Severity
from lora_ci.core.settings import OptimizeSettings, QaSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepSpec
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

pytestmark = pytest.mark.slow

WORLD = Path("examples/emoji")
SETTINGS = QaSettings(
    embedder="path:clip",
    prompts=tuple(
        f"a glossy emoji of {x}, {{trigger}}"
        for x in ("polar bear", "crab", "red heart", "soccer ball", "tired face")
    ),
    flexibility_prompts=tuple(
        f"a glossy emoji of {x}, {{trigger}}" for x in ("pig face", "blue heart", "tangerine")
    ),
    base_prompts=("a flat emoji of panda face", "a glossy emoji of lemon"),
    strengths=(0.4, 1.0), seeds=2, steps=8, guidance=4.0, guidance_rescale=0.7,
)  # fmt: skip


def lies_at(path: Path) -> StepInput:
    return StepInput(content_id=str(path), path=str(path))


class Judge:
    """Runs QA and optimize as steps, one cache for all."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0
        self.store = LocalStore(root / "objects")

    def run(self, stage, params, inputs):
        self.count += 1
        folder = StepFolder(self.root / f"step-{self.count}")
        folder.write_spec(
            StepSpec(
                stage=stage, lora="fluent3d", fingerprint=f"{self.count:064}",
                inputs=inputs, params={"trigger": "fluent3d", "type": "style", **params},
            )
        )  # fmt: skip
        return exec_step(folder, self.store, self.root / "cache")

    def inputs(self, adapter: Path):
        sha256 = self.store.put(adapter)
        names = {"base_model": "base", "embedder": "clip"}
        names |= {"references": "pictures/fluent3d-references", "dataset": "pictures/fluent3d"}
        return {n: lies_at(WORLD / p) for n, p in names.items()} | {
            "adapter": StepInput(content_id=sha256, sha256=sha256)
        }

    def qa(self, adapter: Path, settings=SETTINGS, released=None, without=()):
        inputs = {n: i for n, i in self.inputs(adapter).items() if n not in without}
        if released:
            sha256 = self.store.put(released)
            inputs["released"] = StepInput(content_id=sha256, sha256=sha256)
        params = {"settings": settings_json(settings), "released_version": "1.0.0"}
        return self.run(Stage.QA, params, inputs)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return Judge(tmp_path_factory.mktemp("qa"))


def scaled(adapter: Adapter, factor: float) -> Adapter:
    layers = {n: replace(la, up=factor * la.up) for n, la in adapter.layers.items()}
    return replace(adapter, layers=layers)


def test_a_good_adapter_is_measured_in_all_five_tests(judge, style_adapter):
    result = judge.qa(style_adapter)
    scores = {t["name"]: t["score"] for t in result.details["tests"]}
    assert list(scores) == ["identity", "flexibility", "artifact", "consistency", "performance"]
    seen = result.details["similarity"]
    assert seen["base"]["mean"] < seen["adapter"]["mean"]
    assert result.metrics["identity"] > 0.2
    assert result.metrics["loss.against-base"] < 0
    assert result.metrics["sound"] == 1
    assert 0.5 < result.metrics["latency_ratio"] < 2
    json.dumps(result.details)


def test_every_picture_is_kept_and_named(judge, style_adapter):
    result = judge.qa(style_adapter)
    shown = result.details["pictures"]
    kinds = [p["kind"] for p in shown]
    assert kinds.count("base") == (8 + 2) * 2
    asked = [(p["prompt"], p["seed"]) for p in shown if p["kind"] == "base"]
    drawn = [(p["prompt"], p["seed"]) for p in shown if p["kind"] == "adapter"]
    # What is drawn for captions of training pictures, to find copies, comes after.
    assert drawn[: len(asked)] == asked
    assert len(drawn) > len(asked)
    assert kinds.count("strength") == 2 * 3
    assert kinds.count("reference") == 24
    assert kinds.count("training") == len(result.details["pairs"]) > 0
    placed = [p for p in shown if p["likeness"] is not None]
    assert {p["kind"] for p in placed} == {"base", "adapter"}
    for picture in (*shown, {"artifact": "grid.png"}):
        path = judge.store.get(result.artifact(picture["artifact"]).sha256)
        with Image.open(path) as image:
            image.load()


def test_the_same_adapter_is_judged_the_same_again(judge, style_adapter):
    one, two = judge.qa(style_adapter), judge.qa(style_adapter)
    assert one.metrics == two.metrics
    assert one.details["ruler"] == two.details["ruler"]
    assert two.details["drawn"]["made"] == 0


def test_another_gate_is_another_ruler(judge, style_adapter):
    one = judge.qa(style_adapter)
    two = judge.qa(style_adapter, replace(SETTINGS, gates={"identity": ">= 0.01"}))
    assert one.details["ruler"] != two.details["ruler"]
    assert two.details["drawn"]["made"] == 0


def test_a_released_adapter_of_another_base_says_nothing_of_the_candidate(
    judge, style_adapter, tmp_path
):
    old, foreign = read_adapter(style_adapter), tmp_path / "old.safetensors"
    layers = {f"unet.gone.{name.removeprefix('unet.')}": la for name, la in old.layers.items()}
    write_adapter(replace(old, layers=layers), foreign, Format.DIFFUSERS)
    result = judge.qa(style_adapter, released=foreign)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.findings[0].message.startswith("the released adapter: ")
    assert "`qa.skip: [regression]`" in result.findings[0].hint
    without = judge.qa(style_adapter, replace(SETTINGS, skip=("regression",)), released=foreign)
    assert without.details["tests"]


def test_a_ruined_adapter_fails_against_the_released_one(judge, style_adapter, tmp_path):
    ruined = tmp_path / "ruined.safetensors"
    write_adapter(scaled(read_adapter(style_adapter), -12.0), ruined, Format.DIFFUSERS)
    result = judge.qa(ruined, released=style_adapter)
    assert result.outcome is Outcome.FAILED
    assert result.details["comparison"]["low"] > 0.05
    assert "v1.0.0" in result.details["comparison"]["why"]
    failed = {g["metric"] for g in result.details["gates"] if g["outcome"] == "failed"}
    assert {"loss.against-released", "loss.against-base"} <= failed


def test_an_adapter_for_another_base_is_refused_before_any_picture(judge, tmp_path):
    layer = LoraLayer(down=torch.randn(4, 640), up=torch.randn(640, 4), alpha=4.0)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    path = tmp_path / "foreign.safetensors"
    write_adapter(Adapter(layers={name: layer}), path, Format.DIFFUSERS)
    result = judge.qa(path)
    assert result.outcome is Outcome.FAILED
    assert "adapter.shape" in {f.rule for f in result.findings if f.severity is Severity.ERROR}
    assert result.artifacts == ()


def test_without_references_the_verdict_is_inconclusive(judge, style_adapter):
    result = judge.qa(style_adapter, without=("references",))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "identity" not in result.metrics
    assert any("qa.references" in (f.hint or "") for f in result.findings)


def test_an_embedder_without_texts_leaves_flexibility_unmeasured(judge, style_adapter):
    result = judge.qa(style_adapter, replace(SETTINGS, embedder="classic:"), without=("embedder",))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "overall" not in result.metrics


def test_optimize_recommends_a_weight_it_tried(judge, style_adapter):
    inputs = {n: i for n, i in judge.inputs(style_adapter).items() if n != "dataset"}
    weights = (0.6, 1.0)
    params = {
        "settings": settings_json(OptimizeSettings(weights=weights)),
        "qa": settings_json(SETTINGS),
    }
    result = judge.run(Stage.OPTIMIZE, params, inputs)
    assert result.outcome is Outcome.PASSED
    assert result.metrics["recommended_weight"] in weights
    curve = [(p["weight"], p["identity"]) for p in result.details["curve"]]
    assert [w for w, _ in curve] == list(weights)
    assert np.isfinite([i for _, i in curve]).all()
