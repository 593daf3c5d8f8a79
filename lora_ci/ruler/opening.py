"""The door to embedders: a spec → who embeds, opened when something is not in the cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lora_ci.core.digest import sha256_file, sha256_json
from lora_ci.core.embedders import EmbedderKind, EmbedderSpec, parse_embedder
from lora_ci.core.errors import InputError
from lora_ci.core.settings import QaSettings
from lora_ci.core.step import StepContext, StepSpec
from lora_ci.ruler.embedder import Embedder
from lora_ci.ruler.feature_cache import CachedEmbedder, FeatureCache
from lora_ci.ruler.licenses import check_license, find_license
from lora_ci.ruler.model_folder import ModelFolder, look_at

# Raise it when the same files would give other vectors for the same pictures.
READING_VERSION = 1
# What turns pictures into vectors beside our own code and the embedder's files.
LIBRARIES = {
    EmbedderKind.CLASSIC: ("numpy", "pillow"),
    EmbedderKind.PATH: ("torch", "transformers", "pillow"),
    EmbedderKind.HUB: ("torch", "transformers", "pillow"),
    EmbedderKind.ONNX: ("onnxruntime", "pillow"),
    EmbedderKind.TORCHSCRIPT: ("torch", "pillow"),
    EmbedderKind.EXEC: (),
}


def open_embedder(
    spec: str,
    folder: Path | None,
    *,
    content_id: str | None = None,
    cache: Path | None = None,
    license_id: str | None = None,
    policy: str = "any",
) -> CachedEmbedder:
    """The embedder of `qa.embedder`; nothing is loaded before something must be embedded.

    `folder` is where the input `embedder` lies here, and `content_id` the id of its content, for
    which its files are read where it is None. `license_id` and `policy` are `qa.embedder_license`
    and `qa.license_policy`.

    Raises InputError for a spec of no kind, files that are not there or of a kind that is not
    known, or a license that the policy refuses.
    """
    parsed = parse_embedder(spec)
    known = find_license(parsed, folder, license_id)
    check_license(spec, known, policy)
    opener, texts = _opener(parsed, folder, spec)
    content = content_id or _content_id(parsed, folder)
    return CachedEmbedder(
        spec=spec,
        identity=f"{parsed.kind}:{READING_VERSION}:{content}",
        license=known,
        knows_texts=texts,
        opener=opener,
        cache=FeatureCache(cache=cache, read_by=_read_by(parsed.kind)) if cache else None,
    )


def step_embedder(settings: QaSettings, spec: StepSpec, context: StepContext) -> CachedEmbedder:
    """The embedder of a step's settings, its files the input `embedder`. Raises InputError."""
    given = spec.inputs.get("embedder")
    return open_embedder(
        settings.embedder,
        context.input_path("embedder") if given else None,
        content_id=given.content_id if given else None,
        cache=context.cache,
        license_id=settings.embedder_license,
        policy=settings.license_policy,
    )


def _opener(
    parsed: EmbedderSpec, folder: Path | None, spec: str
) -> tuple[Callable[[], Embedder], bool]:
    """What opens it, and whether it knows texts."""
    match parsed.kind:
        case EmbedderKind.CLASSIC:
            return _classic, False
        case EmbedderKind.EXEC:
            return lambda: _program(parsed, spec), False
        case EmbedderKind.PATH | EmbedderKind.HUB:
            found = look_at(_laid_out(folder, spec), spec)
            return lambda: _transformer(found, spec), found.knows_texts
        case EmbedderKind.ONNX:
            file = _only_file(_laid_out(folder, spec), spec)
            return lambda: _onnx(file, spec), False
        case EmbedderKind.TORCHSCRIPT:
            file = _only_file(_laid_out(folder, spec), spec)
            return lambda: _torchscript(file, spec), False


def _read_by(kind: EmbedderKind) -> tuple[str, ...]:
    """The libraries with their versions; one that is not installed reads nothing."""
    found = []
    for name in LIBRARIES[kind]:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return tuple(found)


def _content_id(parsed: EmbedderSpec, folder: Path | None) -> str:
    """What its answers depend on beside our code, read where nobody knows it."""
    if parsed.kind is EmbedderKind.EXEC:
        files = [Path(word) for word in parsed.command if word.startswith("/")]
        return sha256_json([parsed.command, [sha256_file(f) for f in files if f.is_file()]])
    if folder is None or parsed.kind is EmbedderKind.HUB:
        return parsed.target
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json([[f.relative_to(folder).as_posix(), sha256_file(f)] for f in files])


def _laid_out(folder: Path | None, spec: str) -> Path:
    if folder is None or not folder.is_dir():
        message = f"embedder `{spec}` is not there"
        raise InputError(message, rule="embedder.missing", hint="next: check `qa.embedder`")
    return folder


def _only_file(folder: Path, spec: str) -> Path:
    """The file that an input of one file is laid out as."""
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) != 1:
        message = f"embedder `{spec}` has {len(files)} files; expected one"
        raise InputError(message, rule="embedder.file", hint="next: name the file, not its folder")
    return files[0]


def _classic() -> Embedder:
    from lora_ci.ruler.classic import ClassicEmbedder

    return ClassicEmbedder()


def _transformer(found: ModelFolder, spec: str) -> Embedder:
    from lora_ci.ruler.transformer import load_transformer

    return load_transformer(found, spec)


def _onnx(file: Path, spec: str) -> Embedder:
    from lora_ci.ruler.onnx_model import load_onnx

    return load_onnx(file, spec)


def _torchscript(file: Path, spec: str) -> Embedder:
    from lora_ci.ruler.torchscript import load_torchscript

    return load_torchscript(file, spec)


def _program(parsed: EmbedderSpec, spec: str) -> Embedder:
    from lora_ci.ruler.command import CommandEmbedder

    return CommandEmbedder(command=parsed.command, spec=spec)
