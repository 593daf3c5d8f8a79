"""The door of the room: runs the `deploy` step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, Interrupted
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import DeploySettings, LoraType
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.deploy.build import build_release, describe_files
from lora_ci.deploy.channels import Pointer, Target, move_channel
from lora_ci.deploy.release import (
    CARD,
    MANIFEST,
    Quality,
    Release,
    Source,
    change_since,
    diffusers_name,
    kohya_name,
    parse_release,
)
from lora_ci.deploy.stores import FolderStore, ReleaseStore, check_name
from lora_ci.deploy.verify import Verified, verify_release
from lora_ci.deploy.version import check_version, next_version, parse_version
from lora_ci.signing.envelope import FILE_NAME as SIGNATURE
from lora_ci.signing.keys import NEXT, PrivateKey, load_key
from lora_ci.signing.signers import Signer, Signers

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
    """The step's parameters."""

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
    store: str | None
    signing_key: str | None


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Releases the adapter under the tag's version and points the channel at it."""
    task = msgspec.convert(spec.params, Task)
    store, channel = _store(task), check_name(task.settings.channel)
    key = _key(task)
    files = {
        diffusers_name(spec.lora): context.input_path("adapter"),
        kohya_name(spec.lora): context.input_path("adapter-kohya.safetensors"),
    }
    candidate = _candidate(check_name(spec.lora), task, files)
    try:
        _step(context, 0, "checking the version")
        _publish(store, candidate, files, context.workdir / "release", key)
        _step(context, 1, "reading back")
        verified = _read_back(store, candidate, context.workdir / "published", key)
        _step(context, 2, f"moving {channel}")
        target = Target(
            lora=spec.lora, channel=channel, version=candidate.number, release=verified.digest
        )
        pointer = move_channel(store, target, key, _today())
    except IntegrityError as error:
        # What lies in the store is no fault of the adapter's: put right, the same tag releases it.
        message = f"release store {task.settings.store}: {error}"
        hint = "look at it with `lora-ci verify`; what another key released needs a new version"
        raise InfrastructureError(message, hint=hint) from error
    return _result(task, verified, pointer, context)


def _store(task: Task) -> FolderStore:
    if task.store is None:
        raise InputError(
            "there is no release store: `deploy.store` is not set",
            hint="give `deploy: {store: <folder>}` in .lora-ci.yml, for the LoRA or in `defaults`",
        )
    return FolderStore(Path(task.store))


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


def _publish(
    store: ReleaseStore,
    candidate: Release,
    files: Mapping[str, Path],
    folder: Path,
    key: PrivateKey,
) -> None:
    """Puts the release there, unless one of its version is."""
    released = store.versions(candidate.lora)
    if candidate.number in released:
        return
    if released:
        newest = parse_release(store.manifest(candidate.lora, released[-1]))
        level, why = change_since(newest, candidate)
        check_version(candidate.lora, candidate.number, released[-1], level, why)
    build_release(candidate, files, folder, key)
    _verify(folder, key)
    store.publish(candidate.lora, candidate.number, folder)
    shutil.rmtree(folder)


def _read_back(store: ReleaseStore, candidate: Release, folder: Path, key: PrivateKey) -> Verified:
    """What the store has under this version, whoever put it there, if it is ours.

    Raises:
        InputError: the version was released with another adapter.
        IntegrityError: it is not as this key signed it.
    """
    lora, version = candidate.lora, candidate.number
    found = parse_release(store.manifest(lora, version))
    if found.adapter != candidate.adapter:
        newest = store.versions(lora)[-1]
        level, _ = change_since(parse_release(store.manifest(lora, newest)), candidate)
        raise InputError(
            f"version {version} of {lora} is released already, with another adapter",
            hint=f"next: git tag {lora}@v{next_version(newest, level)} && git push --tags",
        )
    store.fetch(lora, version, folder)
    return _verify(folder, key)


def _verify(folder: Path, key: PrivateKey) -> Verified:
    """Trusts the key that signs, and no other."""
    signer = Signer(name="this key", key=key.public_key())
    return verify_release(folder, Signers(signers=(signer,), origin="this step"), _today())


def _result(task: Task, verified: Verified, pointer: Pointer, context: StepContext) -> StepResult:
    folder = context.workdir / "published"
    artifacts = tuple(context.keep(name, folder / name, kind) for name, kind in KEPT.items())
    shutil.rmtree(folder)
    context.progress(3, 3, "released")
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={
            "files": float(len(verified.files)),
            "size_bytes": float(sum(f.size for f in verified.files)),
        },
        artifacts=artifacts,
        findings=_stays(verified.release, pointer),
        details={
            "version": verified.release.version,
            "store": task.settings.store,
            "channel": pointer.channel,
            "sequence": pointer.sequence,
            "key_id": verified.signer.id,
            "files": msgspec.to_builtins(verified.files),
        },
    )


def _stays(release: Release, pointer: Pointer) -> tuple[Finding, ...]:
    if pointer.version == release.version:
        return ()
    return (
        Finding(
            rule="deploy.channel-ahead",
            severity=Severity.INFO,
            message=f"channel {pointer.channel} stays at {pointer.version}: it never goes back",
        ),
    )


def _today() -> date:
    return SystemClock().now().date()


def _step(context: StepContext, done: int, note: str) -> None:
    context.progress(done, 3, note)
    if context.stop_requested():
        raise Interrupted(f"stopped before {note}; the same command goes on there")
