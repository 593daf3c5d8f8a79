"""Loads a base model from a diffusers folder; never from the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.families import Family, family_of, missing_parts
from lora_ci.diffusion.parts import (
    ANEW,
    DENOISERS,
    DTYPES,
    Parts,
    check_model,
    check_tokenizer,
    read_config,
    read_model,
    read_tokenizer,
    told_simply,
)

SCHEDULER = "scheduler"
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseModel:
    """A base model whose parts are read on their first use, in evaluation mode, without gradients.

    `models` are the parts with weights by folder, `configs` their configs, `tokenizers` go by the
    folder of their text encoder, of `schedulers` there is one. `originals` holds the weights that
    an attached adapter has changed (see `attach`).
    """

    models: Parts
    configs: Mapping[str, Mapping[str, Any]]
    tokenizers: Parts
    schedulers: Parts
    folder: Path
    family: Family
    device: torch.device
    dtype: torch.dtype
    content_id: str | None = None
    originals: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer."""
        return self.models[self.family.denoiser]

    @property
    def vae(self) -> Any:
        """Pictures to latents and back; in float32."""
        return self.models["vae"]

    @property
    def scheduler(self) -> Any:
        """How noise was added while the model was taught, as diffusers knows it."""
        return self.schedulers[SCHEDULER]

    @property
    def text_encoders(self) -> Mapping[str, Any]:
        """All text encoders by folder; reads them."""
        return {name: self.models[name] for name in self.family.text_encoders}

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels, along one side, one latent stands for."""
        return int(2 ** (len(self.configs["vae"]["block_out_channels"]) - 1))

    @property
    def side_step(self) -> int:
        """Sides of pictures are multiples of it, in pixels."""
        return self.pixels_per_latent * self.family.patch

    @property
    def resolution(self) -> int:
        """The native side in pixels; FLUX's denoiser names none, its VAE does."""
        latents = self.configs[self.family.denoiser].get("sample_size")
        vae = self.configs["vae"]
        return int(latents * self.pixels_per_latent if latents else vae["sample_size"])

    def modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """Linear and convolution modules that an adapter may teach, by adapter path."""
        return taught_modules(self.family, self.models)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Weight shapes by module path, for the contract check."""
        return {name: tuple(module.weight.shape) for name, module in self.modules()}

    def let_go(self, *parts: str) -> None:
        """Frees the memory of parts until they are asked for again, by default all encoders.

        What was changed in them is lost: never for parts that learn or that an adapter is on.
        """
        self.models.let_go(*(parts or ("vae", *self.family.text_encoders)))


def taught_modules(
    family: Family, models: Mapping[str, torch.nn.Module]
) -> Iterator[tuple[str, torch.nn.Module]]:
    """Linear and convolution modules that an adapter may teach, of the models by folder."""
    for component in (family.denoiser, *family.taught_texts):
        for name, module in models[component].named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                # transformers 4 has `text_model.`, 5 has not; adapters use the shorter path.
                yield f"{component}.{name.removeprefix('text_model.')}", module


def load_base(
    folder: Path,
    dtype: str = "float32",
    *,
    content_id: str | None = None,
    device: str = "cpu",
) -> BaseModel:
    """The base model in `folder`; its VAE in float32 always, as SDXL's overflows in half.

    Raises InputError when the folder is missing or no base model in diffusers format. Weights are
    read when they are used: damaged ones, or ones that are not whole, are an InputError then.
    """
    family = check_folder(folder)
    configs = {
        name: check_model(folder, family, name)
        for name in (family.denoiser, "vae", *family.text_encoders)
    }
    _check_vae(folder / "vae", configs["vae"], family)
    for name in family.text_encoders:
        check_tokenizer(folder, name)
    stored = _check_scheduler(folder / SCHEDULER, family)

    def read(name: str) -> Any:
        return read_model(folder, family, name, DTYPES[dtype]).to(device)

    return BaseModel(
        models=Parts(configs, read),
        configs=configs,
        tokenizers=Parts(family.text_encoders, partial(read_tokenizer, folder, family)),
        schedulers=Parts((SCHEDULER,), lambda _: _scheduler(folder / SCHEDULER, family, stored)),
        folder=folder,
        family=family,
        device=torch.device(device),
        dtype=DTYPES[dtype],
        content_id=content_id,
    )


def check_folder(folder: Path) -> Family:
    """The family of the base model in `folder`.

    Raises InputError unless it is one in diffusers format, of a family known here, with all parts.
    """
    if not folder.is_dir():
        raise InputError(f"base model {folder}: no such folder", hint="next: check `base_model`")
    found = [path.name for path in folder.iterdir() if path.is_dir()]
    missing = missing_parts(found)
    named = any((folder / kind / "config.json").is_file() for kind in DENOISERS)
    # What it is comes before what it lacks: other families have other parts.
    family = read_family(folder) if named or not missing else None
    if family is None or missing:
        raise InputError(
            f"base model {folder}: not a base model in diffusers format, "
            f"no folder {', '.join(missing)}",
            hint="convert a single-file checkpoint with StableDiffusionPipeline.from_single_file",
        )
    return family


def read_family(folder: Path) -> Family:
    """The family of the model in a folder. Raises InputError for one that no row describes."""
    kind = "unet" if (folder / "unet").is_dir() else "transformer"
    return family_of(read_config(folder / kind / "config.json"), str(folder))


def _check_vae(part: Path, config: Mapping[str, Any], family: Family) -> None:
    """Raises InputError for a VAE whose latents are not the family's."""
    blocks, channels = config.get("block_out_channels"), config.get("latent_channels")
    if not isinstance(blocks, list) or channels != family.latent_channels:
        message = f"latents of {channels} channels, expected {family.latent_channels}"
        raise InputError(f"base model {part}: {message}", hint=ANEW)
    if config.get("latents_mean") is not None:
        message = "latents with a mean of each channel, as no model of the known families has"
        raise InputError(f"base model {part}: {message}", hint=ANEW)


def _check_scheduler(part: Path, family: Family) -> dict[str, Any]:
    """The scheduler's config. Raises InputError for one that says the model was taught otherwise.

    Other samplers' configs share DDIM's fields, so whichever is stored, it says how noise was
    added while the model was taught.
    """
    stored = read_config(part / "scheduler_config.json")
    kind = str(stored.get("_class_name", ""))
    flow, prediction = kind.startswith("FlowMatch"), stored.get("prediction_type", "epsilon")
    if flow != (family.objective == "flow") or kind.startswith("EDM"):
        expected = "a FlowMatch scheduler" if family.objective == "flow" else "one of diffusion"
        raise InputError(f"base model {part}: is a {kind}, expected {expected}", hint=ANEW)
    if not flow and prediction not in PREDICTIONS:
        message = f"predicts {prediction}, expected {' or '.join(PREDICTIONS)}"
        raise InputError(f"base model {part}: {message}", hint=ANEW)
    return stored


def _scheduler(part: Path, family: Family, stored: Mapping[str, Any]) -> Any:
    """How the family makes pictures: DDIM, or Euler along a flow."""
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    kind = FlowMatchEulerDiscreteScheduler if family.objective == "flow" else DDIMScheduler
    with told_simply(part):
        return kind.from_config(stored)
