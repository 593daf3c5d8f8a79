"""Which family of base models a file is for: by its names, then its widths, then what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

SD1, SD2, SDXL, FLUX = "sd1", "sd2", "sdxl", "flux"

# Family → what model files say of their architecture (Stability AI's ModelSpec).
ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        SD1: "stable-diffusion-v1",
        SD2: "stable-diffusion-v2-512",
        SDXL: "stable-diffusion-xl-v1-base",
        FLUX: "flux-1-dev",
    }
)
# … and the same as kohya's tools say it.
BASE_VERSIONS: Mapping[str, str] = MappingProxyType(
    {SD1: "sd_v1", SD2: "sd_v2", SDXL: "sdxl_base_v1-0", FLUX: "flux1"}
)
# Width of the text embeddings that the UNet's cross-attention reads.
CROSS_WIDTHS = {768: SD1, 1024: SD2, 2048: SDXL}
SDXL_KEYS = ("lora_te2_", "text_encoder_2.", "lora_unet_input_", "lora_unet_output_")


def detect_family(
    names: Iterable[str], widths: Mapping[str, int], metadata: Mapping[str, str]
) -> str:
    """The family; `names` are keys of the file or module paths, `widths` the input widths by path.

    What is written in the metadata counts only where names and widths leave it open, and SD 1.x
    is the answer where nothing tells.
    """
    names = tuple(names)
    if any(name.startswith("transformer.") for name in widths):
        return FLUX
    for path, width in widths.items():
        if path.startswith("unet.") and re.search(r"\.attn2\.to_[kv]$", path):
            if width in CROSS_WIDTHS:
                return CROSS_WIDTHS[width]
            break
    if any(name.startswith(SDXL_KEYS) or _deep(name) for name in (*names, *widths)):
        return SDXL
    return declared_family(metadata) or SD1


def _deep(path: str) -> bool:
    """True for what only SDXL's UNet has: more than one transformer block, size embeddings."""
    deep = re.search(r"^unet\..*\.transformer_blocks\.[1-9]", path)
    return bool(deep) or path.startswith("unet.add_embedding.")


def declared_family(metadata: Mapping[str, str]) -> str | None:
    """The family that a file's metadata names, or None."""
    architecture = metadata.get("modelspec.architecture", "").lower()
    version = metadata.get("ss_base_model_version", "").lower()
    for word, family in (
        ("stable-diffusion-xl", SDXL),
        ("stable-diffusion-v2", SD2),
        ("stable-diffusion-v1", SD1),
        ("flux-1", FLUX),
    ):
        if architecture.startswith(word):
            return family
    for word, family in (("sdxl", SDXL), ("sd_v2", SD2), ("sd_v1", SD1), ("flux1", FLUX)):
        if version.startswith(word):
            return family
    return None
