"""Names of adapter tensors: file key → (module path, part), and back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lora_ci.core.errors import InputError
from lora_ci.formats import bfl, sgm
from lora_ci.formats.family import FLUX, SDXL
from lora_ci.formats.foreign import refuse_foreign

UNET, TRANSFORMER, TEXT, TEXT_2 = "unet", "transformer", "text_encoder", "text_encoder_2"
COMPONENTS = (UNET, TRANSFORMER, TEXT, TEXT_2)
# Not a component: modules of FLUX's transformer under the names of the original code.
BFL = "bfl"

KOHYA_PREFIXES = {
    "lora_unet_": UNET,
    "lora_transformer_": TRANSFORMER,
    "lora_te_": TEXT,
    "lora_te1_": TEXT,
    "lora_te2_": TEXT_2,
    "lora_te3_": TEXT_2,
}

# Suffix of a diffusers key → part; all but the first are what diffusers wrote before peft.
DIFFUSERS_PARTS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
KOHYA_PARTS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".dora_scale": "dora_scale",
    ".alpha": "alpha",
}
# Before peft, diffusers named a text encoder's projections as the UNet's.
OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}

# With what the names of modules begin, by component; another beginning is another model's.
ROOTS = {
    UNET: (
        *("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding"),
        *("add_embedding", "class_embedding"),
        *sgm.ROOTS,
        *bfl.ROOTS,
    ),
    TRANSFORMER: (
        *("transformer_blocks", "single_transformer_blocks", "x_embedder", "context_embedder"),
        *("time_text_embed", "norm_out", "proj_out"),
    ),
    TEXT: ("text_model", "text_projection", "encoder"),
    TEXT_2: ("text_model", "text_projection", "encoder"),
}

# Words with underscores in the names of modules; all others are split at each one.
_WORDS = """
    down_blocks mid_block up_blocks conv_in conv_out conv_shortcut conv_norm_out time_embedding
    add_embedding class_embedding linear_1 linear_2 time_emb_proj transformer_blocks
    to_q to_k to_v to_out proj_in proj_out
    input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection
    time_embed label_emb
    single_transformer_blocks to_add_out add_q_proj add_k_proj add_v_proj norm1_context ff_context
    proj_mlp x_embedder context_embedder time_text_embed timestep_embedder text_embedder
    guidance_embedder norm_out
    double_blocks single_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod img_in txt_in
    time_in vector_in guidance_in in_layer out_layer final_layer adaLN_modulation
    text_model self_attn q_proj k_proj v_proj out_proj text_projection final_layer_norm wi_0 wi_1
"""
COMPOUND = frozenset(_WORDS.split())


def split_key(key: str, name: str) -> tuple[str, str]:
    """Module path and part (`down`, `up`, `alpha`, `magnitude`, `dora_scale`) of a file's key.

    Paths are diffusers' (`unet.…`, `transformer.…`, `text_encoder.…`, `text_encoder_2.…`), but
    `bfl.…` for modules of FLUX that hold several of diffusers' (`fuse.split_fused` takes them).
    Raises InputError for other algorithms and unknown keys; `name` is the file's, for messages.
    """
    for prefix, component in KOHYA_PREFIXES.items():
        if key.startswith(prefix):
            flat, part = _cut(key, KOHYA_PARTS, name)
            return _module(component, flat.removeprefix(prefix), name), part
    if key.startswith(tuple(f"{component}." for component in COMPONENTS)):
        module, part = _cut(key, DIFFUSERS_PARTS, name)
        if not module.partition(".")[2]:
            raise InputError(f"{name}: `{key[:100]}` names no module")
        return _modern(module), part
    refuse_foreign(key, name)
    raise InputError(
        f"{name}: unknown tensor `{key[:100]}`",
        hint="adapters in diffusers/peft or kohya format for SD 1.x, SD 2.x, SDXL and FLUX are read"
        " (an adapter_model.safetensors of peft itself: save it with pipeline.save_lora_weights)",
    )


def _cut(key: str, parts: Mapping[str, str], name: str) -> tuple[str, str]:
    for suffix, part in parts.items():
        if key.endswith(suffix):
            return key.removesuffix(suffix), part
    refuse_foreign(key, name)
    raise InputError(f"{name}: unknown tensor `{key[:100]}`")


def _modern(module: str) -> str:
    """A module's path without what diffusers added to it before peft."""
    module = module.replace(".processor.to_", ".to_")
    head, _, last = module.rpartition(".")
    if module.startswith((f"{TEXT}.", f"{TEXT_2}.")):
        module = f"{head}.{OLD_TEXT.get(last, last)}"
    elif last == "to_out":
        module += ".0"
    return base_path(module)


