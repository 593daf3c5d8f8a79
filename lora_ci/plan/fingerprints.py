"""One function a stage: all that the stage's result depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from lora_ci.config.model import Lora
from lora_ci.core.fingerprint import Fingerprint, make_fingerprint
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Stage
from lora_ci.core.versions import (
    CHECKS_VERSION,
    OPTIMIZER_VERSION,
    RECIPES,
    RULER_VERSION,
    TRAINER_VERSION,
)
from lora_ci.plan.epoch import counted_repeats
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.training_rules import canonical, why_never_continued


def validate_fingerprint(lora: Lora, facts: LoraFacts) -> Fingerprint:
    """Of the dataset's checks. What is not pushed counts: once it is, the answer changes."""
    scanned_with = {n: _id(facts, n) for n in ("scanner", "rules") if getattr(facts, n)}
    kind = {"type": str(lora.type)} if lora.validate.consent == "required" else {}
    return _make(
        Stage.VALIDATE,
        {
            "dataset": _id(facts, "dataset"),
            "dataset.missing": list(facts.dataset.missing) if facts.dataset else [],
            "references": _id(facts, "references"),
            "base_model": _id(facts, "base_model"),
            "trigger": lora.trigger,
            "code": CHECKS_VERSION,
            **scanned_with,
            **kind,
            **_settings("validate", lora.validate),
        },
    )


def train_fingerprint(lora: Lora, facts: LoraFacts) -> Fingerprint:
    """Of the trained adapter."""
    return _make(Stage.TRAIN, train_parts(lora, facts, canonical(lora.train)))


def train_parts(lora: Lora, facts: LoraFacts, train: TrainSettings) -> dict[str, object]:
    """What a training with the settings `train` depends on."""
    part = {"shard": f"{lora.shard.number} of {lora.shard.count}"} if lora.shard else {}
    counted = counted_repeats(lora.train, facts)
    repeats = {"repeats": list(counted)} if set(counted) - {1} else {}
    found = facts.regularization
    regularization = {"regularization": found.content_id} if found else {}
    return {
        "dataset": _id(facts, "dataset"),
        "base_model": _id(facts, "base_model"),
        "trigger": lora.trigger,
        "code": TRAINER_VERSION,
        **part,
        **repeats,
        **regularization,
        # Where the folder of regularization images lies is no part of what comes out.
        **_settings("train", replace(train, regularization=None)),
    }


def prefix_of(lora: Lora, facts: LoraFacts) -> str | None:
    """The same for trainings that differ in their budgets alone, where a longer one can go on.

    None where it cannot: `training_rules.why_never_continued` says why.
    """
    train = canonical(lora.train)
    if why_never_continued(train):
        return None
    unbounded = replace(train, images_seen=None, epochs=None, steps=None)
    return _make(Stage.TRAIN, train_parts(lora, facts, unbounded)).value


def qa_fingerprint(lora: Lora, facts: LoraFacts, adapter: str, released: str | None) -> Fingerprint:
    """Of the verdict on an adapter (sha256), compared with the released one (sha256)."""
    return _make(
        Stage.QA,
        {
            "adapter": adapter,
            "released": released or "none",
            "dataset": _id(facts, "dataset"),
            "base_model": _id(facts, "base_model"),
            "references": _id(facts, "references"),
            "embedder": _id(facts, "embedder"),
            "companion": _id(facts, "companion"),
            "trigger": lora.trigger,
            "type": str(lora.type),
            "code": RULER_VERSION,
            **_settings("qa", lora.qa),
        },
    )


def optimize_fingerprint(lora: Lora, facts: LoraFacts, adapter: str) -> Fingerprint:
    """Of the recommended weight."""
    return _make(
        Stage.OPTIMIZE,
        {
            "adapter": adapter,
            "base_model": _id(facts, "base_model"),
            "references": _id(facts, "references"),
            "embedder": _id(facts, "embedder"),
            "trigger": lora.trigger,
            "type": str(lora.type),
            "code": OPTIMIZER_VERSION + RULER_VERSION,
            **_settings("qa", lora.qa),
            **_settings("optimize", lora.optimize),
        },
    )


def deploy_fingerprint(
    lora: Lora, adapter: str, version: str, channels: tuple[str, ...]
) -> Fingerprint:
    """Of a release: the same bytes under the same version to the same places are released once."""
    return _make(
        Stage.DEPLOY,
        {
            "adapter": adapter,
            "lora": lora.name,
            "version": version,
            "channels": ", ".join(channels),
            "targets": ", ".join(lora.deploy.targets),
            "license": lora.deploy.license or "none",
        },
    )


def _make(stage: Stage, parts: dict[str, object]) -> Fingerprint:
    return make_fingerprint(stage, {"recipe": str(RECIPES[stage]), **parts})


def _settings(name: str, settings: object) -> dict[str, object]:
    """One part for each setting, so that `why` can name the one that changed.

    Those at their default stay out: a setting that a later lora-ci adds costs nobody a training.
    """
    kind: Callable[[], object] = type(settings)
    default = _defaults(kind)
    given = settings_json(settings)
    return {f"{name}.{k}": [value] for k, value in given.items() if value != default[k]}


def _id(facts: LoraFacts, name: str) -> str:
    found = getattr(facts, name)
    return found.content_id if found else "none"


@cache
def _defaults(kind: Callable[[], object]) -> dict[str, object]:
    """The settings that nobody gave, in their JSON form."""
    return settings_json(kind())
