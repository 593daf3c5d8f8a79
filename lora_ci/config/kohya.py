"""kohya's train and dataset files → our settings, or an error at what we do not do alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.config.document import Node
from lora_ci.config.kohya_keys import (
    FIXED,
    KOHYA_DEFAULTS,
    KOHYA_STEPS,
    MARKS,
    OFF,
    PASSED_OVER,
    RENAMED,
)
from lora_ci.config.reading import Reading, nearest, shown

# Our own keys that a kohya file may hold: kohya's trainer ignores what it does not know.
OURS = ("images_seen", "checkpoint_every")
SQUARE = re.compile(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?")
WEIGHT_DECAY = re.compile(r"weight_decay=([0-9.]+(?:[eE][-+]?\d+)?)")
SCHEDULER_KEYS = ("lr_scheduler", "lr_warmup_steps", "lr_scheduler_num_cycles")
STEP_KEYS = ("max_train_steps", "max_train_epochs")
TRAIN_KEYS = ("optimizer_type", "optimizer_args", "unet_lr", "resolution", "min_snr_gamma")
DATASET_KEYS = ("image_dir", "num_repeats", "batch_size", "resolution")


def is_train_file(node: Node) -> bool:
    """True if the keys of a file are those of kohya's trainer."""
    return not MARKS.isdisjoint(flat(node))


def train_settings(reading: Reading, node: Node, below: Mapping[str, Node]) -> dict[str, Node]:
    """Our train settings from kohya's train file, over those of its dataset file.

    What the file leaves out is as kohya's trainer has it, not as ours.
    """
    given = flat(node)
    handled = (*TRAIN_KEYS, *SCHEDULER_KEYS, *STEP_KEYS, *OURS)
    check_keys(reading, given, handled)
    train = {RENAMED[key]: child for key, child in given.items() if key in RENAMED}
    train |= {key: given[key] for key in OURS if key in given}
    if "unet_lr" in given:
        train["learning_rate"] = given["unet_lr"]
    if "resolution" in given and (side := square(reading, given["resolution"])):
        train["resolution"] = side
    if "min_snr_gamma" in given:
        gamma = given["min_snr_gamma"]
        train["min_snr_gamma"] = gamma if gamma.value else Node(None, gamma.where, gamma.key)
    train |= schedule(reading, given) | optimizer(reading, given)
    for key, value in below.items():
        if key in train and train[key].value != value.value:
            message = f"{shown(train[key])} here, but {shown(value)} in the dataset file"
            hint = "give both the same value: kohya takes the dataset file's"
            reading.say("kohya", f"`{key}`: {message}", train[key].where, hint)
    defaults = {key: Node(value, node.where) for key, value in KOHYA_DEFAULTS.items()}
    whole = {**defaults, **below, **train}
    whole |= images_seen(reading, given, whole["batch_size"], node)
    if not _is_on(given.get("network_train_unet_only")):
        message = "kohya would train the text encoder as well; here the U-Net alone is trained"
        hint = "write `network_train_unet_only = true`"
        reading.note("kohya", message, node.where, hint)
    return whole


def flat(node: Node) -> dict[str, Node]:
    """The keys of a file without its tables, which kohya's trainer does not look at."""
    given: dict[str, Node] = {}
    for key, child in node.value.items() if isinstance(node.value, dict) else ():
        given |= child.value if isinstance(child.value, dict) else {key: child}
    return given


def check_keys(reading: Reading, given: Mapping[str, Node], handled: tuple[str, ...]) -> None:
    """Says what would change the result and is not done here."""
    known = {*handled, *RENAMED, *PASSED_OVER, *OFF, *FIXED}
    for key, node in given.items():
        allowed, instead = FIXED.get(key, ((), OFF.get(key, "")))
        wrong = node.value not in allowed if allowed else key in OFF and _is_on(node)
        if wrong:
            message = f"`{key}` is {shown(node)}: not done here; there is: {instead}"
            reading.say("kohya", message, node.where, f"remove `{key}`, if the result may differ")
        elif key not in known:
            message = f"`{key[:64]}` is not known as a key of kohya's"
            reading.say("kohya", message, node.name_at, nearest(key, known, only_near=True))


