"""What kohya would train in one go: by its dataset files, else by the names of folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_ci.config.document import Node, Where
from lora_ci.config.kohya import flat, is_on
from lora_ci.config.kohya_dataset import dataset_sources, read_subsets
from lora_ci.config.reading import Reading
from lora_ci.importing.folders import MAX_REPEATS, Folder, Layout, many
from lora_ci.importing.places import find_folder, folder_at, resolve


@dataclass(slots=True, kw_only=True)
class Training:
    """What kohya would train in one go, and the files that say how."""

    folders: list[Folder]
    regularization: list[Folder]
    hint: str
    train_file: Node | None = None
    below: dict[str, Node] = field(default_factory=dict)
    names: dict[Where, str] = field(default_factory=dict)


def trainings_of(root: Path, folder: Path, layout: Layout, *, together: bool) -> list[Training]:
    """The trainings of the dataset files; without one, of the concepts in numbered folders.

    `together` makes one training of all concepts.
    """
    return list(_of_dataset_files(root, folder, layout)) or list(
        _of_folders(root, folder, layout, together=together)
    )


def _of_dataset_files(root: Path, folder: Path, layout: Layout) -> Iterator[Training]:
    """One training for each dataset file; folders that none of them names are told."""
    named: set[str] = set()
    for file, document in layout.dataset_files.items():
        train_file = _train_file(layout, file)
        training = _read_dataset(root, folder, layout, document, train_file)
        named |= {f.path for f in (*training.folders, *training.regularization)}
        if training.folders:
            yield training
    if not named:
        return
    for left in (*layout.numbered, *layout.regularization, *layout.plain):
        if left.path not in named:
            message = f"{many(len(left.images), 'picture')} that no dataset file names: left out"
            layout.tell("left-out", message, left.path)


def _read_dataset(
    root: Path, folder: Path, layout: Layout, document: Node, train_file: Node | None
) -> Training:
    file = document.where.file
    bases = (folder, (root / file).parent)
    reading = Reading(file, lambda _: None)
    subsets = read_subsets(reading, document)
    # What kohya's metadata says is taken as captions.
    _, below = dataset_sources(reading, _without(document, "metadata_file"))
    training = Training(folders=[], regularization=[], hint=_hint(train_file, file))
    training.train_file, training.below = train_file, below
    for finding in dict.fromkeys((*reading.findings, *reading.notes)):
        if "without `image_dir`" not in finding.message:
            layout.tell("kohya", finding.message, f"{file}:{finding.line}", finding.hint)
    for subset in subsets:
        given = subset.given
        training.names |= {node.where: key for key, node in given.items()}
        where = f"{file}:{subset.node.where.line}"
        if "image_dir" not in given:
            layout.tell("path", "a subset without `image_dir` is left out", where)
            continue
        text = str(given["image_dir"].value)
        path = find_folder(root, bases, text, layout)
        if path is None or not (root / path).is_dir():
            message = f"`image_dir` is {text!r:.80}, which is no folder of this repository"
            layout.tell("path", message, where, "put it there, and import again")
            continue
        if path != os.path.normpath(text):
            layout.tell("path", f"`image_dir` {text!r:.80} is taken as {path}", where)
        lying = folder_at(root, path, layout)
        if not lying.images:
            layout.tell("path", f"`image_dir` {text!r:.80}: no pictures there", where)
            continue
        found = _subset_folder(root, bases, lying, given, train_file)
        is_reg = is_on(given.get("is_reg"))
        (training.regularization if is_reg else training.folders).append(found)
    return training


def _subset_folder(
    root: Path,
    bases: tuple[Path, ...],
    folder: Folder,
    given: Mapping[str, Node],
    train_file: Node | None,
) -> Folder:
    """The folder with what the subset says of it, which goes before the folder's name."""
    repeats, words = given.get("num_repeats"), given.get("class_tokens")
    listed = given.get("metadata_file")
    number = repeats.value if repeats and type(repeats.value) is int else 1
    where = repeats or given["image_dir"]
    return replace(
        folder,
        repeats=min(max(number, 1), MAX_REPEATS),
        concept=str(words.value).strip() if words else "",
        source=f"{where.where.file}:{where.where.line}",
        metadata=resolve(root, bases, str(listed.value)) if listed else None,
        extension=_extension(given, train_file),
    )


