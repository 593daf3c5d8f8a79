"""Models that scan pictures, tiny and random, made without a network."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny_embedders import SIDE

LABELS = ["dark", "red", "green"]


def write_onnx_scanner(folder: Path, **told: str) -> Path:
    """Says the means of the colors: bright is sure. Not told otherwise, as they are."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ("n", 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    plain = {"mean": "[0, 0, 0]", "std": "[1, 1, 1]", "labels": json.dumps(LABELS)}
    helper.set_model_props(model, {**plain, **told})
    folder.mkdir(parents=True, exist_ok=True)
    save(model, str(folder / "tiny.onnx"))
    return folder


def write_classifier(folder: Path) -> Path:
    """A ViT that classifies, of random weights."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=8, id2label=dict(enumerate(LABELS)), initializer_range=0.5,
        label2id={label: i for i, label in enumerate(LABELS)},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def write_checker(folder: Path) -> Path:
    """Diffusers' safety checker of random weights, its limits in reach."""
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    torch.manual_seed(2)
    vision = {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8,
    }  # fmt: skip
    model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    for value in (*model.vision_model.parameters(), *model.visual_projection.parameters()):
        value.data = torch.randn_like(value) * 0.3
    for value in (model.concept_embeds, model.special_care_embeds):
        value.data = torch.randn_like(value)
    model.concept_embeds_weights.data.fill_(0.35)
    model.special_care_embeds_weights.data.fill_(0.2)
    model.save_pretrained(folder)
    crop = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop).save_pretrained(folder)
    return folder
