"""One function a stage: all that the stage's result depends on, and nothing else."""

from __future__ import annotations

from lora_ci.config.model import Lora
from lora_ci.core.fingerprint import Fingerprint, make_fingerprint
from lora_ci.core.settings import settings_json
from lora_ci.core.step import Stage
from lora_ci.core.versions import (
    CHECKS_VERSION,
    OPTIMIZER_VERSION,
    RULER_VERSION,
    TRAINER_VERSION,
)
from lora_ci.plan.facts import LoraFacts


def _settings(name: str, settings: object) -> dict[str, object]:
    """One part for each setting, so that `why` can name the one that changed."""
    return {f"{name}.{key}": [value] for key, value in settings_json(settings).items()}


def _id(facts: LoraFacts, name: str) -> str:
    found = getattr(facts, name)
    return found.content_id if found else "none"


def validate_fingerprint(lora: Lora, facts: LoraFacts) -> Fingerprint:
    """Of the dataset's checks. What is not pushed counts: once it is, the answer changes."""
    return make_fingerprint(
        Stage.VALIDATE,
        {
            "dataset": _id(facts, "dataset"),
            "dataset.missing": list(facts.dataset.missing) if facts.dataset else [],
            "references": _id(facts, "references"),
            "base_model": _id(facts, "base_model"),
            "trigger": lora.trigger,
            "code": CHECKS_VERSION,
            **_settings("validate", lora.validate),
        },
    )


def train_fingerprint(lora: Lora, facts: LoraFacts) -> Fingerprint:
    """Of the trained adapter."""
    return make_fingerprint(
        Stage.TRAIN,
        {
            "dataset": _id(facts, "dataset"),
            "base_model": _id(facts, "base_model"),
            "trigger": lora.trigger,
            "code": TRAINER_VERSION,
            **_settings("train", lora.train),
        },
    )


def qa_fingerprint(lora: Lora, facts: LoraFacts, adapter: str, released: str | None) -> Fingerprint:
    """Of the verdict on an adapter (sha256), compared with the released one (sha256)."""
    return make_fingerprint(
        Stage.QA,
        {
            "adapter": adapter,
            "released": released or "none",
            "dataset": _id(facts, "dataset"),
            "base_model": _id(facts, "base_model"),
            "references": _id(facts, "references"),
            "embedder": _id(facts, "embedder"),
            "trigger": lora.trigger,
            "type": str(lora.type),
            "code": RULER_VERSION,
            **_settings("qa", lora.qa),
        },
    )


def optimize_fingerprint(lora: Lora, facts: LoraFacts, adapter: str) -> Fingerprint:
    """Of the recommended weight."""
    return make_fingerprint(
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


def deploy_fingerprint(lora: Lora, adapter: str, version: str) -> Fingerprint:
    """Of a release: the same bytes under the same version to the same place are released once."""
    return make_fingerprint(
        Stage.DEPLOY,
        {
            "adapter": adapter,
            "lora": lora.name,
            "version": version,
            **_settings("deploy", lora.deploy),
        },
    )