def schedule(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """`schedule` and `warmup_steps`."""
    node, warmup = given.get("lr_scheduler"), given.get("lr_warmup_steps")
    name = node.value if node else "constant"
    settings: dict[str, Node] = {}
    cycles = given.get("lr_scheduler_num_cycles")
    if name == "cosine_with_restarts" and (cycles is None or cycles.value == 1):
        name = "cosine"
    if node and name in ("constant", "constant_with_warmup", "cosine"):
        plain = "cosine" if name == "cosine" else "constant"
        settings["schedule"] = Node(plain, node.where, node.key)
    elif node:
        message = f"`lr_scheduler` is {shown(node)}: there are `constant`, `constant_with_warmup`"
        reading.say("kohya", f"{message} and `cosine`", node.where)
    if warmup and warmup.value:
        if name == "constant":
            message = "kohya leaves out the warm-up of a `constant` schedule"
            hint = 'write lr_scheduler = "constant_with_warmup", or remove it'
            reading.say("kohya", f"`lr_warmup_steps`: {message}", warmup.where, hint)
        settings["warmup_steps"] = warmup
    return settings


def optimizer(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """`optimizer` and `weight_decay`."""
    kind, arguments = given.get("optimizer_type"), given.get("optimizer_args")
    settings: dict[str, Node] = {}
    if kind and str(kind.value).lower() not in ("adamw", ""):
        message = f"`optimizer_type` is {shown(kind)}: there is `AdamW`"
        reading.say("kohya", message, kind.where)
    items = arguments.value if arguments and isinstance(arguments.value, list) else []
    if arguments and arguments.value and not items:
        message = f"`optimizer_args` is {shown(arguments)}: expected a list of texts"
        reading.say("kohya", message, arguments.where)
    for item in items:
        found = WEIGHT_DECAY.fullmatch(str(item.value).replace(" ", ""))
        if found:
            settings["weight_decay"] = Node(_number(found[1]), item.where)
        else:
            message = f"`optimizer_args` has {shown(item)}: there is `weight_decay=…`"
            reading.say("kohya", message, item.where)
    return settings


def images_seen(
    reading: Reading, given: Mapping[str, Node], batch: Node, document: Node
) -> dict[str, Node]:
    """The budget: steps × batch. Epochs would need the number of images."""
    if "images_seen" in given:
        return {}
    if "max_train_epochs" in given:
        node = given["max_train_epochs"]
        message = "`max_train_epochs` depends on the number of images, which is not known yet"
        hint = "write images_seen = <images × repeats × epochs> instead; kohya ignores that key"
        reading.say("kohya", message, node.where, hint)
        return {}
    steps = given.get("max_train_steps", Node(KOHYA_STEPS, document.where))
    if type(steps.value) is not int or steps.value < 1:
        message = f"`max_train_steps` is {shown(steps)}: expected a whole number >= 1"
        reading.say("kohya", message, steps.where)
        return {}
    if type(batch.value) is not int or steps.value * batch.value >= 2**63:
        return {}
    return {"images_seen": Node(steps.value * batch.value, steps.where, steps.key)}


def square(reading: Reading, node: Node) -> Node | None:
    """The side in pixels of `512`, `"512"`, `"512,512"` or `[512, 512]`."""
    plain = node.plain()
    text = ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)
    found = SQUARE.fullmatch(text[:40])
    if not found or (found[2] and found[2] != found[1]):
        message = f"`resolution` is {shown(node)}: pictures are trained as squares, such as 512"
        reading.say("kohya", message, node.where)
        return None
    return Node(int(found[1]), node.where, node.key)


@dataclass(frozen=True, slots=True)
class _Subset:
    """A subset with what its dataset and `[general]` say for all."""

    given: dict[str, Node]
    node: Node


def dataset_sources(reading: Reading, document: Node) -> tuple[list[Node], dict[str, Node]]:
    """Nodes with `path` and `repeats` from kohya's dataset file, and what it says of training."""
    before = len(reading.findings)
    subsets = _subsets(reading, document)
    sources: list[Node] = []
    train: dict[str, Node] = {}
    for subset in subsets:
        given = subset.given
        check_keys(reading, given, DATASET_KEYS)
        if "image_dir" in given:
            parts = {"path": given["image_dir"]}
            parts |= {"repeats": given["num_repeats"]} if "num_repeats" in given else {}
            sources.append(Node(parts, subset.node.where, given["image_dir"].key))
        else:
            reading.say("kohya", "a subset without `image_dir`", subset.node.where)
        for key, value in _settings(reading, given).items():
            if key in train and train[key].value != value.value:
                message = f"`{key}` is {shown(value)} here and {shown(train[key])} before"
                hint = "one LoRA has one value for all its pictures"
                reading.say("kohya", message, value.where, hint)
            train[key] = value
    if not subsets and len(reading.findings) == before:
        message = "no `[[datasets.subsets]]`: expected kohya's dataset format"
        reading.say("kohya", message, document.where)
    return sources, train


def _subsets(reading: Reading, document: Node) -> list[_Subset]:
    top = reading.mapping(document, document.where.file, ("general", "datasets"))
    general = reading.mapping(top.get("general"), "general")
    found = []
    for dataset in _tables(reading, top.get("datasets"), "datasets"):
        keys = dataset.value if isinstance(dataset.value, dict) else {}
        shared = {key: child for key, child in keys.items() if key != "subsets"}
        for subset in _tables(reading, keys.get("subsets"), "datasets.subsets"):
            own = subset.value if isinstance(subset.value, dict) else {}
            found.append(_Subset({**general, **shared, **own}, subset))
    return found


def _tables(reading: Reading, node: Node | None, what: str) -> list[Node]:
    if node is None:
        return []
    if isinstance(node.value, list) and all(isinstance(n.value, dict) for n in node.value):
        return node.value
    reading.say("kohya", f"`{what}`: expected `[[{what}]]`", node.where)
    return []


def _settings(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """What a subset says of training, in our keys. `flip_aug = false` is said as well."""
    train = {RENAMED[k]: given[k] for k in ("flip_aug", "caption_dropout_rate") if k in given}
    if "batch_size" in given:
        train["batch_size"] = given["batch_size"]
    if "resolution" in given and (side := square(reading, given["resolution"])):
        train["resolution"] = side
    return train


def _is_on(node: Node | None) -> bool:
    return node is not None and bool(node.value)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
