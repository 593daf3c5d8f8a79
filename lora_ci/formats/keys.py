"""Names of adapter tensors: file key → (module path, part), and back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lora_ci.core.errors import InputError

UNET, TEXT = "unet", "text_encoder"
KOHYA_PREFIXES = {"lora_unet_": UNET, "lora_te_": TEXT, "lora_te1_": TEXT}

# Suffix of a diffusers key → part; the second pair is what diffusers wrote before peft.
DIFFUSERS_PARTS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".alpha": "alpha",
}
KOHYA_PARTS = {".lora_down.weight": "down", ".lora_up.weight": "up", ".alpha": "alpha"}

# Parts of other algorithms: reading only their LoRA-like half would give another effect.
FOREIGN = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "oft_": "OFT",
    "lora_mid": "LoCon with Tucker decomposition",
    "diff": "full difference",
    "lora_B.bias": "LoRA with bias",
}

# Words with underscores in module names of SD UNets and CLIP; all others are split at each one.
COMPOUND = [
    "add_embedding",
    "attn1",
    "attn2",
    "conv_in",
    "conv_norm_out",
    "conv_out",
    "conv_shortcut",
    "cross_attn",
    "down_blocks",
    "mid_block",
    "up_blocks",
    "transformer_blocks",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "proj_in",
    "proj_out",
    "time_emb_proj",
    "time_embedding",
    "linear_1",
    "linear_2",
    "text_model",
    "self_attn",
    "q_proj",
    "k_proj",
    "v_proj",
    "out_proj",
    "text_projection",
    "final_layer_norm",
]


def split_key(key: str, name: str) -> tuple[str, str]:
    """Module path and part (`down`, `up`, `alpha`) of a diffusers or kohya key.

    Raises InputError for other algorithms and unknown keys; `name` is the file's, for messages.
    """
    for prefix, component in KOHYA_PREFIXES.items():
        if key.startswith(prefix):
            module, part = _cut(key, KOHYA_PARTS, name)
            return f"{component}.{dotted(module.removeprefix(prefix), name)}", part
    if key.startswith((f"{UNET}.", f"{TEXT}.")):
        module, part = _cut(key, DIFFUSERS_PARTS, name)
        return module, part
    raise InputError(
        f"{name}: unknown tensor `{key[:100]}`",
        hint="adapters in diffusers/peft or kohya format for Stable Diffusion 1.x are read",
    )


def _cut(key: str, parts: Mapping[str, str], name: str) -> tuple[str, str]:
    for suffix, part in parts.items():
        if key.endswith(suffix):
            return key.removesuffix(suffix), part
    tail = ".".join(key.split(".")[1:])
    for mark, algorithm in FOREIGN.items():
        if f".{mark}" in f".{tail}":
            raise InputError(
                f"{name}: `{key[:100]}` belongs to a {algorithm} adapter, which cannot be converted"
                " to LoRA without loss",
                hint="train or export the adapter as plain LoRA",
            )
    raise InputError(f"{name}: unknown tensor `{key[:100]}`")


def dotted(flat: str, name: str) -> str:
    """`down_blocks_0_attentions_0` → `down_blocks.0.attentions.0`. Raises InputError."""
    if flat.startswith(("input_blocks", "middle_block", "output_blocks")):
        raise InputError(f"{name}: names of another UNet layout (`{flat[:60]}`), such as SDXL's")
    words = flat.split("_")
    if not all(words):
        raise InputError(f"{name}: cannot tell which module `{flat[:100]}` is")
    path: list[str] = []
    while words:
        size = next((n for n in (3, 2) if "_".join(words[:n]) in COMPOUND), 1)
        path.append("_".join(words[:size]))
        words = words[size:]
    return ".".join(path)


def kohya_module(path: str) -> str:
    """Kohya's name of a module; kohya knows the text encoder by its older path."""
    component, module = path.split(".", 1)
    if component == TEXT and not module.startswith("text_model."):
        module = f"text_model.{module}"
    prefix = {UNET: "lora_unet_", TEXT: "lora_te_"}[component]
    return prefix + module.replace(".", "_")


def base_path(path: str) -> str:
    """A module's path in the base: transformers 5 dropped `text_model.` from CLIP's names."""
    return path.replace(f"{TEXT}.text_model.", f"{TEXT}.", 1)


def peft_alphas(metadata: Mapping[str, str], name: str) -> Mapping[str, object]:
    """What diffusers keeps beside the tensors (`lora_adapter_metadata`), flat; {} without it."""
    try:
        found = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: lora_adapter_metadata is not JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{name}: lora_adapter_metadata is not an object")
    return found
