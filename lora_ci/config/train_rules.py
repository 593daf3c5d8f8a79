"""What `train` must hold beyond its types: one budget, and settings that have an effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from lora_ci.config.document import Node
from lora_ci.config.reading import LONGEST_SHOWN, Reading, nearest
from lora_ci.core.settings import TrainSettings

BUDGETS = ("images_seen", "epochs", "steps")
MODULE_GROUPS = ("attention", "feed-forward", "convolution")
MODULE_ENDING = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
LATENT_SIDE = 8


def with_nearest_budget(section: Node, above: Node | None) -> Node:
    """The section without the budgets that one of `above`, which lies over it, stands in for."""
    given = budgets(above)
    if not given or not isinstance(section.value, dict):
        return section
    kept = {k: v for k, v in section.value.items() if k not in BUDGETS or k in given}
    return Node(kept, section.where, section.key)


def budgets(node: Node | None) -> dict[str, Node]:
    """The budgets that a section gives; null is none."""
    given = node.value if node is not None and isinstance(node.value, dict) else {}
    return {key: given[key] for key in BUDGETS if key in given and given[key].value is not None}


def check_budget(reading: Reading, node: Node | None) -> None:
    """One budget at one level: two would say different things."""
    first, *others = budgets(node).items() or [("", None)]
    for key, child in others:
        if child is not None:
            message = f"`{key}` beside `{first[0]}`: a training has one budget"
            reading.say("budget", message, child.name_at, f"remove `{key}` or `{first[0]}`")


def check_train(
    reading: Reading, train: TrainSettings, node: Node, sources: Collection[str]
) -> None:
    """Errors at what no training could follow; `node` is the section as it was written."""
    given = node.value if isinstance(node.value, dict) else {}
    check_budget(reading, node)
    _check_modules(reading, train, given)
    for key in ("ranks", "alphas"):
        children = given[key].value if key in given else None
        if isinstance(children, dict) and "" in children:
            message = f"`{key}` has an empty key: it would be that of every module"
            hint = f"write `{key.removesuffix('s')}` for all modules"
            reading.say("value", message, children[""].name_at, hint)
    if train.bucket_step % LATENT_SIDE:
        message = f"`bucket_step` is {train.bucket_step}: expected a multiple of {LATENT_SIDE}"
        near = max(1, round(train.bucket_step / LATENT_SIDE)) * LATENT_SIDE
        reading.say("value", message, given.get("bucket_step", node).where, f"write {near}")
    if train.regularization is not None:
        where = given.get("regularization", node).where
        reading.inside_repository(train.regularization, where)
        if train.regularization.rstrip("/") in sources:
            message = f"`{train.regularization[:LONGEST_SHOWN]}` is the dataset too"
            hint = "give a folder of other images of the same class"
            reading.say("value", f"`regularization`: {message}", where, hint)


def _check_modules(reading: Reading, train: TrainSettings, given: Mapping[str, Node]) -> None:
    items = given["modules"].value if "modules" in given else None
    for number, name in enumerate(train.modules if isinstance(items, list) else ()):
        where = items[number].where if isinstance(items, list) else given["modules"].where
        shown = f"`modules`: `{name[:LONGEST_SHOWN]}`"
        if name in train.modules[:number]:
            reading.say("value", f"{shown} stands twice", where, "remove one")
        elif name not in MODULE_GROUPS and not MODULE_ENDING.fullmatch(name):
            near = nearest(name, MODULE_GROUPS, only_near=True)
            hint = near or "such as `to_q` or `attn2.to_out.0`"
            message = f"{shown} is neither a group nor the ending of a module's path"
            reading.say("value", message, where, hint)
        elif name.replace("_", "-") in MODULE_GROUPS and name not in MODULE_GROUPS:
            hint = f"did you mean `{name.replace('_', '-')}`?"
            reading.say("value", f"{shown} is the name of no module", where, hint)


@dataclass(frozen=True, slots=True)
class _Idle:
    """A setting that has no effect while `holds`, by the settings that this depends on."""

    key: str
    governed_by: tuple[str, ...]
    holds: Callable[[TrainSettings], bool]
    why: str


IDLE = (
    _Idle("learning_rate", ("optimizer",), lambda t: t.optimizer == "prodigy", "with prodigy"),
    _Idle(
        "text_encoder_learning_rate",
        ("optimizer",),
        lambda t: t.optimizer == "prodigy",
        "with prodigy",
    ),
    _Idle(
        "text_encoder_learning_rate",
        ("text_encoder",),
        lambda t: not t.text_encoder,
        "without `text_encoder: true`",
    ),
    _Idle(
        "schedule",
        ("optimizer",),
        lambda t: t.optimizer == "schedule-free-adamw",
        "with schedule-free-adamw",
    ),
    _Idle(
        "restarts",
        ("optimizer", "schedule"),
        lambda t: t.schedule != "cosine-with-restarts",
        "without `schedule: cosine-with-restarts`",
    ),
    _Idle(
        "keep_tags",
        ("shuffle_captions",),
        lambda t: not t.shuffle_captions,
        "without `shuffle_captions: true`",
    ),
    _Idle(
        "prior_weight",
        ("regularization",),
        lambda t: t.regularization is None,
        "without `regularization`",
    ),
    _Idle("bucket_step", ("buckets",), lambda t: not t.buckets, "with `buckets: false`"),
    _Idle(
        "buckets",
        ("resolution", "bucket_step"),
        lambda t: t.buckets and not t.in_buckets,
        "below a `resolution` of twice the `bucket_step`: all pictures become squares",
    ),
    _Idle(
        "validate_every",
        ("validation_share",),
        lambda t: t.validation_share == 0,
        "without `validation_share`",
    ),
    _Idle(
        "sample_prompts",
        ("sample_every",),
        lambda t: t.sample_every is None,
        "without `sample_every`",
    ),
)


def note_idle(
    reading: Reading, train: TrainSettings, own: Mapping[str, Node], varied: Collection[str]
) -> None:
    """A note at each of a LoRA's own settings that does nothing beside the others.

    Where a matrix varies one of them (`varied`), it does something in another variant.
    """
    if train.backend != "native":
        return
    for idle in IDLE:
        free = {idle.key, *idle.governed_by}.isdisjoint(varied)
        if idle.key in own and free and idle.holds(train):
            message = f"`{idle.key}` has no effect {idle.why}"
            reading.note("no-effect", message, own[idle.key].name_at, f"remove `{idle.key}`")
