"""`dataset` and `base_model` → where the pictures and the model come from."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from lora_ci.config.document import Node
from lora_ci.config.kohya_dataset import dataset_sources
from lora_ci.config.language import HUB_NAME, MAX_SOURCES, REVISION
from lora_ci.config.model import HubModel, Source
from lora_ci.config.reading import Reading, shown

AT_REVISION = re.compile(r"([\w.-]+/[\w.-]+)@([\w.-]+)")


def read_sources(
    reading: Reading, node: Node, path: str
) -> tuple[tuple[Source, ...], dict[str, Node]]:
    """The sources of a dataset, and the train settings that a kohya file gives with them."""
    reading.places[path] = node.where
    items = node.value if isinstance(node.value, list) else [node]
    sources: list[Source] = []
    train: dict[str, Node] = {}
    if len(items) > MAX_SOURCES:
        message = f"`{path}` has {len(items)} sources; at most {MAX_SOURCES}"
        reading.say("too-many", message, node.where)
        return (), {}
    if not items:
        reading.say("value", f"`{path}` is an empty list: expected a folder", node.where)
    seen: set[str] = set()
    around: dict[str, str] = {}
    for item in items:
        for found in _sources(reading, item, path, train):
            if found.path in seen:
                message = f"`{found.path}` stands twice in `{path}`"
                reading.say("duplicate-source", message, item.where, "give it more `repeats`")
            parents = [parent.as_posix() for parent in PurePosixPath(found.path).parents]
            outer = next((parent for parent in parents if parent in seen), None)
            inner = found.path if outer else around.get(found.path)
            if inner:
                # Its pictures would count as those of both, and no identity tells which.
                message = f"`{inner}` lies in `{outer or found.path}`: a source has all below it"
                hint = "name folders that lie beside each other"
                reading.say("duplicate-source", message, item.where, hint)
            around |= dict.fromkeys(parents, found.path)
            seen.add(found.path)
            sources.append(found)
    return tuple(sources), train


def _sources(reading: Reading, node: Node, path: str, train: dict[str, Node]) -> list[Source]:
    if isinstance(node.value, str) and node.value.endswith(".toml"):
        document = reading.document(node.value, node.where)
        if document is None:
            return []
        found, settings = dataset_sources(reading, document)
        train.update(settings)
        nodes = found
    elif isinstance(node.value, dict):
        nodes = [node]
    elif isinstance(node.value, str):
        nodes = [Node({"path": node}, node.where)]
    else:
        message = f"`{path}` is {shown(node)}: expected a folder, or `path` and `repeats`"
        reading.say("value", message, node.where)
        return []
    sources = []
    for item in nodes:
        place = reading.places[path]
        source = reading.settings(Source, item, path)
        reading.places[path] = place
        inner = item.value["path"] if isinstance(item.value, dict) and source else item
        if source and reading.inside_repository(source.path, inner.where):
            clean = PurePosixPath(source.path).as_posix()
            sources.append(Source(path=clean, repeats=source.repeats))
    return sources


def read_base_model(reading: Reading, node: Node, path: str) -> str | HubModel | None:
    """A folder of the repository, or a model on the hub at a full commit id."""
    reading.places[path] = node.where
    if isinstance(node.value, str):
        named = AT_REVISION.fullmatch(node.value)
        if named and HUB_NAME.fullmatch(named[1]):
            message = f"`{path}` is {shown(node)}: expected a folder, or a mapping"
            hint = f"write {{hub: {named[1]}, revision: {named[2]}}}"
            reading.say("base-model", message, node.where, hint)
            return None
        clean = PurePosixPath(node.value).as_posix()
        return clean if reading.inside_repository(node.value, node.where) else None
    if not isinstance(node.value, dict):
        message = f"`{path}` is {shown(node)}: expected a folder, or `hub` and `revision`"
        reading.say("value", message, node.where)
        return None
    model = reading.settings(HubModel, node, path)
    if model is None:
        return None
    if not HUB_NAME.fullmatch(model.hub):
        where = node.value["hub"].where
        reading.say("base-model", f"`{path}.hub` is `{model.hub[:60]}`: expected owner/name", where)
        return None
    if not REVISION.fullmatch(model.revision):
        message = (
            f"`{path}.revision` is `{model.revision[:60]}`: expected a full commit id, "
            "40 hexadecimal digits; a branch moves unseen"
        )
        hint = f"next: git ls-remote https://huggingface.co/{model.hub}"
        reading.say("base-model", message, node.value["revision"].where, hint)
        return None
    return model
