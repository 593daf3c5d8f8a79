"""Rules by which trainings are the same, or a part of each other: each is stated and tested alone.

The first kind puts a setting that has no effect beside the others at its default, so that it moves
no fingerprint. The second lets a longer training go on where a shorter one ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from msgspec import Meta

from lora_ci.core.settings import DEFAULT_IMAGES_SEEN, TrainSettings

Apply = Callable[[TrainSettings], TrainSettings]
BUDGETS = ("images_seen", "epochs", "steps")
DEFAULT = TrainSettings()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in words, and what it makes of settings; most know the native trainer alone."""

    words: str
    apply: Apply
    native: bool = True

    def applied(self, train: TrainSettings) -> TrainSettings:
        """The settings with what the rule puts aside at its default."""
        return self.apply(train) if train.backend == "native" or not self.native else train


def prodigy_finds_its_rate(train: TrainSettings) -> TrainSettings:
    """Prodigy estimates the step size itself and multiplies it with no learning rate of ours."""
    if train.optimizer != "prodigy":
        return train
    return _at_default(train, "learning_rate", "text_encoder_learning_rate")


def schedule_free_has_no_schedule(train: TrainSettings) -> TrainSettings:
    """Schedule-free AdamW averages weights in place of a schedule; warm-up stays."""
    if train.optimizer != "schedule-free-adamw":
        return train
    return _at_default(train, "schedule", "restarts")


def restarts_need_their_schedule(train: TrainSettings) -> TrainSettings:
    """Only `cosine-with-restarts` counts restarts."""
    return train if train.schedule == "cosine-with-restarts" else _at_default(train, "restarts")


def text_encoder_rate_needs_it_taught(train: TrainSettings) -> TrainSettings:
    """The rate of text encoders that are not taught."""
    return train if train.text_encoder else _at_default(train, "text_encoder_learning_rate")


def kept_tags_need_shuffling(train: TrainSettings) -> TrainSettings:
    """Where nothing is shuffled, all tags stay."""
    return train if train.shuffle_captions else _at_default(train, "keep_tags")


def prior_needs_regularization(train: TrainSettings) -> TrainSettings:
    """The weight of regularization images, where there are none."""
    return train if train.regularization is not None else _at_default(train, "prior_weight")


def squares_need_no_buckets(train: TrainSettings) -> TrainSettings:
    """Where all pictures become squares, by the switch or for want of resolution."""
    if train.in_buckets:
        return train
    return _with(train, bucket_step=DEFAULT.bucket_step, buckets=False)


def written_default_budget(train: TrainSettings) -> TrainSettings:
    """The budget that holds where none is given, written down."""
    written = replace(DEFAULT, images_seen=DEFAULT_IMAGES_SEEN)
    same = all(getattr(train, key) == getattr(written, key) for key in BUDGETS)
    return _at_default(train, "images_seen") if same else train


def native_needs_no_backend(train: TrainSettings) -> TrainSettings:
    """What is for other trainers, where lora-ci trains itself."""
    return _at_default(train, "backend_version", "backend_arguments")


def command_needs_its_backend(train: TrainSettings) -> TrainSettings:
    """The program of the backend `command`, where another one trains."""
    return train if train.backend == "command" else _at_default(train, "command")


def machine_settings(train: TrainSettings) -> TrainSettings:
    """What changes how a training runs, shows itself or is kept, and not what comes out."""
    return _at_default(train, *without_result())


RULES = (
    Rule("Prodigy finds its own learning rate", prodigy_finds_its_rate),
    Rule("schedule-free AdamW uses no schedule", schedule_free_has_no_schedule),
    Rule("only `cosine-with-restarts` has restarts", restarts_need_their_schedule),
    Rule(
        "text encoders that are not taught have no learning rate", text_encoder_rate_needs_it_taught
    ),
    Rule("all tags are kept where none is shuffled", kept_tags_need_shuffling),
    Rule("without regularization images they have no weight", prior_needs_regularization),
    Rule("where all pictures become squares there are no buckets", squares_need_no_buckets),
    Rule("the native trainer takes nothing from other backends", native_needs_no_backend),
    Rule(
        f"`images_seen: {DEFAULT_IMAGES_SEEN}` is the default", written_default_budget, native=False
    ),
    Rule("only the backend `command` runs a command", command_needs_its_backend, native=False),
    Rule(
        "some settings change how a training runs, not what comes out",
        machine_settings,
        native=False,
    ),
)
CONTINUES = "a longer budget continues the training of a shorter one"


def canonical(train: TrainSettings) -> TrainSettings:
    """The settings with all that has no effect at its default: equal ones train the same."""
    for rule in RULES:
        train = rule.applied(train)
    return train


def why_never_continued(train: TrainSettings) -> str | None:
    """Why a longer training with these settings cannot go on where a shorter one ended.

    None where it can: the steps of both are the same as far as the shorter one goes.
    """
    if train.shards > 1:
        return "a merge of shards is made of all of them"
    if train.backend != "native":
        return f"the backend `{train.backend}` starts every training anew"
    if train.optimizer == "schedule-free-adamw" or train.schedule == "constant":
        return None
    return f"the schedule `{train.schedule}` depends on the budget"


@cache
def without_result() -> tuple[str, ...]:
    """The settings that change no result, by their mark in `core/settings.py`."""
    hints = get_type_hints(TrainSettings, include_extras=True)
    return tuple(f.name for f in fields(TrainSettings) if _is_marked(hints[f.name]))


def _is_marked(hint: object) -> bool:
    metas = (found for found in get_args(hint)[1:] if isinstance(found, Meta))
    return any((meta.extra or {}).get("result") is False for meta in metas)


def _at_default(train: TrainSettings, *names: str) -> TrainSettings:
    return _with(train, **{name: getattr(DEFAULT, name) for name in names})


def _with(train: TrainSettings, **values: Any) -> TrainSettings:
    """The settings with the values; most have them, and a copy of so many fields takes long."""
    if all(getattr(train, name) == value for name, value in values.items()):
        return train
    return replace(train, **values)
