"""FLUX's transformer in two namings: diffusers', and that of the original code, which kohya's
files use. The original code has one matrix where diffusers has three or four, one below the other.

Source: diffusers, scripts/convert_flux_to_diffusers.py; sd-scripts, networks/convert_flux_lora.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ROOTS = (
    "double_blocks",
    "single_blocks",
    "img_in",
    "txt_in",
    "time_in",
    "vector_in",
    "guidance_in",
    "final_layer",
)
_DOUBLE, _SINGLE = "transformer_blocks.{n}", "single_transformer_blocks.{n}"

# Original module → the modules of diffusers whose weights lie in it, from top to bottom.
MODULES: Mapping[str, tuple[str, ...]] = {
    "double_blocks.{n}.img_attn.qkv": tuple(f"{_DOUBLE}.attn.to_{x}" for x in "qkv"),
    "double_blocks.{n}.txt_attn.qkv": tuple(f"{_DOUBLE}.attn.add_{x}_proj" for x in "qkv"),
    "double_blocks.{n}.img_attn.proj": (f"{_DOUBLE}.attn.to_out.0",),
    "double_blocks.{n}.txt_attn.proj": (f"{_DOUBLE}.attn.to_add_out",),
    "double_blocks.{n}.img_mlp.0": (f"{_DOUBLE}.ff.net.0.proj",),
    "double_blocks.{n}.img_mlp.2": (f"{_DOUBLE}.ff.net.2",),
    "double_blocks.{n}.txt_mlp.0": (f"{_DOUBLE}.ff_context.net.0.proj",),
    "double_blocks.{n}.txt_mlp.2": (f"{_DOUBLE}.ff_context.net.2",),
    "double_blocks.{n}.img_mod.lin": (f"{_DOUBLE}.norm1.linear",),
    "double_blocks.{n}.txt_mod.lin": (f"{_DOUBLE}.norm1_context.linear",),
    "single_blocks.{n}.linear1": (
        *(f"{_SINGLE}.attn.to_{x}" for x in "qkv"),
        f"{_SINGLE}.proj_mlp",
    ),
    "single_blocks.{n}.linear2": (f"{_SINGLE}.proj_out",),
    "single_blocks.{n}.modulation.lin": (f"{_SINGLE}.norm.linear",),
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
ORIGINAL = {part: (name, i) for name, parts in MODULES.items() for i, part in enumerate(parts)}

# diffusers has the scale above the shift here, the original code the shift above the scale.
SWAPPED = "final_layer.adaLN_modulation.1"


def parts_of(path: str) -> tuple[str, ...]:
    """The modules of diffusers that lie in an original module; () for one that FLUX lacks."""
    name, number = _numbered(path)
    return tuple(part.replace("{n}", number) for part in MODULES.get(name, ()))


def original_of(path: str) -> tuple[str, int] | None:
    """The original module in which a module of diffusers lies, and its place there, or None."""
    name, number = _numbered(path)
    found = ORIGINAL.get(name)
    return (found[0].replace("{n}", number), found[1]) if found else None


def part_rows(original: str, rows: int | None, width: int) -> tuple[int, ...]:
    """How many rows each part of a fused module has; `rows` of all, None if not known.

    The attention's three are of one height; FLUX's feed-forward part is four times its width.
    """
    count = len(parts_of(original))
    if count == 4:
        return (width, width, width, 4 * width if rows is None else rows - 3 * width)
    return (width if rows is None else rows // count,) * count


def _numbered(path: str) -> tuple[str, str]:
    found = re.match(r"([a-z_]+)\.(\d{1,3})\.", path)
    if not found or found[1] not in (*ROOTS, "transformer_blocks", "single_transformer_blocks"):
        return path, ""
    return f"{found[1]}.{{n}}.{path[found.end() :]}", found[2]