def _module(component: str, flat: str, name: str) -> str:
    path = dotted(flat, name)
    root = path.split(".", 1)[0]
    if root not in ROOTS[component]:
        raise InputError(
            f"{name}: `{flat[:100]}` is no module of a known {component}",
            hint="adapters for SD 1.x, SD 2.x, SDXL and FLUX are read",
        )
    if component != UNET:
        return base_path(f"{component}.{path}")
    if root in bfl.ROOTS:
        if not bfl.parts_of(path):
            raise InputError(f"{name}: FLUX has no module `{flat[:100]}`")
        return f"{BFL}.{path}"
    if root in sgm.ROOTS:
        found = sgm.from_sgm(path)
        if found is None:
            raise InputError(f"{name}: SDXL's UNet has no module `{flat[:100]}`")
        path = found
    return f"{UNET}.{path}"


def dotted(flat: str, name: str) -> str:
    """`down_blocks_0_attentions_0` → `down_blocks.0.attentions.0`. Raises InputError."""
    words = flat.split("_")
    if not all(words):
        raise InputError(f"{name}: cannot tell which module `{flat[:100]}` is")
    path: list[str] = []
    at = 0
    while at < len(words):
        size = next((n for n in (3, 2) if "_".join(words[at : at + n]) in COMPOUND), 1)
        path.append("_".join(words[at : at + size]))
        at += size
    return ".".join(path)


def kohya_module(path: str, family: str) -> str | None:
    """Kohya's name of a module; None if kohya's tools have none for it.

    FLUX's transformer is told by `bfl.…` paths here (`fuse.fuse_layers` makes them).
    """
    component, module = path.split(".", 1)
    if component == BFL:
        return f"lora_unet_{module.replace('.', '_')}"
    if component == UNET:
        named = sgm.to_sgm(module) if family == SDXL else module
        return f"lora_unet_{named.replace('.', '_')}" if named else None
    prefixes = {TEXT: "lora_te_", TEXT_2: "lora_te2_"}
    if family in (SDXL, FLUX):
        prefixes[TEXT] = "lora_te1_"
    if family == FLUX:
        prefixes[TEXT_2] = "lora_te3_"
    if component not in prefixes:
        return None
    return prefixes[component] + stored_path(path).split(".", 1)[1].replace(".", "_")


def base_path(path: str) -> str:
    """A module's path as adapters have it here: transformers 5 took `text_model.` out of CLIP's."""
    component, _, module = path.partition(".")
    if component in (TEXT, TEXT_2):
        return f"{component}.{module.removeprefix('text_model.')}"
    return path


def stored_path(path: str) -> str:
    """A module's path as files have it: all tools know CLIP's layers below `text_model`."""
    component, _, module = path.partition(".")
    if component in (TEXT, TEXT_2) and module.startswith("encoder.layers."):
        return f"{component}.text_model.{module}"
    return path


def peft_config(metadata: Mapping[str, str], name: str) -> Mapping[str, object]:
    """What diffusers keeps beside the tensors (`lora_adapter_metadata`), flat; {} without it."""
    try:
        found = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: lora_adapter_metadata is not JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{name}: lora_adapter_metadata is not an object")
    return found
