"""Loads a base model from a diffusers folder; never from the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
)

from lora_ci.core.errors import InputError, machine_error
from lora_ci.diffusion.families import Family, family_of, missing_parts
from lora_ci.diffusion.quiet import quiet_transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DENOISERS = {"unet": UNet2DConditionModel, "transformer": FluxTransformer2DModel}
TEXT_ENCODERS = {
    ("sdxl", "text_encoder_2"): CLIPTextModelWithProjection,
    ("flux", "text_encoder_2"): T5EncoderModel,
}

ANEW = "next: save it anew with pipeline.save_pretrained(…), then dvc add, dvc push and commit"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseModel:
    """The parts of a base model, in evaluation mode, without gradients.

    `denoiser` is the UNet or transformer; text encoders and their tokenizers go by the encoder's
    folder. `originals` holds the weights that an attached adapter has changed (see `attach`).
    """

    denoiser: Any
    vae: Any
    text_encoders: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    scheduler: Any
    folder: Path
    family: Family
    content_id: str | None = None
    originals: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the denoiser computes."""
        device: torch.device = self.denoiser.device
        return device

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels, along one side, one latent stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def side_step(self) -> int:
        """Sides of pictures are multiples of it, in pixels."""
        return self.pixels_per_latent * self.family.patch

    @property
    def resolution(self) -> int:
        """The native side in pixels; FLUX's denoiser names none, its VAE does."""
        latents = self.denoiser.config.get("sample_size")
        return int(latents * self.pixels_per_latent if latents else self.vae.config.sample_size)

    def modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """Linear and convolution modules that an adapter may teach, by adapter path."""
        taught = {name: self.text_encoders[name] for name in self.family.taught_texts}
        for component, whole in {self.family.denoiser: self.denoiser, **taught}.items():
            for name, module in whole.named_modules():
                if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                    # transformers 4 has `text_model.`, 5 has not; adapters use the shorter path.
                    yield f"{component}.{name.removeprefix('text_model.')}", module

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight shapes by module path, for the contract check."""
        return {name: tuple(module.weight.shape) for name, module in self.modules()}


def load_base(
    folder: Path,
    dtype: str = "float32",
    *,
    content_id: str | None = None,
    device: str = "cpu",
) -> BaseModel:
    """The base model in `folder`; its VAE in float32 always, as SDXL's overflows in half.

    Raises InputError when the folder is missing, is no base model in diffusers format, or when its
    weights are damaged or not whole.
    """
    check_folder(folder)
    family = read_family(folder)
    kind = family.denoiser
    denoiser = _part(folder, kind, DENOISERS[kind], torch_dtype=DTYPES[dtype])
    vae = _part(folder, "vae", AutoencoderKL, torch_dtype=torch.float32)
    text_encoders = {
        name: _part(
            folder, name, TEXT_ENCODERS.get((family.name, name), CLIPTextModel), dtype=DTYPES[dtype]
        ).to(device)
        for name in family.text_encoders
    }
    tokenizers = {name: _tokenizer(folder, family, name) for name in family.text_encoders}
    stored = read_config(folder / "scheduler" / "scheduler_config.json")
    # Other samplers' configs share DDIM's fields; pictures are always made with DDIM.
    sampler = FlowMatchEulerDiscreteScheduler if family.objective == "flow" else DDIMScheduler
    with told_simply(folder / "scheduler"):
        scheduler = sampler.from_config(stored)
    return BaseModel(
        denoiser=denoiser.to(device),
        vae=vae.to(device),
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        scheduler=scheduler,
        folder=folder,
        family=family,
        content_id=content_id,
    )


def _tokenizer(folder: Path, family: Family, encoder: str) -> Any:
    """The tokenizer of a text encoder: `tokenizer_2` is that of `text_encoder_2`."""
    part = folder / encoder.replace("text_encoder", "tokenizer")
    of_t5 = TEXT_ENCODERS.get((family.name, encoder)) is T5EncoderModel
    with told_simply(part):
        return (AutoTokenizer if of_t5 else CLIPTokenizer).from_pretrained(
            part, local_files_only=True
        )


def _part(folder: Path, name: str, kind: Any, **dtype: torch.dtype) -> Any:
    """A model, whole and finite; the libraries fill gaps with random weights and a warning."""
    with told_simply(folder / name):
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
def told_simply(part: Path) -> Iterator[None]:
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
    """Raises InputError unless `folder` has the parts of a base model in diffusers format."""
    if not folder.is_dir():
        raise InputError(f"base model {folder}: no such folder", hint="next: check `base_model`")
    missing = missing_parts([path.name for path in folder.iterdir() if path.is_dir()])
    if missing:
        raise InputError(
            f"base model {folder}: not a base model in diffusers format, "
            f"no folder {', '.join(missing)}",
            hint="convert a single-file checkpoint with StableDiffusionPipeline.from_single_file",
        )


def read_family(folder: Path) -> Family:
    """The family of the model in a folder. Raises InputError for one that no row describes."""
    kind = "transformer" if (folder / "transformer").is_dir() else "unet"
    return family_of(read_config(folder / kind / "config.json"))


def read_config(path: Path) -> dict[str, Any]:
    """A config of the base model. Raises InputError for what is none."""
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"base model {path}: no readable model config: {error}"
        raise InputError(message, hint=ANEW) from error
    if not isinstance(config, dict):
        raise InputError(f"base model {path}: no model config", hint=ANEW)
    return config
