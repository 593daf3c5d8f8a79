"""A decision → the step's spec, its inputs laid out on this machine."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_ci.app.gather import HUB
from lora_ci.app.hub import HUB_KINDS, ensure_hub_model
from lora_ci.app.source import Gathered
from lora_ci.app.wiring import Deps
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Lora
from lora_ci.core.digest import sha256_json
from lora_ci.core.errors import InfrastructureError, IntegrityError
from lora_ci.core.plan import Decision, Plan
from lora_ci.core.settings import settings_json
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Resources, Stage, StepInput, StepResult, StepSpec
from lora_ci.plan.decide import ADAPTER
from lora_ci.plan.epoch import counted_repeats
from lora_ci.plan.estimate import GPU_STAGES
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import prefix_of
from lora_ci.plan.memory import memory_gib, seen_in, shape_of
from lora_ci.plan.records import Records
from lora_ci.plan.shards import lora_of, shards_of
from lora_ci.store.cache import mark_used
from lora_ci.store.store import ArtifactStore

# What lies in the repository at the commit; adapters come from the records.
INPUTS = {
    Stage.VALIDATE: ("dataset", "references", "base_model", "scanner", "rules"),
    Stage.TRAIN: ("dataset", "base_model", "regularization"),
    Stage.QA: ("dataset", "base_model", "references", "embedder", "companion"),
    Stage.OPTIMIZE: ("base_model", "references", "embedder"),
    Stage.DEPLOY: (),
}


def make_spec(decision: Decision, plan: Plan, gathered: Gathered, deps: Deps) -> StepSpec:
    """The spec of a decision to run."""
    if decision.fingerprint is None:
        raise InfrastructureError(f"{decision.stage} of {decision.lora} has no fingerprint")
    lora = lora_of(gathered.config, decision.lora)
    facts = gathered.facts[owner_of(decision.lora)]
    # A merge of shards looks at nothing but their adapters.
    inputs = {
        name: ensure_input(name, found, facts.sources if name == "dataset" else (found,), deps)
        for name in (() if _merges(decision, lora) else INPUTS[decision.stage])
        if (found := getattr(facts, name)) is not None
    }
    return StepSpec(
        stage=decision.stage,
        lora=decision.lora,
        fingerprint=decision.fingerprint.value,
        inputs=inputs | _brought(_adapters(decision, lora, plan), deps.store),
        params=_params(decision, lora, facts, plan, deps),
        resources=_resources(decision, lora, decision.fingerprint.parts, deps),
    )


def _merges(decision: Decision, lora: Lora) -> bool:
    """True for a training that was done in shards and is to be put together."""
    return decision.stage is Stage.TRAIN and lora.train.shards > 1


def _resources(decision: Decision, lora: Lora, parts: Mapping[str, str], deps: Deps) -> Resources:
    """What the config asks for; a GPU only where one helps."""
    wanted, stage = lora.resources, decision.stage
    timeout_s = wanted.timeout_hours * 3600
    if stage not in GPU_STAGES or _merges(decision, lora):
        return Resources(timeout_s=timeout_s)
    vram_gib = wanted.vram_gib
    if stage is Stage.TRAIN and not vram_gib and wanted.gpus == wanted.nodes == 1:
        vram_gib = _foretold_gib(lora, parts, deps)
    # Only a training is spread: pictures are drawn on one machine.
    nodes = wanted.nodes if stage is Stage.TRAIN else 1
    return Resources(gpus=wanted.gpus, nodes=nodes, vram_gib=vram_gib, timeout_s=timeout_s)


def _foretold_gib(lora: Lora, parts: Mapping[str, str], deps: Deps) -> float:
    """What past trainings tell of one's memory; 0, for a GPU of its own, where they tell nothing.

    So too where a machine that was seen has no GPU with so much: there it goes on in smaller parts.
    """
    machines = [runner.machine for runner in deps.ledger.runners.all()]
    largest = [max(gpu.total_gib for gpu in machine.gpus) for machine in machines if machine.gpus]
    if not largest:
        return 0.0
    # Not by `deps.records`, which would read the newest of all LoRAs first, for each training.
    layers: tuple[Records, ...] = (deps.ledger, *deps.shared)
    past = {
        record.fingerprint: record
        for layer in layers
        for whose in (None, lora.name)
        for record in layer.passed(whose, Stage.TRAIN)
    }
    gib = memory_gib(shape_of(lora, parts), seen_in(past.values()))
    return gib if gib and gib <= min(largest) else 0.0


def _adapters(decision: Decision, lora: Lora, plan: Plan) -> dict[str, StepInput]:
    """The adapter files that a stage works on, by the names of the artifacts they are.

    Those of shards are `shard-1`, `shard-2`, ….
    """
    if _merges(decision, lora):
        made = [_result(plan, part.name, Stage.TRAIN).artifact(ADAPTER) for part in shards_of(lora)]
        return {
            f"shard-{number}": StepInput(content_id=file.sha256, sha256=file.sha256)
            for number, file in enumerate(made, 1)
            if file
        }
    if decision.stage in (Stage.VALIDATE, Stage.TRAIN) or decision.fingerprint is None:
        return {}
    parts = decision.fingerprint.parts
    names = {"adapter": parts["adapter"], "released": parts.get("released", "none")}
    if decision.stage is Stage.DEPLOY:
        trained = _result(plan, decision.lora, Stage.TRAIN)
        # Pictures made while training are no part of a release.
        files = [a for a in trained.artifacts if a.name.endswith(".safetensors")]
        names |= {a.name: a.sha256 for a in files if a.name != ADAPTER}
    return {
        name: StepInput(content_id=sha256, sha256=sha256)
        for name, sha256 in names.items()
        if sha256 != "none"
    }


def _brought(inputs: dict[str, StepInput], store: ArtifactStore) -> dict[str, StepInput]:
    """The inputs, once their artifacts are on this machine."""
    try:
        for given in inputs.values():
            store.get(given.content_id)
    except IntegrityError as error:
        raise InfrastructureError(str(error), findings=error.findings) from error
    return inputs


def _result(plan: Plan, lora: str, stage: Stage) -> StepResult:
    """The recorded result of an earlier stage of the plan."""
    record = next((d.record for d in plan.of(lora) if d.stage is stage), None)
    if record is None:
        raise InfrastructureError(f"{stage} of {lora} has no record")
    return record.result


def _params(
    decision: Decision, lora: Lora, facts: LoraFacts, plan: Plan, deps: Deps
) -> dict[str, Any]:
    """The JSON that the stage's own `step.py` reads."""
    match decision.stage:
        case Stage.VALIDATE:
            return {
                "settings": settings_json(lora.validate),
                "trigger": lora.trigger,
                "type": str(lora.type),
                "dataset": facts.dataset.path if facts.dataset else "",
                "missing": list(facts.dataset.missing) if facts.dataset else [],
            }
        case Stage.TRAIN:
            part = lora.shard
            return {
                "settings": settings_json(lora.train),
                "trigger": lora.trigger,
                "repeats": _repeats(lora, facts),
                "prefix": prefix_of(lora, facts),
                "part": {"number": part.number, "count": part.count} if part else None,
            }
        case Stage.QA:
            return {
                "settings": settings_json(lora.qa),
                "trigger": lora.trigger,
                "type": str(lora.type),
                "released_version": released_version(decision, deps.records),
            }
        case Stage.OPTIMIZE:
            return {
                "settings": settings_json(lora.optimize),
                "qa": settings_json(lora.qa),
                "trigger": lora.trigger,
                "type": str(lora.type),
            }
        case Stage.DEPLOY:
            return _deploy_params(decision, lora, facts, plan, deps)


