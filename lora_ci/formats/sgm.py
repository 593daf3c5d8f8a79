"""SDXL's UNet in two namings: diffusers', and that of the original code, which kohya's files use.

The original code counts all blocks of a way in one row: `input_blocks` (the first is `conv_in`,
then for each block its residual layers and what makes the picture smaller), `middle_block`, and
`output_blocks`, which have one layer more and what makes the picture bigger in their last.
Source: ComfyUI, comfy/utils.py, `unet_to_diffusers`.
"""

from __future__ import annotations

import re

# SDXL's `layers_per_block`: residual layers of a block on the way down.
LAYERS = 2
ROOTS = ("input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "out")

SINGLE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
NAMES = {sgm: name for name, sgm in SINGLE.items()}
RESNET_NAMES = {sgm: name for name, sgm in RESNET.items()}


def to_sgm(path: str) -> str | None:
    """The original name of a module of SDXL's UNet; None for one that SDXL does not have."""
    if path in SINGLE:
        return SINGLE[path]
    if found := re.fullmatch(r"(mid_block\.(?:resnets|attentions)\.\d)\.(.+)", path):
        block, rest = SINGLE.get(found[1]), _inner(found[1], found[2])
        return f"{block}.{rest}" if block and rest else None
    if found := re.fullmatch(r"(down|up)_blocks\.(\d)\.(down|up)samplers\.0\.conv", path):
        way, number = found[1], int(found[2])
        if way != found[3]:
            return None
        last = number * (LAYERS + 1) + LAYERS
        # What is made bigger lies behind a residual layer and an attention.
        return f"input_blocks.{last + 1}.0.op" if way == "down" else f"output_blocks.{last}.2.conv"
    if found := re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.+)", path):
        way, kind, number, layer = found[1], found[3], int(found[2]), int(found[4])
        rest = _inner(kind, found[5])
        if rest is None or layer >= LAYERS + (way == "up"):
            return None
        row = number * (LAYERS + 1) + layer + (way == "down")
        slot = 0 if kind == "resnets" else 1
        return f"{'input' if way == 'down' else 'output'}_blocks.{row}.{slot}.{rest}"
    return None


def _inner(kind: str, rest: str) -> str | None:
    return RESNET.get(rest) if "resnets" in kind else rest


def from_sgm(path: str) -> str | None:
    """diffusers' name of a module of SDXL's UNet; None for one that SDXL does not have."""
    if path in NAMES:
        return NAMES[path]
    if found := re.fullmatch(r"(middle_block\.[012])\.(.+)", path):
        block = NAMES[found[1]]
        rest = RESNET_NAMES.get(found[2]) if "resnets" in block else found[2]
        return f"{block}.{rest}" if rest else None
    if found := re.fullmatch(r"input_blocks\.(\d{1,2})\.([01])\.(.+)", path):
        block_number, layer = divmod(int(found[1]) - 1, LAYERS + 1)
        if found[3] == "op" and layer == LAYERS and found[2] == "0" and block_number >= 0:
            return f"down_blocks.{block_number}.downsamplers.0.conv"
        return _layer("down", block_number, layer, found[2], found[3]) if layer < LAYERS else None
    if found := re.fullmatch(r"output_blocks\.(\d{1,2})\.([012])\.(.+)", path):
        block_number, layer = divmod(int(found[1]), LAYERS + 1)
        if found[3] == "conv" and layer == LAYERS and found[2] != "0":
            return f"up_blocks.{block_number}.upsamplers.0.conv"
        return _layer("up", block_number, layer, found[2], found[3])
    return None


def _layer(way: str, block: int, layer: int, slot: str, rest: str) -> str | None:
    if block < 0 or slot == "2":
        return None
    if slot == "1":
        return f"{way}_blocks.{block}.attentions.{layer}.{rest}"
    inner = RESNET_NAMES.get(rest)
    return f"{way}_blocks.{block}.resnets.{layer}.{inner}" if inner else None
