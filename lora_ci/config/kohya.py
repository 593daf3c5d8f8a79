"""kohya's train files → our settings, or an error at what we do not do alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from lora_ci.config.document import Node
from lora_ci.config.kohya_keys import (
    FIXED,
    KOHYA_DEFAULTS,
    KOHYA_MODULES,
    KOHYA_STEPS,
    MARKS,
    OFF,
    PASSED_OVER,
    PRECISION,
    RENAMED,
)
from lora_ci.config.kohya_optimizer import convolution, optimizer, schedule
from lora_ci.config.reading import Reading, nearest, shown

# Our own keys that a kohya file may hold: kohya's trainer ignores what it does not know.
OURS = ("images_seen", "checkpoint_every")
SQUARE = re.compile(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?")
TRAIN_KEYS = (
    *("gradient_accumulation_steps", "lr_scheduler", "lr_scheduler_num_cycles", "lr_warmup_steps"),
    *("max_train_epochs", "max_train_steps", "min_snr_gamma", "mixed_precision", "network_args"),
    *("network_train_unet_only", "optimizer_args", "optimizer_type", "random_crop", "resolution"),
    *("text_encoder_lr", "unet_lr", "use_8bit_adam"),
)


def is_train_file(node: Node) -> bool:
    """True if the keys of a file are those of kohya's trainer."""
    return not MARKS.isdisjoint(flat(node))


def train_settings(reading: Reading, node: Node, below: Mapping[str, Node]) -> dict[str, Node]:
    """Our train settings from kohya's train file, over those of its dataset file.

    What the file leaves out is as kohya's trainer has it, not as ours.
    """
    given = flat(node)
    check_keys(reading, given, (*TRAIN_KEYS, *OURS))
    train = {RENAMED[key]: child for key, child in given.items() if key in RENAMED}
    folder = train.pop("regularization", None)
    if folder is not None and is_on(folder):
        train["regularization"] = relative(folder)
    elif "regularization" not in below:
        # A weight of images that are not there.
        train.pop("prior_weight", None)
    train |= {key: given[key] for key in OURS if key in given}
    train |= shared_settings(reading, given)
    if "unet_lr" in given:
        train["learning_rate"] = given["unet_lr"]
    if "min_snr_gamma" in given:
        gamma = given["min_snr_gamma"]
        train["min_snr_gamma"] = gamma if gamma.value else Node(None, gamma.where, gamma.key)
    train |= schedule(reading, given) | optimizer(reading, given) | precision(reading, given)
    train |= text_encoder(reading, given, node)
    for key, value in below.items():
        if key in train and train[key].value != value.value:
            message = f"{shown(train[key])} here, but {shown(value)} in the dataset file"
            hint = "give both the same value: kohya takes the dataset file's"
            reading.say("kohya", f"`{key}`: {message}", train[key].where, hint)
    defaults = {key: Node(value, node.where) for key, value in KOHYA_DEFAULTS.items()}
    defaults["modules"] = Node([Node(name, node.where) for name in KOHYA_MODULES], node.where)
    whole = {**defaults, **below, **train}
    whole |= budget(given, node)
    whole |= accumulated(reading, given, whole["batch_size"])
    whole |= convolution(reading, given, whole["modules"])
    note_differences(reading, whole, given)
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
        wrong = node.value not in allowed if allowed else key in OFF and is_on(node)
        if wrong:
            message = f"`{key}` is {shown(node)}: not done here; there is: {instead}"
            reading.say("kohya", message, node.where, f"remove `{key}`, if the result may differ")
        elif key not in known:
            message = f"`{key[:64]}` is not known as a key of kohya's"
            reading.say("kohya", message, node.name_at, nearest(key, known, only_near=True))


