"""The door to captioners: a spec → a model that is opened when there is something to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_ci.core.digest import sha256_file, sha256_json
from lora_ci.core.embedders import EmbedderKind, EmbedderSpec, parse_embedder
from lora_ci.core.errors import InputError
from lora_ci.dataset.captioning.captioner import Captioner, CaptionModel

KINDS = (
    EmbedderKind.PATH,
    EmbedderKind.HUB,
    EmbedderKind.ONNX,
    EmbedderKind.EXEC,
)
KNOWN = (
    "expected `path:<folder>`, `hf:<owner>/<name>@<commit>`, `onnx:<folder>` or `exec:<command>`"
)
# What models that are spoken with are asked, if nothing else.
PROMPT = "Describe this image in one sentence."


def parse_captioner(spec: str) -> EmbedderSpec:
    """The meaning of a spec. Raises InputError with what to write."""
    if spec.partition(":")[0] not in KINDS or ":" not in spec:
        message = f"`{spec[:80]}` is no captioner"
        raise InputError(message, rule="captioner.kind", hint=KNOWN)
    return parse_embedder(spec)


def caption_model(spec: str, folder: Path | None, prompt: str = PROMPT) -> CaptionModel:
    """The model of a spec, its files in `folder`; nothing is loaded before it is asked.

    `prompt` is for those that are spoken with. Raises InputError for a spec of no kind, or files
    that are not there or of a kind that is not known.
    """
    parsed = parse_captioner(spec)
    spoken, opener = _opener(parsed, folder, spec, prompt)
    return CaptionModel(
        id=spec.partition("@")[0] if parsed.hub else spec,
        revision=_revision(parsed, folder),
        prompt=prompt if spoken else "",
        opener=opener,
    )


def _opener(
    parsed: EmbedderSpec, folder: Path | None, spec: str, prompt: str
) -> tuple[bool, Callable[[], Captioner]]:
    """Whether it is spoken with, and what opens it."""
    if parsed.kind is EmbedderKind.EXEC:
        return False, lambda: _program(parsed, spec)
    if folder is None or not folder.is_dir():
        raise InputError(f"captioner `{spec}` is not there", rule="captioner.missing")
    if parsed.kind is EmbedderKind.ONNX:
        return False, lambda: _tagger(folder, spec)
    from lora_ci.dataset.captioning.look import is_spoken_with

    spoken = is_spoken_with(folder, spec)
    return spoken, lambda: _transformer(folder, spec, prompt if spoken else None)


def _revision(parsed: EmbedderSpec, folder: Path | None) -> str:
    """An id of what it says depends on beside our code."""
    if parsed.hub:
        return parsed.hub[1]
    if folder is None:
        files = [Path(word) for word in parsed.command if word.startswith("/")]
        return sha256_json([sha256_file(file) for file in files if file.is_file()])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json([[f.relative_to(folder).as_posix(), sha256_file(f)] for f in files])


def _program(parsed: EmbedderSpec, spec: str) -> Captioner:
    from lora_ci.dataset.captioning.program import CommandCaptioner

    return CommandCaptioner(command=parsed.command, spec=spec)


def _tagger(folder: Path, spec: str) -> Captioner:
    from lora_ci.dataset.captioning.tagger import load_tagger

    return load_tagger(folder, spec)


def _transformer(folder: Path, spec: str, prompt: str | None) -> Captioner:
    from lora_ci.dataset.captioning.transformer import load_captioner

    return load_captioner(folder, spec, prompt)
