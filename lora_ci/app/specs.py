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
from lora_ci.core.plan import Decision
from lora_ci.core.settings import settings_json
from lora_ci.core.step import Resources, Stage, StepInput, StepSpec
from lora_ci.plan.facts import LoraFacts

INPUTS = {
    Stage.VALIDATE: ("dataset", "references", "base_model"),
    Stage.TRAIN: ("dataset", "base_model"),
}


def make_spec(decision: Decision, gathered: Gathered, deps: Deps) -> StepSpec:
    """The spec of a decision to run."""
    if decision.fingerprint is None:
        raise InfrastructureError(f"{decision.stage} of {decision.lora} has no fingerprint")
    lora, facts = gathered.config.loras[decision.lora], gathered.facts[decision.lora]
    inputs = {
        name: ensure_input(found, deps)
        for name in INPUTS[decision.stage]
        if (found := getattr(facts, name)) is not None
    }
    return StepSpec(
        stage=decision.stage,
        lora=decision.lora,
        fingerprint=decision.fingerprint.value,
        inputs=inputs,
        params=_params(decision, lora, facts),
        resources=Resources(gpus=0 if decision.stage in (Stage.VALIDATE, Stage.DEPLOY) else 1),
    )


def _params(decision: Decision, lora: Lora, facts: LoraFacts) -> dict[str, Any]:
    """The JSON that the stage's own `step.py` reads."""
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
        case _:
            message = f"{decision.stage} is not built into this version of lora-ci"
            raise InfrastructureError(message)


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