def _repeats(lora: Lora, facts: LoraFacts) -> dict[str, int]:
    """How often the images below a source count, where that is not once; "" for a single one."""
    pairs = zip(facts.sources, counted_repeats(lora.train, facts), strict=True)
    alone = len(facts.sources) == 1
    return {"" if alone else source.path: repeats for source, repeats in pairs if repeats != 1}


def released_version(decision: Decision, records: Records) -> str | None:
    """The version under which the adapter that a candidate is compared with was released."""
    released = decision.fingerprint.parts["released"] if decision.fingerprint else "none"
    return next(
        (
            record.parts["version"]
            for record in records.passed(decision.lora, Stage.DEPLOY)
            if record.parts.get("adapter") == released
        ),
        None,
    )


def _deploy_params(
    decision: Decision, lora: Lora, facts: LoraFacts, plan: Plan, deps: Deps
) -> dict[str, Any]:
    """All that the release manifest says of where an adapter comes from."""
    qa = _result(plan, lora.name, Stage.QA)
    optimized = _result(plan, lora.name, Stage.OPTIMIZE)
    parts = decision.fingerprint.parts if decision.fingerprint else {}
    # A channel's own tag moves that channel, and not those of the config.
    settings = replace(lora.deploy, channels=tuple(parts["channels"].split(", ")))
    return {
        "settings": settings_json(settings),
        "version": parts["version"],
        "trigger": lora.trigger,
        "type": str(lora.type),
        "commit": plan.head,
        "base_model": {
            "path": facts.base_model.path if facts.base_model else None,
            "content_id": _content_id(facts.base_model),
        },
        "dataset": {
            "path": ", ".join(source.path for source in facts.sources),
            "content_id": _content_id(facts.dataset),
        },
        "fingerprints": {
            str(d.stage): d.fingerprint.value for d in plan.of(lora.name) if d.fingerprint
        },
        "qa": {"metrics": dict(qa.metrics), "ruler": qa.details.get("ruler")},
        "recommended_weight": optimized.metrics.get("recommended_weight"),
        "targets": [str(deps.source.root / target) for target in lora.deploy.targets],
        "signing_key": str(deps.signing_key) if deps.signing_key else None,
    }


def _content_id(facts: InputFacts | None) -> str | None:
    return facts.content_id if facts else None


def ensure_input(
    name: str, whole: InputFacts, sources: tuple[InputFacts, ...], deps: Deps
) -> StepInput:
    """Lays the files of an input out under `.lora-ci/inputs/`, once for each content.

    Those of several sources lie below the paths of their sources.

    Raises:
        LoraCIError: the source could not lay them out, or the hub not give the model.
    """
    if whole.tracked_by == HUB:
        hub, _, revision = whole.content_id.removeprefix("hf:").rpartition("@")
        path = str(ensure_hub_model(hub, revision, HUB_KINDS[name]))
        return StepInput(content_id=whole.content_id, path=path, shown_as=hub)
    names = [entry.path for entry in whole.entries or ()]
    key = sha256_json([whole.content_id, names, whole.missing])[:32]
    place = deps.state / "inputs" / key
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with (place.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                _build(place, sources, deps)
    # A clean-up takes away what was not used for long.
    mark_used(place)
    return StepInput(content_id=whole.content_id, path=str(place), shown_as=whole.path)


def _build(place: Path, sources: tuple[InputFacts, ...], deps: Deps) -> None:
    """Makes the folder in one move; what a killed process left of it is thrown away."""
    building = place.with_name(f".{place.name}")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir()
        for source in sources:
            deps.source.lay_out(source, building / source.path if len(sources) > 1 else building)
        building.rename(place)
    finally:
        shutil.rmtree(building, ignore_errors=True)
