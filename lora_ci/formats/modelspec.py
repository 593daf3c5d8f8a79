"""What an adapter's file says of itself, in the words that other tools read.

Stability AI's ModelSpec 1.0.1 (`modelspec.…`), and kohya's keys: `ss_…` of the training, `sshs_…`
of the file. Only what is listed leaves, so no path and no user name does. A date is kept if the
adapter has one; no clock is asked, so that equal content gives equal bytes.

Source: https://github.com/Stability-AI/ModelSpec; sd-scripts, library/train_util.py,
`precalculate_safetensors_hashes`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from lora_ci.formats.adapter import Adapter
from lora_ci.formats.family import ARCHITECTURES, BASE_VERSIONS, FLUX, SDXL, declared_family

VERSION = "1.0.1"
KEPT = (
    "modelspec.title",
    "modelspec.description",
    "modelspec.date",
    "modelspec.license",
    "modelspec.merged_from",
    "modelspec.prediction_type",
    "modelspec.resolution",
    "modelspec.tags",
    "modelspec.trigger_phrase",
    "modelspec.usage_hint",
    "ss_clip_skip",
    "ss_epoch",
    "ss_learning_rate",
    "ss_lr_scheduler",
    "ss_max_train_steps",
    "ss_network_args",
    "ss_network_module",
    "ss_noise_offset",
    "ss_num_epochs",
    "ss_num_train_images",
    "ss_resolution",
    "ss_seed",
    "ss_steps",
    "ss_text_encoder_lr",
    "ss_unet_lr",
    "ss_v2",
)
# What a training's figures look like; a path or a sentence is none.
FIGURE = re.compile(r'[\w.,:()\[\]{}"+ -]{0,400}')

# ModelSpec: the code whose names the tensors have.
SGM = "https://github.com/Stability-AI/generative-models"
BFL = "https://github.com/black-forest-labs/flux"

# What the legacy hash is made of: 64 KiB of the file, from 1 MiB on.
LEGACY = slice(0x100000, 0x110000)


def describe(adapter: Adapter, rank: int, *, kohya: bool) -> dict[str, str]:
    """The metadata of a file without its digests. `rank` is that of its layers, and their alpha.

    Returns at least what ModelSpec asks of an adapter: `sai_model_spec`, `architecture`,
    `implementation`, `title`. (`resolution` may be left off by adapters.)
    """
    had = adapter.metadata
    kept = {key: had[key] for key in KEPT if key in had and _tells(key, had[key])}
    kept.setdefault("modelspec.title", "LoRA")
    kept.setdefault("ss_network_module", "networks.lora")
    implementation = {SDXL: SGM, FLUX: BFL}.get(adapter.family, "diffusers")
    return kept | {
        "modelspec.sai_model_spec": VERSION,
        "modelspec.architecture": f"{_architecture(adapter)}/lora",
        "modelspec.implementation": implementation if kohya else "diffusers",
        "ss_base_model_version": BASE_VERSIONS[adapter.family],
        # Whatever it was in training: alpha is baked in.
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
    }


def _tells(key: str, value: str) -> bool:
    return key.startswith("modelspec.") or FIGURE.fullmatch(value) is not None


def _architecture(adapter: Adapter) -> str:
    """The family's, or a closer one that the adapter names (`stable-diffusion-v2-768-v`)."""
    named = adapter.metadata.get("modelspec.architecture", "").removesuffix("/lora")
    fits = declared_family({"modelspec.architecture": named}) == adapter.family
    return named if fits and re.fullmatch(r"[a-z0-9.-]+", named) else ARCHITECTURES[adapter.family]


def digests(data: bytes, header: bytes) -> dict[str, str]:
    """The keys that identify the tensors: `data` are their bytes.

    `header` is the file's header if it had only the `ss_…` keys: what stands in the rest may be
    edited without the legacy hash changing.
    """
    digest = hashlib.sha256(data).hexdigest()
    start = len(header)
    legacy = header[LEGACY] + data[max(LEGACY.start - start, 0) : max(LEGACY.stop - start, 0)]
    return {
        "modelspec.hash_sha256": f"0x{digest}",
        "sshs_model_hash": digest,
        "sshs_legacy_hash": hashlib.sha256(legacy).hexdigest()[:8],
    }


def training_keys(metadata: Mapping[str, str]) -> dict[str, str]:
    """The `ss_…` keys alone."""
    return {key: value for key, value in metadata.items() if key.startswith("ss_")}
