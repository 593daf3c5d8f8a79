"""What a file is, told from its header and a few bytes: no tensor is loaded, no torch."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.formats.family import detect_family
from lora_ci.formats.keys import BFL, KOHYA_PREFIXES, TRANSFORMER, peft_config, split_key
from lora_ci.formats.layout import FLOATS, Entry, Layout, layer_shapes, read_layout, unreadable

CHUNK_BYTES = 1024 * 1024
UNPACK = {"F64": "<d", "F32": "<f", "F16": "<e"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A file as its header tells it.

    `layers` counts them by component, `ranks` and `alphas` the layers that have each; `algorithm`
    is `LoRA`, `DoRA`, or either with `rank-stabilized` before it. `payload_sha256` is the digest
    of the tensors' bytes; `hash_matches` is None where the file names none.
    """

    file: str
    format: str
    family: str
    algorithm: str
    layers: Mapping[str, int]
    ranks: Mapping[str, int]
    alphas: Mapping[str, int]
    dtypes: Mapping[str, int]
    size_bytes: int
    payload_sha256: str
    hash_matches: bool | None
    metadata: Mapping[str, str]


def inspect_file(path: Path) -> Inspection:
    """Looks at an adapter's file. Raises InputError as `check_layout` does."""
    layout = read_layout(path)
    shapes = layer_shapes(layout, path.name)
    config = peft_config(layout.metadata, path.name)
    digest = _payload_digest(path, layout)
    named = layout.metadata.get("modelspec.hash_sha256") or layout.metadata.get("sshs_model_hash")
    return Inspection(
        file=path.name,
        format="kohya" if _kohya(layout) else "diffusers",
        family=_family(layout, shapes),
        algorithm=_algorithm(shapes, config),
        layers=_count(_component(module) for module in shapes),
        ranks=_count(str(parts["down"][0]) for parts in shapes.values()),
        alphas=_alphas(path, layout, shapes, config),
        dtypes=_count(entry.dtype for entry in layout.entries.values()),
        size_bytes=path.stat().st_size,
        payload_sha256=digest,
        hash_matches=named.lower().removeprefix("0x") == digest if named else None,
        metadata=dict(sorted(layout.metadata.items())),
    )


def _count(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _kohya(layout: Layout) -> bool:
    return any(key.startswith(tuple(KOHYA_PREFIXES)) for key in layout.entries)


def _component(module: str) -> str:
    component = module.split(".", 1)[0]
    return TRANSFORMER if component == BFL else component


def _family(layout: Layout, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    widths = {
        f"{_component(module)}.{module.split('.', 1)[1]}": parts["down"][1]
        for module, parts in shapes.items()
    }
    return detect_family(layout.entries, widths, layout.metadata)


def _algorithm(
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]], config: Mapping[str, object]
) -> str:
    decomposed = any({"magnitude", "dora_scale"} & set(parts) for parts in shapes.values())
    stabilized = any(bool(v) for k, v in config.items() if k.endswith(".use_rslora"))
    return ("rank-stabilized " if stabilized else "") + ("DoRA" if decomposed else "LoRA")


def _alphas(
    path: Path,
    layout: Layout,
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    config: Mapping[str, object],
) -> dict[str, int]:
    """Layers by alpha: what stands beside them, or in the metadata; `rank` where nothing does."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for key, entry in layout.entries.items():
                module, part = split_key(key, path.name)
                if part == "alpha":
                    file.seek(entry.start)
                    found[module] = _number(file.read(8), entry)
    except OSError as error:
        raise unreadable(path, error) from error
    told = []
    for module in shapes:
        beside = config.get(f"{_component(module)}.lora_alpha")
        told.append(found.get(module) or (f"{beside}"[:20] if beside is not None else "rank"))
    return _count(told)


def _number(data: bytes, entry: Entry) -> str:
    if entry.shape not in ((), (1,)):
        return "no number"
    data = data[: FLOATS[entry.dtype]]
    if entry.dtype == "BF16":
        data, kind = b"\0\0" + data, "<f"
    else:
        kind = UNPACK[entry.dtype]
    return f"{struct.unpack(kind, data)[0]:g}"


def _payload_digest(path: Path, layout: Layout) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            file.seek(layout.data_start)
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()
