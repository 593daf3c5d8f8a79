"""Base models from the Hugging Face hub: a commit of one → a folder in the hub's own cache."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, machine_error
from lora_ci.diffusion.families import FLUX, SDXL, missing_parts

PARTS = tuple(sorted({*SDXL.parts, *FLUX.parts}))
WEIGHTS = tuple(part for part in PARTS if not part.startswith(("tokenizer", "scheduler")))
# What `load_base` reads, and nothing that runs code on loading (.bin, .ckpt are pickles).
WANTED = (
    "model_index.json",
    *(f"{part}/*.json" for part in PARTS),
    *(f"{part}/*.safetensors" for part in WEIGHTS),
    "tokenizer*/*.txt",
    "tokenizer*/*.model",
)
# Other forms of the same weights, each as large again.
UNWANTED = ("*.fp16*", "*.bf16*", "*.non_ema*")


def ensure_hub_model(hub: str, revision: str) -> Path:
    """The folder of the model `owner/name` at a commit; one that is in the cache is not fetched.

    Raises:
        InputError: there is no such model or commit, or it is not in diffusers format.
        InfrastructureError: no access, no network, or no room for it.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.constants import HF_HUB_OFFLINE
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ModuleNotFoundError as error:
        message = f"base model {hub} needs the Python package `{error.name}`"
        raise InfrastructureError(message, hint="next: pip install 'lora-ci[all]'") from error
    download = partial(
        snapshot_download,
        hub,
        revision=revision,
        allow_patterns=list(WANTED),
        ignore_patterns=list(UNWANTED),
    )
    what = f"base model {hub} at {revision[:12]}"
    # The library's HTTP client is httpx in some versions and its successor in others.
    http_error: type[BaseException] = HfHubHTTPError.__bases__[0]
    kept = _kept(download)
    if kept is None and HF_HUB_OFFLINE:
        message = f"{what}: not in the cache, and HF_HUB_OFFLINE forbids to ask the hub"
        raise InfrastructureError(message, hint="next: unset HF_HUB_OFFLINE")
    try:
        folder = kept or Path(download())
    except GatedRepoError as error:
        message = f"{what}: its owner lets only those in who were granted access"
        hint = f"next: hf auth login, after asking for access on the page of {hub}"
        raise InfrastructureError(message, hint=hint) from error
    except RevisionNotFoundError as error:
        message = f"{what}: the model has no such commit"
        hint = "next: copy the commit's full id from the model's page, under Files and versions"
        raise InputError(message, hint=hint) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        message = f"{what}: the hub has no such model, or it is private"
        hint = "next: check `base_model.hub`; for a private one: hf auth login"
        raise InputError(message, hint=hint) from error
    except (http_error, LocalEntryNotFoundError, ConnectionError) as error:
        message = f"{what}: not in the cache, and the hub cannot be reached: {_cause(error)}"
        hint = "the same command again once the network is there goes on where it stopped"
        raise InfrastructureError(message, hint=hint) from error
    except OSError as error:
        raise machine_error(error, what) or InfrastructureError(f"{what}: {error}") from error
    if absent := absent_files(folder):
        message = f"{what}: no Stable Diffusion model in diffusers format, no {', '.join(absent)}"
        hint = "a repository of the hub is needed that has these parts as safetensors"
        raise InputError(message, hint=hint)
    return folder


def _kept(download: partial[str]) -> Path | None:
    """The model if all of it is in the cache; older versions of the library give back parts too."""
    try:
        folder = Path(download(local_files_only=True))
    except (OSError, ValueError):
        return None
    return None if absent_files(folder) else folder


def absent_files(folder: Path) -> list[str]:
    """What is missing of a base model, as it is called in messages."""
    found = [path.name for path in folder.iterdir() if path.is_dir()]
    absent = [f"{part}/" for part in missing_parts(found)]
    for part in (part for part in WEIGHTS if part in found):
        shards = [name for index in (folder / part).glob("*.index.json") for name in _shards(index)]
        absent += [f"{part}/{name}" for name in shards if not (folder / part / name).is_file()]
        if not any((folder / part).glob("*.safetensors")):
            absent.append(f"{part}/*.safetensors")
    return absent


def _shards(index: Path) -> list[str]:
    """The files that an index of large weights names."""
    try:
        return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        return []


def _cause(error: BaseException) -> str:
    """The innermost words: the library wraps what the network said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
