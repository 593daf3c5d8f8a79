"""kohya's dataset files → sources, and what they say of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.config.document import Node
from lora_ci.config.kohya import check_keys, is_on, relative, shared_settings
from lora_ci.config.kohya_keys import DATASET_RENAMED, RENAMED
from lora_ci.config.reading import Reading, shown

DATASET_KEYS = ("batch_size", "image_dir", "is_reg", "num_repeats", "random_crop", "resolution")


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset with what its dataset and `[general]` say for all."""

    given: dict[str, Node]
    node: Node


def dataset_sources(reading: Reading, document: Node) -> tuple[list[Node], dict[str, Node]]:
    """Nodes with `path` and `repeats` from kohya's dataset file, and what it says of training."""
    before = len(reading.findings)
    subsets = read_subsets(reading, document)
    sources: list[Node] = []
    train: dict[str, Node] = {}
    for subset in subsets:
        given = subset.given
        check_keys(reading, given, DATASET_KEYS)
        if "image_dir" in given and is_on(given.get("is_reg")):
            given = {**given, "regularization": relative(given["image_dir"])}
        elif "image_dir" in given:
            parts = {"path": given["image_dir"]}
            parts |= {"repeats": given["num_repeats"]} if "num_repeats" in given else {}
            sources.append(Node(parts, subset.node.where, given["image_dir"].key))
        else:
            reading.say("kohya", "a subset without `image_dir`", subset.node.where)
        for key, value in subset_settings(reading, given).items():
            if key in train and train[key].value != value.value:
                message = f"`{key}` is {shown(value)} here and {shown(train[key])} before"
                hint = "one LoRA has one value for all its pictures"
                reading.say("kohya", message, value.where, hint)
            train[key] = value
    if subsets and not sources and len(reading.findings) == before:
        message = "all subsets are of regularization images: there is nothing to learn"
        reading.say("kohya", message, document.where, "add one without `is_reg`")
    if not subsets and len(reading.findings) == before:
        message = "no `[[datasets.subsets]]`: expected kohya's dataset format"
        reading.say("kohya", message, document.where)
    return sources, train


def read_subsets(reading: Reading, document: Node) -> list[Subset]:
    """Every `[[datasets.subsets]]`, nearer tables over those further up."""
    top = reading.mapping(document, document.where.file, ("general", "datasets"))
    general = reading.mapping(top.get("general"), "general")
    found = []
    for dataset in _tables(reading, top.get("datasets"), "datasets"):
        keys = dataset.value if isinstance(dataset.value, dict) else {}
        shared = {key: child for key, child in keys.items() if key != "subsets"}
        for subset in _tables(reading, keys.get("subsets"), "datasets.subsets"):
            own = subset.value if isinstance(subset.value, dict) else {}
            found.append(Subset({**general, **shared, **own}, subset))
    return found


def _tables(reading: Reading, node: Node | None, what: str) -> list[Node]:
    if node is None:
        return []
    if isinstance(node.value, list) and all(isinstance(n.value, dict) for n in node.value):
        return node.value
    reading.say("kohya", f"`{what}`: expected `[[{what}]]`", node.where)
    return []


def subset_settings(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """What a subset says of training, in our keys. `flip_aug = false` is said as well."""
    train = {RENAMED[key]: given[key] for key in DATASET_RENAMED if key in given}
    train |= {key: given[key] for key in ("batch_size", "regularization") if key in given}
    return train | shared_settings(reading, given)
