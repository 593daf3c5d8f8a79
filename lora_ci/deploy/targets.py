"""One signed release → every target: published, read back, and every channel moved there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, machine_error
from lora_ci.core.finding import Finding, Severity
from lora_ci.deploy.build import build_release
from lora_ci.deploy.channels import Pointer, Target, move_channel
from lora_ci.deploy.release import Release, change_since, parse_release
from lora_ci.deploy.stores import ReleaseStore, Store
from lora_ci.deploy.verify import Verified, verify_release
from lora_ci.deploy.version import check_version, next_version
from lora_ci.deploy.yank import refuse_yanked
from lora_ci.signing.keys import PrivateKey
from lora_ci.signing.signers import Signer, Signers

DAMAGED = "look at it with `lora-ci verify`; what another key released needs a new version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target: what the config calls it, and the store there."""

    name: str
    store: Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be released: the manifest as far as it is known before the card, and the files."""

    candidate: Release
    files: Mapping[str, Path]
    channels: tuple[str, ...]
    key: PrivateKey
    today: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a target has now."""

    target: str
    verified: Verified
    pointers: tuple[Pointer, ...]


def release_everywhere(
    order: Order, places: tuple[Place, ...], workdir: Path, tell: Callable[[str], None]
) -> tuple[Released, ...]:
    """Releases to each place; where one has the release, the others get those very bytes.

    `workdir/release` holds them then. `tell` is called before each piece of work.

    Raises:
        InputError: the version cannot be this adapter's in some place; nothing was published.
        InfrastructureError: names the places that failed; the others are released.
    """
    failed: dict[str, InfrastructureError] = {}
    tell("checking the version")
    holders = []
    for place in places:
        with _noted(place, failed):
            if _has_release(place.store, order.candidate):
                holders.append(place)
    folder = workdir / "release"
    if holders:
        usable = _fetch_first(holders, order, folder, failed)
    else:
        build_release(order.candidate, order.files, folder, order.key)
        _verify(folder, order)
        usable = True
    released = []
    for place in places if usable else ():
        if place.name not in failed:
            tell(f"releasing to {place.name}")
            with _noted(place, failed):
                released.append(_release(place, order, folder, workdir / "published"))
    if failed:
        raise _told(failed, [r.target for r in released])
    return tuple(released)


def _has_release(store: ReleaseStore, candidate: Release) -> bool:
    """True if the version is there, with this adapter.

    Raises:
        InputError: another adapter has the version, it was yanked, or is too low for what changed.
    """
    lora, released = candidate.lora, store.versions(candidate.lora)
    if not released:
        return False
    newest = parse_release(store.manifest(lora, released[-1]))
    level, why = change_since(newest, candidate)
    if candidate.number not in released:
        check_version(lora, candidate.number, released[-1], level, why)
        return False
    hint = f"next: git tag {lora}@v{next_version(released[-1], level)} && git push --tags"
    refuse_yanked(store, lora, candidate.number, hint)
    if parse_release(store.manifest(lora, candidate.number)).adapter != candidate.adapter:
        message = f"version {candidate.number} of {lora} is released already, with another adapter"
        raise InputError(message, hint=hint)
    return True


def _fetch_first(
    holders: list[Place], order: Order, folder: Path, failed: dict[str, InfrastructureError]
) -> bool:
    """Takes the release from the first place that has it as it was signed; False if none has.

    It is not made anew then: two texts of one release would be signed.
    """
    for place in holders:
        with _noted(place, failed):
            _fetch(place.store, order, folder)
            return True
    return False


def _release(place: Place, order: Order, folder: Path, published: Path) -> Released:
    """Publishes, reads back what is there now, and points the channels at it."""
    candidate = order.candidate
    place.store.publish(candidate.lora, candidate.number, folder)
    if not _has_release(place.store, candidate):
        raise InfrastructureError(f"version {candidate.number} of {candidate.lora} did not stay")
    verified = _fetch(place.store, order, published)
    shutil.rmtree(published)
    pointers = []
    for channel in order.channels:
        target = Target(
            lora=candidate.lora,
            channel=channel,
            version=candidate.number,
            release=verified.digest,
        )
        pointers.append(move_channel(place.store, target, order.key, order.today))
    return Released(target=place.name, verified=verified, pointers=tuple(pointers))


def _fetch(store: ReleaseStore, order: Order, folder: Path) -> Verified:
    """What the store has, whoever put it there, if it is as this key signed it."""
    store.fetch(order.candidate.lora, order.candidate.number, folder)
    return _verify(folder, order)


def _verify(folder: Path, order: Order) -> Verified:
    """Trusts the key that signs, and no other."""
    signer = Signer(name="this key", key=order.key.public_key())
    signers = Signers(signers=(signer,), origin="this step")
    return verify_release(folder, signers, order.today)


@contextmanager
def _noted(place: Place, failed: dict[str, InfrastructureError]) -> Iterator[None]:
    """Notes what fails for this place alone, so that the others get the release."""
    try:
        yield
    except IntegrityError as error:
        # No fault of the adapter's: once the store is put right, the same tag releases it.
        failed[place.name] = InfrastructureError(str(error), hint=DAMAGED)
    except InfrastructureError as error:
        failed[place.name] = error
    except OSError as error:
        # A disk that went away says so with many numbers; all mean that this place has failed.
        expected = machine_error(error, place.store.address)
        failed[place.name] = expected or InfrastructureError(str(error))


def _told(failed: Mapping[str, InfrastructureError], released: list[str]) -> InfrastructureError:
    """A finding for each place that failed."""
    done = f" (released to {', '.join(released)})" if released else ""
    findings = tuple(
        Finding(
            rule=finding.rule,
            severity=Severity.ERROR,
            message=f"deploy target {name}: {finding.message}{done}",
            hint=finding.hint or "the same tag again goes on with what is missing",
        )
        for name, error in failed.items()
        for finding in error.findings
    )
    return InfrastructureError(findings[0].message, findings=findings)
