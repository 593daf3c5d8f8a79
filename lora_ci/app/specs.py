"""A decision → the step's spec, its inputs laid out on this machine."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from lora_ci.app.gather import Gathered
from lora_ci.app.wiring import Deps
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Lora
from lora_ci.core.errors import InfrastructureError, IntegrityError
from lora_ci.core.plan import Decision, Plan, Record
from lora_ci.core.settings import settings_json
from lora_ci.core.step import Resources, Stage, StepInput, StepSpec
from lora_ci.plan.decide import ADAPTER, released_adapter
from lora_ci.plan.facts import LoraFacts
from lora_ci.signing.keys import ensure_key

KOHYA_ADAPTER = "adapter-kohya.safetensors"
INPUTS = {
    Stage.VALIDATE: ("dataset", "references", "base_model"),
    Stage.TRAIN: ("dataset", "base_model"),
    Stage.QA: ("dataset", "base_model", "references", "embedder"),
    Stage.OPTIMIZE: ("base_model", "references", "embedder"),
    Stage.DEPLOY: (),
}


def make_spec(decision: Decision, plan: Plan, gathered: Gathered, deps: Deps) -> StepSpec:
    """The spec of a decision to run; the plan has the records of the stages before it."""
    records = {d.stage: d.record for d in plan.of(decision.lora) if d.record}
    if decision.fingerprint is None:
        raise InfrastructureError(f"{decision.stage} of {decision.lora} has no fingerprint")
    lora, facts = gathered.config.loras[decision.lora], gathered.facts[decision.lora]
    inputs = {
        name: ensure_input(found, deps)
        for name in INPUTS[decision.stage]
        if (found := getattr(facts, name)) is not None
    }
    if decision.stage in (Stage.QA, Stage.OPTIMIZE, Stage.DEPLOY):
        inputs |= _adapter_inputs(decision, records, deps)
    if decision.stage is Stage.DEPLOY:
        inputs["key"] = StepInput(content_id="key", path=str(ensure_key(deps.signing_key)))
    return StepSpec(
        stage=decision.stage,
        lora=decision.lora,
        fingerprint=decision.fingerprint.value,
        inputs=inputs,
        params=_params(decision, lora, facts, records),
        resources=Resources(gpus=0 if decision.stage in (Stage.VALIDATE, Stage.DEPLOY) else 1),
    )


def _adapter_inputs(
    decision: Decision, records: dict[Stage, Record], deps: Deps
) -> dict[str, StepInput]:
    """The trained adapter in both formats and, for QA, the released one to compare with."""
    result = records[Stage.TRAIN].result
    digests = {
        name: artifact.sha256
        for name, file in (("adapter", ADAPTER), ("adapter_kohya", KOHYA_ADAPTER))
        if (artifact := result.artifact(file))
    }
    if decision.stage is Stage.QA:
        released = released_adapter(deps.ledger, decision.lora, digests["adapter"])
        if released:
            digests["released"] = released
    return {name: StepInput(content_id=sha, sha256=sha) for name, sha in digests.items()}


def _params(
    decision: Decision, lora: Lora, facts: LoraFacts, records: dict[Stage, Record]
) -> dict[str, Any]:
    """The JSON that the stage's own `step.py` reads."""
    qa = settings_json(lora.qa)
    match decision.stage:
        case Stage.VALIDATE:
            return {
                "settings": settings_json(lora.validate),
                "trigger": lora.trigger,
                "dataset": lora.dataset,
                "missing": list(facts.dataset.missing) if facts.dataset else [],
            }
        case Stage.TRAIN:
            return {"settings": settings_json(lora.train), "trigger": lora.trigger}
        case Stage.QA:
            return {"settings": qa, "trigger": lora.trigger, "type": str(lora.type)}
        case Stage.OPTIMIZE:
            settings = settings_json(lora.optimize)
            trigger = lora.trigger
            return {"settings": settings, "qa": qa, "trigger": trigger, "type": str(lora.type)}
        case Stage.DEPLOY:
            return {
                "settings": settings_json(lora.deploy),
                "lora": lora.name,
                "trigger": lora.trigger,
                "base_model": facts.base_model.content_id if facts.base_model else "",
                "fingerprints": {str(s): r.fingerprint for s, r in records.items()},
                "qa": dict(records[Stage.QA].result.metrics),
                "recommended_weight": _recommended(records),
                "version": _version(decision),
            }


def _version(decision: Decision) -> str:
    parts = decision.fingerprint.parts if decision.fingerprint else {}
    return parts["version"]


def _recommended(records: dict[Stage, Record]) -> float | None:
    record = records.get(Stage.OPTIMIZE)
    return record.result.metrics.get("recommended_weight") if record else None


def ensure_input(facts: InputFacts, deps: Deps) -> StepInput:
    """Lays the files of an input out under `.lora-ci/inputs/`, once for each content.

    Raises:
        IntegrityError: an object of the DVC cache is not what its md5 says.
    """
    key = hashlib.sha256(
        "\0".join([facts.path, facts.tracked_by, facts.content_id, *facts.missing]).encode()
    ).hexdigest()[:32]
    place = deps.state / "inputs" / key
    if not place.exists():
        building = place.with_name(f".{key}.{deps.clock.monotonic()}")
        building.mkdir(parents=True)
        for entry in facts.entries or ():
            if entry.path not in facts.missing:
                _lay_out(entry.content_id, building / entry.path, facts, deps)
        try:
            building.rename(place)
        except OSError:
            shutil.rmtree(building)  # another process was first
    return StepInput(content_id=facts.content_id, path=str(place))


def _lay_out(content_id: str, path: Path, facts: InputFacts, deps: Deps) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if facts.tracked_by == "git":
        path.write_bytes(deps.repo.run("cat-file", "blob", content_id))
        return
    source = deps.objects.find(content_id)
    if source is None:
        message = f"{facts.path}/{path.name}: object {content_id} vanished from the DVC cache"
        raise InfrastructureError(message, hint="next: dvc pull")
    data = source.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != content_id:
        hint = f"next: rm {source} && dvc pull"
        raise IntegrityError(f"{facts.path}/{path.name}: the DVC object was changed", hint=hint)
    path.write_bytes(data)
