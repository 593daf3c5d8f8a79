"""Optimizer, schedule and network of kohya's train files, by what the trainers do alike."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_ci.config.document import Node
from lora_ci.config.kohya_keys import KOHYA_CONVOLUTION, KOHYA_WIDE
from lora_ci.config.reading import Reading, nearest, shown

LONGEST_ARGUMENT = 200
SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine-with-restarts",
    "linear": "linear",
}


@dataclass(frozen=True, slots=True)
class _Optimizer:
    """An optimizer of kohya's: our name, the decay it has when none is given, and arguments.

    `same` are values of arguments that our trainer has anyway; those `needed` must be written, for
    kohya's own default is another, and of `noted` it is said that it is.
    """

    name: str
    weight_decay: float
    same: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


ADAM = {"betas": ((0.9, 0.999),), "eps": (1e-8,)}
OPTIMIZERS = {
    "adamw": _Optimizer("adamw", 0.01, ADAM),
    "adamw8bit": _Optimizer("adamw8bit", 0.01, ADAM),
    "prodigy": _Optimizer(
        "prodigy",
        0.0,
        {
            **ADAM,
            "d_coef": (1,),
            "decouple": (True,),
            "safeguard_warmup": (True, False),
            "use_bias_correction": (True,),
        },
        noted=("use_bias_correction",),
    ),
    "adamwschedulefree": _Optimizer("schedule-free-adamw", 0.0, ADAM),
    "adafactor": _Optimizer(
        "adafactor",
        0.0,
        {"relative_step": (False,), "scale_parameter": (False,), "warmup_init": (False,)},
        needed=("relative_step", "scale_parameter"),
    ),
}
NAMES = "`AdamW`, `AdamW8bit`, `Prodigy`, `AdamWScheduleFree` and `Adafactor`"


def schedule(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """`schedule`, `restarts` and `warmup_steps`."""
    if _kind(given) == "adamwschedulefree":
        # kohya looks at none of them then.
        return {}
    node, cycles = given.get("lr_scheduler"), given.get("lr_scheduler_num_cycles")
    name = str(node.value) if node else "constant"
    settings: dict[str, Node] = {}
    if name in SCHEDULES and node:
        settings["schedule"] = Node(SCHEDULES[name], node.where, node.key)
    elif node:
        message = f"`lr_scheduler` is {shown(node)}: there are {', '.join(SCHEDULES)}"
        reading.say("kohya", message, node.where, nearest(name, SCHEDULES, only_near=True))
    if name == "cosine_with_restarts" and cycles is not None:
        settings["restarts"] = cycles
    return settings | _warmup(reading, given, name)


def _warmup(reading: Reading, given: Mapping[str, Node], schedule_name: str) -> dict[str, Node]:
    node, steps = given.get("lr_warmup_steps"), given.get("max_train_steps")
    if node is None or not node.value:
        return {}
    if schedule_name == "constant":
        message = "`lr_warmup_steps`: kohya's trainer stops at a warm-up of a `constant` schedule"
        hint = 'write lr_scheduler = "constant_with_warmup", or remove it'
        reading.say("kohya", message, node.where, hint)
        return {}
    if not isinstance(node.value, float):
        return {"warmup_steps": node}
    if "max_train_epochs" in given or steps is None or type(steps.value) is not int:
        message = f"`lr_warmup_steps` is {shown(node)}, a share of steps that are not known yet"
        reading.say("kohya", message, node.where, "write the number of steps")
        return {}
    return {"warmup_steps": Node(int(node.value * steps.value), node.where, node.key)}


def optimizer(reading: Reading, given: Mapping[str, Node]) -> dict[str, Node]:
    """`optimizer`, `weight_decay`, and the warm-up of schedule-free AdamW."""
    node, kind = given.get("optimizer_type"), OPTIMIZERS.get(_kind(given))
    if kind is None:
        if node is not None:
            message = f"`optimizer_type` is {shown(node)}: there are {NAMES}"
            reading.say("kohya", message, node.where)
        return {}
    settings: dict[str, Node] = {}
    source = node if node is not None and node.value else given.get("use_8bit_adam")
    if source is not None:
        settings["optimizer"] = Node(kind.name, source.where, source.key)
        settings["weight_decay"] = Node(kind.weight_decay, source.where)
    written, own_warmup = set(), kind.name == "schedule-free-adamw"
    for item, key, value in arguments(reading, given, "optimizer_args"):
        written.add(key)
        if key == "weight_decay" and isinstance(value, int | float):
            settings["weight_decay"] = Node(float(value), item.where)
        elif key == "warmup_steps" and own_warmup and isinstance(value, int):
            settings["warmup_steps"] = Node(value, item.where)
        elif value not in kind.same.get(key, ()):
            known = ", ".join(f"`{name}={values[0]}`" for name, values in kind.same.items())
            message = f"`optimizer_args` has {shown(item)}: there is `weight_decay=…`"
            reading.say("kohya", f"{message}, and {known}", item.where)
    if source is not None:
        _tell_defaults(reading, given, kind, source, written)
    return settings


def _tell_defaults(
    reading: Reading,
    given: Mapping[str, Node],
    kind: _Optimizer,
    source: Node,
    written: Collection[str],
) -> None:
    """Where kohya's defaults of an optimizer are not those that it has here."""
    for key in [key for key in (*kind.needed, *kind.noted) if key not in written]:
        value = kind.same[key][0]
        message = f"{kind.name} has `{key}={value}` here; kohya's default is another"
        hint = f'write optimizer_args = ["{key}={value}"]'
        if key in kind.needed:
            reading.say("kohya", message, source.where, hint)
        else:
            reading.note("kohya", message, source.where, hint)
    rate = given.get("unet_lr", given.get("learning_rate"))
    if kind.name == "prodigy" and rate is not None and rate.value != 1:
        message = "kohya multiplies Prodigy's own rate by it; here it has no effect"
        reading.note("kohya", f"`learning_rate` is {shown(rate)}: {message}", rate.where)


