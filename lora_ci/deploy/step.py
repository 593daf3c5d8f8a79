"""The door of the room: runs the `deploy` step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError, InputError, Interrupted
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import DeploySettings, LoraType
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.deploy.build import describe_files
from lora_ci.deploy.release import (
    CARD,
    MANIFEST,
    Quality,
    Release,
    Source,
    diffusers_name,
    kohya_name,
)
from lora_ci.deploy.stores import FolderStore, check_name
from lora_ci.deploy.targets import Order, Place, Released, release_everywhere
from lora_ci.deploy.version import parse_version
from lora_ci.signing.envelope import FILE_NAME as SIGNATURE
from lora_ci.signing.keys import NEXT, PrivateKey, load_key

KEPT = {
    MANIFEST: "application/json",
    SIGNATURE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    CARD: "text/markdown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What QA found; a figure that is no number is None."""

    metrics: Mapping[str, float | None]
    ruler: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The step's parameters; `targets` are the resolved ones of the settings, in their order."""

    settings: DeploySettings
    version: str
    trigger: str
    type: LoraType
    commit: str
    base_model: Source
    dataset: Source
    fingerprints: Mapping[str, str]
    qa: Judged
    recommended_weight: float | None
    targets: tuple[str, ...]
    signing_key: str | None


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Releases the adapter under the tag's version to every target, and moves the channels."""
    task = msgspec.convert(spec.params, Task)
    places = _places(task)
    channels = tuple(check_name(channel) for channel in task.settings.channels)
    key = _key(task)
    files = {
        diffusers_name(spec.lora): context.input_path("adapter"),
        kohya_name(spec.lora): context.input_path("adapter-kohya.safetensors"),
    }
    order = Order(
        candidate=_candidate(check_name(spec.lora), task, files),
        files=files,
        channels=channels,
        key=key,
        today=SystemClock().now().date(),
    )
    notes = count()

    def tell(note: str) -> None:
        context.progress(next(notes), len(places) + 1, note)
        if context.stop_requested():
            raise Interrupted(f"stopped before {note}; the same command goes on there")

    released = release_everywhere(order, places, context.workdir, tell)
    context.progress(len(places) + 1, len(places) + 1, "released")
    return _result(released, context)


def _places(task: Task) -> tuple[Place, ...]:
    if not task.targets:
        raise InputError(
            "there is no release store: `deploy.targets` is not set",
            hint="give `deploy: {targets: [<folder>]}` in .lora-ci.yml, "
            "for the LoRA or in `defaults`",
        )
    named = zip(task.settings.targets, task.targets, strict=True)
    return tuple(Place(name=name, store=FolderStore(Path(path))) for name, path in named)


def _key(task: Task) -> PrivateKey:
    if task.signing_key is None:
        raise InfrastructureError("there is no signing key on this machine", hint=NEXT)
    return load_key(Path(task.signing_key))


def _candidate(lora: str, task: Task, files: Mapping[str, Path]) -> Release:
    """The manifest as far as it is known before the card is written."""
    return Release(
        lora=lora,
        version=str(parse_version(task.version)),
        base_model=task.base_model,
        trigger=task.trigger,
        type=task.type,
        recommended_weight=task.recommended_weight,
        dataset=task.dataset,
        fingerprints=task.fingerprints,
        qa=Quality(
            metrics={n: v for n, v in task.qa.metrics.items() if v is not None},
            ruler=task.qa.ruler,
        ),
        license=task.settings.license,
        commit=task.commit,
        files=describe_files(files),
    )


def _result(released: tuple[Released, ...], context: StepContext) -> StepResult:
    folder = context.workdir / "release"
    artifacts = tuple(context.keep(name, folder / name, kind) for name, kind in KEPT.items())
    shutil.rmtree(folder)
    verified = released[0].verified
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={
            "files": float(len(verified.files)),
            "size_bytes": float(sum(f.size for f in verified.files)),
        },
        artifacts=artifacts,
        findings=tuple(f for place in released for f in _stays(place)),
        details={
            "version": verified.release.version,
            "targets": [_told(place) for place in released],
            "key_id": verified.signer.id,
            "files": msgspec.to_builtins(verified.files),
        },
    )


def _told(place: Released) -> dict[str, Any]:
    """A target with its channels, as JSON."""
    channels = [
        {"name": p.channel, "version": p.version, "sequence": p.sequence} for p in place.pointers
    ]
    return {"name": place.target, "channels": channels}


def _stays(place: Released) -> list[Finding]:
    """The channels that name a higher version already."""
    return [
        Finding(
            rule="deploy.channel-ahead",
            severity=Severity.INFO,
            message=f"channel {pointer.channel} in {place.target} stays at {pointer.version}: "
            "it never goes back",
        )
        for pointer in place.pointers
        if pointer.version != place.verified.release.version
    ]