def shared_settings(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """What train and dataset files say alike and has other values here."""
    train: dict[str, Node] = {}
    if "resolution" in given and (side := square(reading, given["resolution"])):
        train["resolution"] = side
    if "random_crop" in given:
        node = given["random_crop"]
        train["crop"] = Node("random" if is_on(node) else "center", node.where, node.key)
    return train


def precision(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """`precision` of the base; the adapter is always of 32 bits, as kohya's is."""
    node = given.get("mixed_precision")
    if node is None:
        return {}
    if node.value not in PRECISION:
        message = f"`mixed_precision` is {shown(node)}: expected `no`, `fp16` or `bf16`"
        reading.say("kohya", message, node.where)
        return {}
    return {"precision": Node(PRECISION[str(node.value)], node.where, node.key)}


def text_encoder(reading: Reading, given: Mapping[str, Node], file: Node) -> dict[str, Node]:
    """`text_encoder` and its rate: kohya teaches it, unless the file says otherwise."""
    only, rate = given.get("network_train_unet_only"), given.get("text_encoder_lr")
    if rate is not None and isinstance(rate.value, list):
        rates = [item.value for item in rate.value]
        if len(set(map(str, rates))) > 1:
            message = f"`text_encoder_lr` is {shown(rate)}: the text encoders have one rate here"
            reading.say("kohya", message, rate.where, "give one number")
        rate = Node(rates[0] if rates else None, rate.where, rate.key)
    off = only if is_on(only) else rate if rate is not None and rate.value == 0 else None
    if off is not None:
        return {"text_encoder": Node(False, off.where, off.key)}
    message = "kohya teaches the text encoder's feed-forward layers too; here its attention alone"
    hint = "write `network_train_unet_only = true` to leave the text encoder as it is"
    reading.note("kohya", message, rate.where if rate else file.where, hint)
    taught = {"text_encoder": Node(True, rate.where if rate else file.where)}
    if rate is not None and rate.value is not None:
        taught["text_encoder_learning_rate"] = rate
    elif "unet_lr" in given:
        plain = Node(KOHYA_DEFAULTS["learning_rate"], file.where)
        taught["text_encoder_learning_rate"] = given.get("learning_rate", plain)
    return taught


def budget(given: Mapping[str, Node], file: Node) -> dict[str, Node]:
    """`epochs`, where kohya counts epochs, else `steps`; `images_seen` goes before both."""
    if "images_seen" in given:
        return {}
    epochs = given.get("max_train_epochs")
    if epochs is not None:
        return {"epochs": epochs}
    return {"steps": given.get("max_train_steps", Node(KOHYA_STEPS, file.where))}


def accumulated(reading: Reading, given: Mapping[str, Node], batch: Node) -> dict[str, Node]:
    """A step takes all the batches whose gradients kohya adds up: their number × their size."""
    parts = given.get("gradient_accumulation_steps")
    if parts is None:
        return {}
    if type(parts.value) is not int or parts.value < 1:
        message = f"`gradient_accumulation_steps` is {shown(parts)}: expected a whole number >= 1"
        reading.say("kohya", message, parts.where)
        return {}
    if type(batch.value) is not int:
        return {}
    whole = Node(batch.value * parts.value, batch.where, batch.key)
    return {"batch_size": whole, "gradient_accumulation": parts}


def note_differences(
    reading: Reading, whole: Mapping[str, Node], given: Mapping[str, Node]
) -> None:
    """Notes at what is done, but not quite as kohya does it."""
    enlarged = given.get("bucket_no_upscale")
    if enlarged is not None and is_on(enlarged) and is_on(whole.get("buckets")):
        message = "`bucket_no_upscale`: here small pictures are enlarged to the size of a bucket"
        reading.note("kohya", message, enlarged.where, "larger pictures, or a lower `resolution`")


def square(reading: Reading, node: Node) -> Node | None:
    """The side in pixels of `512`, `"512"`, `"512,512"` or `[512, 512]`."""
    plain = node.plain()
    text = ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)
    found = SQUARE.fullmatch(text[:40])
    if not found or (found[2] and found[2] != found[1]):
        message = f"`resolution` is {shown(node)}: expected the side of a square, such as 512"
        hint = "with `enable_bucket` pictures of other shapes keep theirs"
        reading.say("kohya", message, node.where, hint)
        return None
    return Node(int(found[1]), node.where, node.key)


def is_on(node: Node | None) -> bool:
    """True for a switch that is on, and for a number or a list that is not empty."""
    return node is not None and bool(node.value)


def relative(node: Node) -> Node:
    """A folder of kohya's as the config would write it: without `./` and the last `/`."""
    if not isinstance(node.value, str):
        return node
    return Node(PurePosixPath(node.value).as_posix(), node.where, node.key)
