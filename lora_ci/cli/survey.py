"""What lies in a folder that a first config can name: datasets, base models, kohya's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lora_ci.config.document import MAX_BYTES, Node, parse_yaml
from lora_ci.config.kohya import is_train_file
from lora_ci.config.toml_document import parse_toml
from lora_ci.core.changeset import READ_IMAGES
from lora_ci.core.errors import UsageError

MIN_IMAGES = 3
MAX_FOLDERS = 20_000
PASSED_OVER = {"node_modules", "venv", "__pycache__", "dist", "build"}
# kohya's folders: `10_mei girl` is seen ten times an epoch and called by `mei`.
REPEATED = re.compile(r"(\d{1,3})_(\S+)( .*)?")
HELD_OUT = ("-references", "-refs", "_references", "_refs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A dataset: its sources with their repeats, and what else belongs to it."""

    trigger: str
    sources: tuple[tuple[str, int], ...]
    references: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that was found; paths are relative to the folder."""

    datasets: tuple[Found, ...]
    base_models: tuple[str, ...]
    train_files: tuple[str, ...]
    dataset_files: tuple[str, ...]


def survey(root: Path) -> Survey:
    """Looks through a folder; hidden folders and symbolic links are left out."""
    pictures: set[str] = set()
    tracked: set[str] = set()
    models: set[str] = set()
    tomls: list[str] = []
    for folder, names in walk(root):
        if "model_index.json" in names:
            models.add(folder)
        if sum(name.lower().endswith(READ_IMAGES) for name in names) >= MIN_IMAGES:
            pictures.add(folder)
        for name in names:
            path = (PurePosixPath(folder) / name).as_posix()
            if name.endswith(".dvc") and name != ".dvc":
                tracked |= pointed_at(root, path)
            elif name == "dvc.lock":
                tracked |= made_by_stages(root, path)
            elif name.endswith(".toml") and name != "pyproject.toml":
                tomls.append(path)
    pulled = sorted(models)
    unseen = sorted(path for path in tracked - models if path.startswith("models/"))
    folders = pictures | (tracked - models - set(unseen))
    own = [path for path in folders if not _inside(path, models | tracked)]
    train, dataset = kohya_files(root, sorted(tomls))
    return Survey(
        datasets=tuple(grouped(sorted(own))),
        base_models=(*pulled, *unseen),
        train_files=train,
        dataset_files=dataset,
    )


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders and the names of their files, as far as a config can name them."""
    for count, (folder, inner, names) in enumerate(os.walk(root)):
        inner[:] = sorted(name for name in inner if _plain(name) and name not in PASSED_OVER)
        if count >= MAX_FOLDERS:
            return
        yield Path(folder).relative_to(root).as_posix(), [n for n in sorted(names) if _plain(n)]


def pointed_at(root: Path, path: str) -> set[str]:
    """The folders that a `.dvc` file points to."""
    document = _read(root, path)
    outs = _children(document).get("outs")
    return _folders(path, outs)


def made_by_stages(root: Path, path: str) -> set[str]:
    """The folders that a `dvc.lock` says a stage made."""
    stages = _children(_children(_read(root, path)).get("stages"))
    return {
        out for stage in stages.values() for out in _folders(path, _children(stage).get("outs"))
    }


def kohya_files(root: Path, paths: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the TOML files that are train files of kohya's, and those that are dataset files."""
    train, dataset = [], []
    for path in paths:
        document = _read(root, path)
        datasets = _children(document).get("datasets")
        if datasets and isinstance(datasets.value, list):
            dataset.append(path)
        elif document and is_train_file(document):
            train.append(path)
    return tuple(train), tuple(dataset)


def grouped(folders: Iterable[str]) -> Iterator[Found]:
    """One dataset a folder; kohya's folders of one trigger beside each other are one."""
    made: dict[tuple[str, str], Found] = {}
    references: dict[str, str] = {}
    for path in folders:
        name = path.rpartition("/")[2]
        ending = next((end for end in HELD_OUT if name.lower().endswith(end)), None)
        if ending:
            references[path[: -len(ending)]] = path
            continue
        counted = REPEATED.fullmatch(name)
        repeats = min(max(int(counted[1]), 1), 1000) if counted else 1
        trigger = counted[2] if counted else name
        key = (path.rpartition("/")[0], trigger) if counted else (path, "")
        before = made.get(key, Found(trigger=trigger, sources=()))
        made[key] = replace(before, sources=(*before.sources, (path, repeats)))
    for found in made.values():
        yield replace(found, references=references.get(found.sources[0][0]))


def _plain(name: str) -> bool:
    return name.isprintable() and not name.startswith(".") and "\\" not in name


def _inside(path: str, others: Iterable[str]) -> bool:
    return any(path.startswith(f"{other}/") for other in others)


def _read(root: Path, path: str) -> Node | None:
    """A small file as nodes; None if it cannot be read, which is no matter here."""
    file = root / path
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        data = file.read_bytes()
        return parse_toml(data, path) if path.endswith(".toml") else parse_yaml(data, path)
    except (OSError, UsageError):
        return None


def _children(node: Node | None) -> dict[str, Node]:
    return node.value if node and isinstance(node.value, dict) else {}


def _folders(file: str, outs: Node | None) -> set[str]:
    """Outputs that are folders: the digest of their manifest ends in `.dir`."""
    found = set()
    for out in outs.value if outs and isinstance(outs.value, list) else ():
        keys = _children(out)
        md5, path = (keys[key].value if key in keys else None for key in ("md5", "path"))
        if isinstance(md5, str) and md5.endswith(".dir") and isinstance(path, str):
            whole = os.path.normpath(PurePosixPath(file).parent / path)
            if not whole.startswith(("..", "/")) and all(map(_plain, whole.split("/"))):
                found.add(whole)
    return found
