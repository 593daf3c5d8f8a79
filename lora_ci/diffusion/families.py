"""Families of base models as rows: what to teach, at which size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.core.errors import InputError

# The folders of a model in diffusers format.
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`attention` and `feed_forward` are endings of module names in the UNet."""

    name: str
    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    latent_channels: int


FAMILIES = (
    Family(
        name="sd15-like",
        attention=("to_q", "to_k", "to_v", "to_out.0"),
        feed_forward=("ff.net.0.proj", "ff.net.2"),
        latent_channels=4,
    ),
)


def family_of(unet_config: Mapping[str, object]) -> Family:
    """The family of a UNet config. Raises InputError for one that no row describes.

    One text encoder and no added conditioning is what tells SD 1.x (and 2.x) from SDXL.
    """
    channels = unet_config.get("in_channels")
    if (
        unet_config.get("addition_embed_type") is None
        and unet_config.get("class_embed_type") is None
    ):
        for family in FAMILIES:
            if channels == family.latent_channels:
                return family
    raise InputError(
        f"the base model's UNet ({channels} channels, added conditioning "
        f"{unet_config.get('addition_embed_type')}) is of no known family",
        hint="Stable Diffusion 1.x and 2.x text-to-image models are known",
    )
