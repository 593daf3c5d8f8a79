"""Families of base models as rows: which parts they have, what can be taught, at which size."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lora_ci.core.errors import InputError

UNET_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
UNET_CONVOLUTION = ("conv1", "conv2", "conv_shortcut")

# Where AUTOMATIC1111's web UI starts for Stable Diffusion; diffusers' pipelines start at 7.5.
# SDXL's and FLUX's below are the defaults of StableDiffusionXLPipeline and FluxPipeline.
UNET_GUIDANCE = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the models of a family have in common.

    `parts` are folders of the diffusers format, `attention`, `feed_forward` and `convolution` are
    endings of module names in the denoiser, `taught_texts` the text encoders that an adapter may
    teach. `patch` latents along a side are one token of the denoiser. `guidance` is what its models
    are asked with where nobody says otherwise. `architecture` is the id of the ModelSpec,
    https://github.com/Stability-AI/ModelSpec.
    """

    name: str
    denoiser: Literal["unet", "transformer"]
    parts: tuple[str, ...]
    taught_texts: tuple[str, ...]
    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    convolution: tuple[str, ...]
    latent_channels: int
    architecture: str
    guidance: float
    objective: Literal["noise", "flow"] = "noise"
    patch: int = 1

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of all text encoders."""
        return tuple(part for part in self.parts if part.startswith("text_encoder"))


def _unet(name: str, architecture: str) -> Family:
    return Family(
        name=name,
        denoiser="unet",
        parts=UNET_PARTS,
        taught_texts=("text_encoder",),
        attention=UNET_ATTENTION,
        feed_forward=UNET_FEED_FORWARD,
        convolution=UNET_CONVOLUTION,
        latent_channels=4,
        architecture=architecture,
        guidance=UNET_GUIDANCE,
    )


SD1 = _unet("sd1", "stable-diffusion-v1")
SD2 = _unet("sd2", "stable-diffusion-v2-768-v")
SDXL = Family(
    name="sdxl",
    denoiser="unet",
    parts=(*UNET_PARTS, "text_encoder_2", "tokenizer_2"),
    taught_texts=("text_encoder", "text_encoder_2"),
    attention=UNET_ATTENTION,
    feed_forward=UNET_FEED_FORWARD,
    convolution=UNET_CONVOLUTION,
    latent_channels=4,
    architecture="stable-diffusion-xl-v1-base",
    guidance=5.0,
)
FLUX = Family(
    name="flux",
    denoiser="transformer",
    parts=(
        *("transformer", "vae", "text_encoder", "tokenizer"),
        *("text_encoder_2", "tokenizer_2", "scheduler"),
    ),
    taught_texts=("text_encoder",),
    attention=(
        *("to_q", "to_k", "to_v", "to_out.0"),
        *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    ),
    feed_forward=(
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
        *("proj_mlp", "proj_out"),
    ),
    convolution=(),
    latent_channels=16,
    architecture="flux-1-dev",
    guidance=3.5,
    objective="flow",
    patch=2,
)
# The width of a text token in SD 2.x; SD 1.x has 768.
SD2_WIDTH = 1024


def missing_parts(folders: Collection[str]) -> tuple[str, ...]:
    """The parts that a base model of these folders lacks; () for a whole one.

    A transformer makes it FLUX, a second text encoder beside a UNet SDXL.
    """
    if "transformer" in folders and "unet" not in folders:
        wanted = FLUX.parts
    elif {"text_encoder_2", "tokenizer_2"} & set(folders):
        wanted = SDXL.parts
    else:
        wanted = SD1.parts
    return tuple(part for part in wanted if part not in folders)


def family_of(denoiser: Mapping[str, Any], where: str) -> Family:
    """The family of a denoiser's config. Raises InputError for one that no row describes.

    `where` names the base model in the message.

    One text encoder and no added conditioning is what tells SD 1.x and 2.x from SDXL.
    """
    if denoiser.get("_class_name") == "FluxTransformer2DModel":
        if denoiser.get("in_channels") == FLUX.latent_channels * FLUX.patch**2:
            return FLUX
    elif (
        denoiser.get("_class_name") == "UNet2DConditionModel"
        and denoiser.get("in_channels") == SD1.latent_channels
    ):
        added = denoiser.get("addition_embed_type")
        if added == "text_time":
            return SDXL
        if added is None and denoiser.get("class_embed_type") is None:
            return SD2 if denoiser.get("cross_attention_dim") == SD2_WIDTH else SD1
    raise InputError(
        f"base model {where}: its {denoiser.get('_class_name', 'denoiser')} "
        f"({denoiser.get('in_channels')} channels, added conditioning "
        f"{denoiser.get('addition_embed_type')}) is of no known family",
        hint="Stable Diffusion 1.x, 2.x, XL and FLUX.1 text-to-image models are known",
    )