def convolution(reading: Reading, given: Mapping[str, Node], modules: Node) -> dict[str, Node]:
    """`modules`, `ranks` and `alphas` of `network_args`: `conv_dim` and `conv_alpha`."""
    found = {key: (item, value) for item, key, value in arguments(reading, given, "network_args")}
    for key, (item, value) in found.items():
        if key not in ("conv_dim", "conv_alpha") or not isinstance(value, int | float):
            message = f"`network_args` has {shown(item)}: there are `conv_dim` and `conv_alpha`"
            reading.say("kohya", message, item.where)
    item, rank = found.get("conv_dim", (modules, None))
    alpha_item, alpha = found.get("conv_alpha", (item, 1.0))
    numbers = isinstance(rank, int | float) and isinstance(alpha, int | float)
    if not numbers or not isinstance(modules.value, list):
        return {}
    named = [*modules.value, *(Node(name, item.where) for name in KOHYA_CONVOLUTION)]
    ranks = {name: Node(rank, item.where, item.where) for name in KOHYA_WIDE}
    alphas = {name: Node(alpha, alpha_item.where, alpha_item.where) for name in KOHYA_WIDE}
    return {
        "modules": Node(named, item.where),
        "ranks": Node(dict(ranks), item.where),
        "alphas": Node(dict(alphas), alpha_item.where),
    }


def arguments(
    reading: Reading, given: Mapping[str, Node], name: str
) -> Iterator[tuple[Node, str, Any]]:
    """Each `key=value` of a list, with its value as Python reads it; an error at what is none."""
    node = given.get(name)
    if node is None or not node.value:
        return
    if not isinstance(node.value, list):
        reading.say("kohya", f"`{name}` is {shown(node)}: expected a list of texts", node.where)
        return
    for item in node.value:
        key, sign, text = str(item.value).partition("=")
        try:
            value = ast.literal_eval(text.strip()) if len(text) < LONGEST_ARGUMENT else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if not sign or not isinstance(value, int | float | tuple | list):
            message = f"`{name}` has {shown(item)}: expected such as `key=0.1`"
            reading.say("kohya", message, item.where)
        else:
            yield item, key.strip(), tuple(value) if isinstance(value, list) else value


def _kind(given: Mapping[str, Node]) -> str:
    """The optimizer's name as kohya compares it."""
    node, eight = given.get("optimizer_type"), given.get("use_8bit_adam")
    name = str(node.value).lower() if node is not None and node.value else ""
    return name or ("adamw8bit" if eight is not None and eight.value else "adamw")
