"""Embedders of every kind, tiny and random, made without a network."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

SIDE = 32
WORDS = ["a", "red", "heart", "crab", "photo", "of", "glossy", "emoji", "in", "the", "snow"]
PROGRAM = """
import json, sys
import numpy as np
from PIL import Image

def embed(path):
    small = Image.open(path).convert("RGB").resize((6, 6), Image.Resampling.BOX)
    return np.asarray(small, float).ravel() / 255 - 0.45

for line in sys.stdin:
    vectors = np.array([embed(path) for path in json.loads(line)["pictures"]])
    if "--file" in sys.argv:
        np.save("vectors.npy", vectors)
        print(json.dumps({"vectors": "vectors.npy"}))
    else:
        print(json.dumps({"vectors": vectors.tolist()}))
"""


def write_siglip(folder: Path) -> Path:
    """A SigLIP of random weights, with a tokenizer of a few words."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    small = _small()
    text = {**small, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 24}
    vision = {**small, "image_size": SIDE, "patch_size": 8}
    _save(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), folder)
    size = {"height": SIDE, "width": SIDE}
    SiglipImageProcessorPil(size=size).save_pretrained(folder)
    _write_tokenizer(folder, "SiglipTokenizer")
    return folder


def write_siglip2(folder: Path) -> Path:
    """A SigLIP 2 that keeps the shape of pictures (NaFlex)."""
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    small = _small()
    text = {**small, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 24}
    vision = {**small, "num_patches": 16, "patch_size": 8}
    _save(Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)), folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    _write_tokenizer(folder, "GemmaTokenizer")
    return folder


def write_dinov2(folder: Path) -> Path:
    """A DINOv2 of random weights."""
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    _save(Dinov2Model(config), folder)
    crop = {"height": SIDE, "width": SIDE}
    size = {"shortest_edge": SIDE + 4}
    BitImageProcessorPil(size=size, crop_size=crop).save_pretrained(folder)
    return folder


def write_onnx(
    folder: Path,
    *,
    shape: tuple[object, ...] = ("n", 3, SIDE, SIDE),
    told: dict[str, str] | None = None,
    nodes: tuple[tuple[str, str, str], ...] = (),
) -> Path:
    """The folder of an ONNX file: means of 8 × 8 blocks, one after another; then `nodes`.

    A node is an operation, its input and its output; the last output is the model's.
    """
    from onnx import TensorProto, helper, save

    chain = (("Flatten", "blocks", "flat"), *nodes)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["pixels"], ["blocks"], kernel_shape=[8, 8],
                             strides=[8, 8]),
            *(helper.make_node(kind, [given], [made]) for kind, given, made in chain),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(chain[-1][2], TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, told or {})
    folder.mkdir(parents=True, exist_ok=True)
    save(model, str(folder / "tiny.onnx"))
    return folder


def write_torchscript(folder: Path, told: dict[str, object] | None = None) -> Path:
    """The folder of a TorchScript file: the same as the ONNX file."""
    import torch

    module = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
    folder.mkdir(parents=True, exist_ok=True)
    extra = {"lora-ci.json": json.dumps(told if told is not None else {"size": SIDE})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(folder / "tiny.pt"), _extra_files=extra)
    return folder


def write_program(folder: Path, text: str = PROGRAM, arguments: str = "") -> str:
    """The spec of a program in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "embed.py").write_text(text)
    return f"exec:{sys.executable} {folder / 'embed.py'} {arguments}".strip()


def _small() -> dict[str, int]:
    return {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip


def _save(model, folder: Path) -> None:
    """The model with weights of a fixed seed: large enough that pictures differ."""
    import torch

    source = torch.Generator().manual_seed(7)
    for value in model.parameters():
        value.data = torch.randn(value.shape, generator=source) * 0.2
    model.save_pretrained(folder)


def _write_tokenizer(folder: Path, kind: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["<pad>", "</s>", "<unk>", *WORDS]
    words = models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": kind, "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
