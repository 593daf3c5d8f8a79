"""Loads a base model from a diffusers folder; never from the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from lora_ci.core.errors import InputError, machine_error
from lora_ci.diffusion.families import PARTS, Family, family_of
from lora_ci.diffusion.quiet import quiet_transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

ANEW = "next: save it anew with pipeline.save_pretrained(…), then dvc add, dvc push and commit"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseModel:
    """The parts of a Stable Diffusion model, in evaluation mode, without gradients.

    `originals` holds the weights that an attached adapter has changed (see `attach`).
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    folder: Path
    family: Family
    content_id: str | None = None
    originals: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels, along one side, one latent stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def resolution(self) -> int:
        """The native side in pixels."""
        return int(self.unet.config.sample_size) * self.pixels_per_latent

    def modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """Linear and convolution modules of UNet and text encoder, by adapter path."""
        for component in ("unet", "text_encoder"):
            for name, module in getattr(self, component).named_modules():
                if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                    # transformers 4 has `text_model.`, 5 has not; adapters use the shorter path.
                    yield f"{component}.{name.removeprefix('text_model.')}", module

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight shapes by module path, for the contract check."""
        return {name: tuple(module.weight.shape) for name, module in self.modules()}


def load_base(folder: Path, dtype: str = "float32", *, content_id: str | None = None) -> BaseModel:
    """The base model in `folder`.

    Raises InputError when the folder is missing, is not a Stable Diffusion model in diffusers
    format, or when its weights are damaged or not whole.
    """
    check_folder(folder)
    family = family_of(_config(folder / "unet" / "config.json"))
    unet = _part(folder, "unet", UNet2DConditionModel, torch_dtype=DTYPES[dtype])
    vae = _part(folder, "vae", AutoencoderKL, torch_dtype=DTYPES[dtype])
    text_encoder = _part(folder, "text_encoder", CLIPTextModel, dtype=DTYPES[dtype])
    stored = _config(folder / "scheduler" / "scheduler_config.json")
    with _told_simply(folder / "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    with _told_simply(folder / "scheduler"):
        # Other samplers' configs share DDIM's fields; pictures are always made with DDIM.
        scheduler = DDIMScheduler.from_config(stored)
    return BaseModel(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        folder=folder,
        family=family,
        content_id=content_id,
    )


def _part(folder: Path, name: str, kind: Any, **dtype: torch.dtype) -> Any:
    """A model, whole and finite; the libraries fill gaps with random weights and a warning."""
    with _told_simply(folder / name):
        model, told = kind.from_pretrained(
            folder,
            subfolder=name,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **dtype,
        )
    absent = sorted(told["missing_keys"])
    if absent:
        message = f"{len(absent)} of its weights are not in the file, such as {absent[0]}"
        raise InputError(f"base model {folder / name}: {message}", hint=ANEW)
    for key, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise InputError(f"base model {folder / name}: {key} is not finite", hint=ANEW)
    return model.eval().requires_grad_(False)


@contextmanager
def _told_simply(part: Path) -> Iterator[None]:
    """Says in one line why a part cannot be loaded; the libraries are silent meanwhile."""
    try:
        with quiet_transformers():
            yield
    except OSError as error:
        if machine_error(error):
            raise
        raise _unloadable(part, error) from error
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _unloadable(part, error) from error


def _unloadable(part: Path, error: Exception) -> InputError:
    words = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return InputError(f"base model {part} cannot be loaded: {words}", hint=ANEW)


def check_folder(folder: Path) -> None:
    """Raises InputError unless `folder` has the parts of a diffusers Stable Diffusion model."""
    if not folder.is_dir():
        raise InputError(f"base model {folder}: no such folder", hint="next: check `base_model`")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise InputError(
            f"base model {folder}: not a Stable Diffusion model in diffusers format, "
            f"no folder {', '.join(missing)}",
            hint="convert a single-file checkpoint with StableDiffusionPipeline.from_single_file",
        )


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"base model {path}: no readable model config: {error}"
        raise InputError(message, hint=ANEW) from error
    if not isinstance(config, dict):
        raise InputError(f"base model {path}: no model config", hint=ANEW)
    return config
