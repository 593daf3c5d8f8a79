"""What other trainers cannot do, told at the line that asks for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lora_ci.config.document import Node, Where
from lora_ci.config.reading import LONGEST_SHOWN, Reading, nearest
from lora_ci.config.train_rules import MODULE_GROUPS
from lora_ci.core.settings import TrainSettings

PLACEHOLDERS = ("config", "dataset", "output", "base_model")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
DEFAULT = TrainSettings()

WHOLE = "trains on the whole dataset"
# Backend → setting that changes the adapter and that it has nothing for → why, after its name.
CANNOT: Mapping[str, Mapping[str, str]] = {
    "sd-scripts": {
        "method": "has no DoRA",
        "ranks": "has one rank for all modules",
        "alphas": "has one alpha for all modules",
        "ema_decay": "keeps no running mean of the weights",
        "shards": WHOLE,
    },
    "ai-toolkit": {
        "method": "saves DoRA in names that are not read here",
        "ranks": "has one rank for all modules",
        "alphas": "has one alpha for all modules",
        "shuffle_captions": "shuffles the trigger too",
        "validation_share": "holds no pictures out",
        "shards": WHOLE,
    },
    "command": {"shards": WHOLE},
}
# … and values that it lacks of settings that it has otherwise.
CANNOT_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sd-scripts": {},
    "ai-toolkit": {
        "optimizer": ("schedule-free-adamw",),
        "schedule": ("cosine-with-restarts",),
    },
    "command": {},
}
# Options that are made from our settings alone: the training would be another, or its result lost.
OURS: Mapping[str, frozenset[str]] = {
    "sd-scripts": frozenset(
        {
            *("config_file", "dataset_config", "output_config", "output_dir", "output_name"),
            *("pretrained_model_name_or_path", "save_model_as", "resume", "max_train_steps"),
            *("max_train_epochs", "train_data_dir", "reg_data_dir", "in_json", "seed"),
        }
    ),
    "ai-toolkit": frozenset(
        {"train.steps", "model.name_or_path", "model.arch", "datasets.folder_path"}
        | {"datasets.dataset_path"}
    ),
    "command": frozenset(),
}
# Options that send an adapter or its curves away before it was judged, or that are secrets, which
# would stand in records and reports.
AWAY = re.compile(
    r"(wandb|.*huggingface)_.*|.*huggingface|log_with|log_tracker_.*|(save\.)?(push_to_hub|hf_.*)"
)
OPTION = {
    "sd-scripts": (re.compile(r"[a-z0-9_]+"), "such as `clip_skip`"),
    "ai-toolkit": (
        re.compile(r"(network|save|datasets|train|model)\.[a-z0-9_]+"),
        "a section and a key, such as `model.quantize`",
    ),
    "command": (re.compile(r"[^\s=]+"), "a name"),
}
# All that is about other trainers alone.
FOREIGN = ("backend_version", "backend_folder", "backend_arguments", "command")


def check_backend(reading: Reading, train: TrainSettings, node: Node) -> None:
    """Errors at what the trainer that is named could not follow."""
    given = node.value if isinstance(node.value, dict) else {}

    def where(key: str) -> Where:
        return given[key].where if key in given else node.where

    if train.backend == "native":
        for key in FOREIGN:
            if getattr(train, key) != getattr(DEFAULT, key) and key in given:
                message = f"`{key}` has no effect with `backend: native`"
                reading.note("no-effect", message, given[key].name_at, f"remove `{key}`")
        return
    _check_needs(reading, train, node, where("backend"))
    for key, why in CANNOT[train.backend].items():
        if getattr(train, key) != getattr(DEFAULT, key):
            _say(reading, key, f"{train.backend} {why}", where(key))
    for key, values in CANNOT_VALUES[train.backend].items():
        if getattr(train, key) in values:
            value = getattr(train, key)
            _say(reading, key, f"{train.backend} has no `{value}`", where(key))
    _check_combinations(reading, train, where)
    _check_arguments(reading, train, given)
    if train.command and train.backend != "command":
        message = f"`command` has no effect with `backend: {train.backend}`"
        reading.note("no-effect", message, where("command"), "remove `command`")


def _say(reading: Reading, key: str, why: str, where: Where) -> None:
    hint = f"remove `{key}`, or train with `backend: native`"
    reading.say("backend", f"`{key}`: {why}", where, hint)


def _check_needs(reading: Reading, train: TrainSettings, node: Node, named: Where) -> None:
    """A program, or the folder of one."""
    given = node.value if isinstance(node.value, dict) else {}
    folder = train.backend_folder
    if folder is not None and not folder.startswith("/"):
        message = f"`backend_folder` is `{folder[:LONGEST_SHOWN]}`: expected an absolute path"
        place = given.get("backend_folder", node).where
        reading.say("value", message, place, f"such as /opt/{train.backend}")
    if train.backend != "command":
        if folder is None:
            message = f"`backend: {train.backend}` needs `backend_folder`"
            hint = f"where it lies on the machine that trains, such as /opt/{train.backend}"
            reading.say("backend", message, named, hint)
        return
    if not train.command:
        hint = 'next: add such as `command: [python, /opt/train.py, "{config}"]`'
        reading.say("backend", "`backend: command` needs `command`", named, hint)
    if train.backend_version is not None and folder is None:
        message = "`backend_version` of a command needs `backend_folder`, whose commit it is"
        reading.say("backend", message, given.get("backend_version", node).where)
    for argument in train.command:
        for name in PLACEHOLDER.findall(argument):
            if name not in PLACEHOLDERS:
                message = f"`command`: `{{{name[:LONGEST_SHOWN]}}}` stands for nothing"
                place = given.get("command", node).where
                reading.say("value", message, place, nearest(name, PLACEHOLDERS))


def _check_combinations(
    reading: Reading, train: TrainSettings, where: Callable[[str], Where]
) -> None:
    """What depends on more than one setting, or only on how a training runs."""
    if train.backend == "ai-toolkit" and train.warmup_steps and train.schedule != "constant":
        why = "ai-toolkit warms up with `schedule: constant` alone"
        _say(reading, "warmup_steps", why, where("warmup_steps"))
    if train.backend == "sd-scripts":
        other = [name for name in train.modules if name not in MODULE_GROUPS]
        if other:
            why = f"sd-scripts teaches groups of modules, and `{other[0][:LONGEST_SHOWN]}` is none"
            _say(reading, "modules", why, where("modules"))
        elif not {"attention", "feed-forward"} <= set(train.modules):
            message = "sd-scripts teaches attention and feed-forward layers alike"
            hint = "write `modules: [attention, feed-forward]`"
            reading.note("backend", message, where("modules"), hint)
    if train.backend != "command" and train.sample_every is not None:
        message = f"`sample_every` has no effect with `backend: {train.backend}`"
        reading.note("no-effect", message, where("sample_every"), "remove `sample_every`")


def _check_arguments(reading: Reading, train: TrainSettings, given: Mapping[str, Node]) -> None:
    """Options by the trainer's own names; not those that are made from our settings."""
    node = given.get("backend_arguments")
    children = node.value if node is not None and isinstance(node.value, dict) else {}
    pattern, expected = OPTION[train.backend]
    for name, child in children.items():
        shown = f"`backend_arguments`: `{name[:LONGEST_SHOWN]}`"
        if not pattern.fullmatch(name):
            message = f"{shown} is no option of {train.backend}"
            reading.say("value", message, child.name_at, f"expected {expected}")
        elif train.backend != "command" and AWAY.fullmatch(name):
            message = f"{shown} sends the adapter or its curves away, or is a secret"
            reading.say("backend", message, child.name_at, "remove it")
        elif name in OURS[train.backend]:
            message = f"{shown} is made from other settings"
            reading.say("backend", message, child.name_at, "remove it")
