"""Models from the Hugging Face hub: a commit of one → a folder in the hub's own cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, machine_error
from lora_ci.diffusion.families import FLUX, SDXL, missing_parts

PARTS = tuple(sorted({*SDXL.parts, *FLUX.parts}))
WEIGHTS = tuple(part for part in PARTS if not part.startswith(("tokenizer", "scheduler")))


@dataclass(frozen=True, slots=True, kw_only=True)
class HubKind:
    """A kind of model: its name in messages, its setting, its files, what is not there of it.

    `wanted` has nothing that runs code on loading (.bin, .ckpt are pickles).
    """

    name: str
    key: str
    form: str
    wanted: tuple[str, ...]
    absent: Callable[[Path], list[str]]


# What `load_base` reads.
WANTED = (
    "model_index.json",
    *(f"{part}/*.json" for part in PARTS),
    *(f"{part}/*.safetensors" for part in WEIGHTS),
    "tokenizer*/*.txt",
    "tokenizer*/*.model",
)
# Other forms of the same weights, each as large again.
UNWANTED = ("*.fp16*", "*.bf16*", "*.non_ema*")


def ensure_hub_model(hub: str, revision: str, kind: HubKind) -> Path:
    """The folder of the model `owner/name` at a commit; one that is in the cache is not fetched.

    Raises:
        InputError: there is no such model or commit, or it is not of the kind.
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
        message = f"{kind.name} {hub} needs the Python package `{error.name}`"
        raise InfrastructureError(message, hint="next: pip install 'lora-ci[all]'") from error
    download = partial(
        snapshot_download,
        hub,
        revision=revision,
        allow_patterns=list(kind.wanted),
        ignore_patterns=list(UNWANTED),
    )
    what = f"{kind.name} {hub} at {revision[:12]}"
    # The library's HTTP client is httpx in some versions and its successor in others.
    http_error: type[BaseException] = HfHubHTTPError.__bases__[0]
    kept = _kept(download, kind)
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
        hint = f"next: check `{kind.key}`; for a private one: hf auth login"
        raise InputError(message, hint=hint) from error
    except (http_error, LocalEntryNotFoundError, ConnectionError) as error:
        message = f"{what}: not in the cache, and the hub cannot be reached: {_cause(error)}"
        hint = "the same command again once the network is there goes on where it stopped"
        raise InfrastructureError(message, hint=hint) from error
    except OSError as error:
        raise machine_error(error, what) or InfrastructureError(f"{what}: {error}") from error
    if absent := kind.absent(folder):
        message = f"{what}: no {kind.form}, no {', '.join(absent)}"
        hint = "a repository of the hub is needed that has these parts as safetensors"
        raise InputError(message, hint=hint)
    return folder


def _kept(download: partial[str], kind: HubKind) -> Path | None:
    """The model if all of it is in the cache; older versions of the library give back parts too."""
    try:
        folder = Path(download(local_files_only=True))
    except (OSError, ValueError):
        return None
    return None if kind.absent(folder) else folder


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


def absent_embedder_files(folder: Path) -> list[str]:
    """What is missing of a transformers model, as it is called in messages."""
    absent = [] if (folder / "config.json").is_file() else ["config.json"]
    index = folder / "model.safetensors.index.json"
    weights = _shards(index) if index.is_file() else ["model.safetensors"]
    return absent + [name for name in weights if not (folder / name).is_file()]


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


BASE_MODEL = HubKind(
    name="base model",
    key="base_model.hub",
    form="Stable Diffusion model in diffusers format",
    wanted=WANTED,
    absent=absent_files,
)
EMBEDDER = HubKind(
    name="embedder",
    key="qa.embedder",
    form="model in transformers format",
    wanted=(
        *("config.json", "preprocessor_config.json", "processor_config.json"),
        *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model"),
        "README.md",
    ),
    absent=absent_embedder_files,
)
SCANNER = HubKind(
    name="scanner",
    key="validate.content",
    form="model in transformers format",
    wanted=(
        *("config.json", "preprocessor_config.json"),
        *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    ),
    absent=absent_embedder_files,
)
CAPTIONER = HubKind(
    name="captioner",
    key="--models",
    form="model in transformers format",
    wanted=(
        *EMBEDDER.wanted,
        *("generation_config.json", "chat_template.jinja", "chat_template.json"),
    ),
    absent=absent_embedder_files,
)
# By the names of inputs.
HUB_KINDS = {"base_model": BASE_MODEL, "embedder": EMBEDDER, "scanner": SCANNER}
