"""The parts of a base model: each a folder, read when it is first asked for; no network."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lora_ci.core.errors import InputError, machine_error
from lora_ci.diffusion.families import Family
from lora_ci.diffusion.quiet import quiet_transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Classes by name: their libraries take longer to import than all else does where nothing is made.
DENOISERS = {"unet": "UNet2DConditionModel", "transformer": "FluxTransformer2DModel"}
TEXT_ENCODERS = {
    ("sdxl", "text_encoder_2"): "CLIPTextModelWithProjection",
    ("flux", "text_encoder_2"): "T5EncoderModel",
}
CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")
# What transformers calls them in a config; a whole CLIP or T5 holds its text encoder too.
MODEL_TYPES = {
    "CLIPTextModel": ("clip_text_model", "clip"),
    "CLIPTextModelWithProjection": ("clip_text_model", "clip"),
    "T5EncoderModel": ("t5",),
}
# One of them is what a tokenizer is read from.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")

ANEW = "next: save it anew with pipeline.save_pretrained(…), then dvc add, dvc push and commit"


class Parts(Mapping[str, Any]):
    """Parts by name, each read on its first use and kept until it is let go.

    A training whose latents and captions are cached never reads a VAE nor a text encoder.
    """

    def __init__(self, names: Collection[str], read: Callable[[str], Any]) -> None:
        self._names = tuple(names)
        self._read = read
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._kept:
            self._kept[name] = self._read(name)
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def kept(self) -> tuple[str, ...]:
        """The names of the parts in memory."""
        return tuple(self._kept)

    def let_go(self, *names: str) -> None:
        """Forgets parts that no longer need memory; they are read anew if asked for again."""
        for name in names:
            self._kept.pop(name, None)


def class_name(family: Family, name: str) -> str:
    """What the class of a part with weights is called, by its folder's name."""
    if name == "vae":
        return "AutoencoderKL"
    return DENOISERS.get(name) or TEXT_ENCODERS.get((family.name, name), "CLIPTextModel")


def model_class(family: Family, name: str) -> Any:
    """The class of a part with weights, by its folder's name."""
    library = "transformers" if name in family.text_encoders else "diffusers"
    return getattr(importlib.import_module(library), class_name(family, name))


def read_model(folder: Path, family: Family, name: str, dtype: torch.dtype) -> Any:
    """A model, whole and finite, in evaluation mode, without gradients.

    The libraries fill gaps with random weights and a warning: here it is an InputError. A VAE is
    in float32 whatever `dtype` is, as SDXL's overflows in half.
    """
    kind = model_class(family, name)
    wanted = torch.float32 if name == "vae" else dtype
    with told_simply(folder / name):
        is_clip = kind.__name__ in CLIP
        model = _read_clip(kind, folder / name, wanted) if is_clip else None
    model = model or _read_by_library(kind, folder, name, wanted)
    for key, weight in model.named_parameters():
        # Both are NaN if any is; 30 times faster than isfinite, which makes a mask.
        if not torch.stack(torch.aminmax(weight)).isfinite().all():
            raise InputError(f"base model {folder / name}: {key} is not finite", hint=ANEW)
    return model.eval().requires_grad_(False)


def _read_clip(kind: Any, part: Path, dtype: torch.dtype) -> Any:
    """A CLIP text encoder whose one file has all weights as they are; else None.

    transformers' reader also knows what each of its models called its weights in the past, and how
    they are compressed: its table of names takes a quarter of a second to make.
    """
    from accelerate import init_empty_weights
    from transformers import CLIPTextConfig
    from transformers.initialization import no_init_weights

    file = part / "model.safetensors"
    config = CLIPTextConfig.from_pretrained(part, local_files_only=True)
    if not file.is_file() or hasattr(config, "quantization_config"):
        return None
    with no_init_weights(), init_empty_weights():
        model = kind(config)
    stored = {_short(key): weight for key, weight in load_file(file).items()}
    weights = {}
    for key, empty in model.state_dict().items():
        weight = stored.get(_short(key))
        if weight is None or weight.shape != empty.shape:
            return None
        weights[key] = weight.to(dtype)
    model.load_state_dict(weights, assign=True)
    return model


def _short(key: str) -> str:
    """The name of a weight; whether `text_model.` is before it differs by class and version."""
    return key.removeprefix("text_model.")


def _read_by_library(kind: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Any model, as transformers or diffusers read it. Raises InputError if it is not whole."""
    with told_simply(folder / name):
        model, told = kind.from_pretrained(
            folder,
            subfolder=name,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            # transformers and diffusers call it differently.
            **{"dtype" if name.startswith("text_encoder") else "torch_dtype": dtype},
        )
    absent = sorted(told["missing_keys"])
    if absent:
        message = f"{len(absent)} of its weights are not in the file, such as {absent[0]}"
        raise InputError(f"base model {folder / name}: {message}", hint=ANEW)
    return model


def tokenizer_folder(encoder: str) -> str:
    """Where a text encoder's tokenizer lies: `tokenizer_2` is that of `text_encoder_2`."""
    return encoder.replace("text_encoder", "tokenizer")


def read_tokenizer(folder: Path, family: Family, encoder: str) -> Any:
    """The tokenizer of a text encoder. Raises InputError."""
    from transformers import AutoTokenizer, CLIPTokenizer

    part = folder / tokenizer_folder(encoder)
    of_t5 = class_name(family, encoder) == "T5EncoderModel"
    with told_simply(part):
        return (AutoTokenizer if of_t5 else CLIPTokenizer).from_pretrained(
            part, local_files_only=True
        )


def check_model(folder: Path, family: Family, name: str) -> dict[str, Any]:
    """The config of a part with weights, without reading them.

    Raises InputError for a config that is none or of another class, or no weights beside it.
    """
    part = folder / name
    config = read_config(part / "config.json")
    wanted = class_name(family, name)
    if name in family.text_encoders:
        found, expected = config.get("model_type"), MODEL_TYPES[wanted]
    else:
        found, expected = config.get("_class_name"), (wanted,)
    if found is not None and found not in expected:
        message = f"is a {found}, expected {wanted}"
        raise InputError(f"base model {part}: {message}", hint=ANEW)
    if not any(part.glob("*.safetensors")):
        raise InputError(f"base model {part}: no weights (*.safetensors)", hint=ANEW)
    return config


def check_tokenizer(folder: Path, encoder: str) -> None:
    """Raises InputError for a tokenizer without words: transformers would make an empty one."""
    part = folder / tokenizer_folder(encoder)
    if not any((part / name).is_file() for name in TOKENIZER_FILES):
        message = f"no tokenizer (none of {', '.join(TOKENIZER_FILES)})"
        raise InputError(f"base model {part}: {message}", hint=ANEW)


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