def _of_folders(root: Path, folder: Path, layout: Layout, *, together: bool) -> Iterator[Training]:
    """One training for each concept in each folder of numbered folders, or one of all."""
    _move_regularization(root, folder, layout)
    for left in layout.plain if layout.numbered else ():
        message = f"{many(len(left.images), 'picture')} in a folder without a number in its name"
        layout.tell(
            "left-out", f"{message}: kohya leaves them out, and so does the config", left.path
        )
    groups: dict[tuple[str, str], list[Folder]] = {}
    for each in layout.numbered or layout.plain:
        if each.path == ".":
            message = f"{many(len(each.images), 'picture')} at the top of the repository: left out"
            layout.tell("left-out", message, hint="move them into a folder such as 10_mei")
            continue
        if not each.numbered:
            message = "no number in its name: kohya would leave it out; here it is taken once"
            layout.tell("repeats", message, each.path, f"mv it to 1_{each.path.rpartition('/')[2]}")
        words = re.split(r"[\s,]+", each.concept.lower()) if each.numbered else [each.path]
        groups.setdefault(("", "") if together else (each.parent, words[0]), []).append(each)
    if len(groups) > 1:
        message = (
            f"{many(len(groups), 'concept')}: each becomes a LoRA; kohya would train one on all"
        )
        layout.tell("concepts", message, hint="next: the same with --name NAME, for one LoRA")
    metadata = layout.metadata[0] if len(layout.metadata) == 1 else None
    if len(layout.metadata) > 1:
        layout.tell("metadata", f"which is meant is not known: {', '.join(layout.metadata)}")
    for (_, word), folders in groups.items():
        parent = folders[0].parent.rpartition("/")[2]
        train_file = _train_file(layout, parent)
        extension = _extension({}, train_file)
        found = [replace(f, metadata=metadata, extension=extension) for f in folders]
        reg = [replace(f, extension=extension) for f in layout.regularization]
        name = folders[0].path.rpartition("/")[2] if not folders[0].numbered else word or parent
        training = Training(folders=found, regularization=reg, hint=name, train_file=train_file)
        yield training


def _move_regularization(root: Path, folder: Path, layout: Layout) -> None:
    """What a train file names as `reg_data_dir` is no concept to learn."""
    for file, node in layout.train_files.items():
        given = flat(node).get("reg_data_dir")
        if given is None or not given.value:
            continue
        path = resolve(root, (folder, (root / file).parent), str(given.value))
        if path is None:
            message = f"`reg_data_dir` is {str(given.value)!r:.80}, which is not in this repository"
            if not layout.regularization:
                layout.tell("path", message, f"{file}:{given.where.line}")
            continue
        moved = [each for each in layout.numbered if each.parent == path]
        layout.regularization += [each for each in moved if each not in layout.regularization]
        layout.numbered = [each for each in layout.numbered if each not in moved]


def _train_file(layout: Layout, name: str) -> Node | None:
    """The train file that names the dataset file or folder, or the only one."""
    files = layout.train_files
    last = name.rpartition("/")[2]
    for node in files.values():
        given = flat(node)
        for key in ("dataset_config", "train_data_dir"):
            text = str(given[key].value) if key in given else ""
            if text and re.split(r"[/\\]", text.rstrip("/\\"))[-1] == last:
                return node
    if len(files) == 1:
        return next(iter(files.values()))
    if files:
        message = f"which of {', '.join(files)} is meant for {last} is not known: none is taken"
        layout.tell("train-file", message, hint="keep the one that is meant, and import again")
    return None


def _hint(train_file: Node | None, dataset_file: str) -> str:
    """What a LoRA may be called: `output_name`, else the dataset file's name."""
    given = flat(train_file).get("output_name") if train_file else None
    if given is not None and isinstance(given.value, str) and given.value:
        return given.value
    stem = dataset_file.rpartition("/")[2].removesuffix(".toml")
    return re.sub(r"[_-]?(dataset|data|config)s?(?=$|[_-])", "", stem) or "lora"


def _extension(given: Mapping[str, Node], train_file: Node | None) -> str | None:
    """The ending of kohya's caption files; None where no file of kohya's was found."""
    written = given.get("caption_extension") or (
        flat(train_file).get("caption_extension") if train_file else None
    )
    if written is None:
        return ".caption" if given or train_file else None
    return "." + str(written.value).removeprefix(".")


def _without(node: Node, key: str) -> Node:
    """The document without a key, wherever it stands."""
    if isinstance(node.value, dict):
        kept = {k: _without(child, key) for k, child in node.value.items() if k != key}
        return Node(kept, node.where, node.key)
    if isinstance(node.value, list):
        return Node([_without(child, key) for child in node.value], node.where, node.key)
    return node
