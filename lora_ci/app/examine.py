"""Looks for what is wrong with a ledger and its store, and says what to do about each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lora_ci.core.clock import Clock
from lora_ci.core.digest import sha256_file
from lora_ci.core.finding import Finding, Severity
from lora_ci.execution.executor import INLINE, LOCAL
from lora_ci.execution.lead import PATIENCE_S, host_of, is_gone, this_process
from lora_ci.execution.processes import process_of
from lora_ci.ledger.checking import Checks, Made, OpenStep
from lora_ci.ledger.retention import Pin, Retention
from lora_ci.report.figures import counted, size
from lora_ci.store.inventory import stored

# A step that is this young may not have met its run's owner yet.
YOUNG = timedelta(minutes=1)
POLL_S = 1.0

# What is being done, how much of it, of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found. `unreferenced` objects are named by no row: `ledger gc` removes them."""

    findings: tuple[Finding, ...]
    pins: tuple[Pin, ...]
    objects: int
    object_bytes: int
    unreferenced: int
    unreferenced_bytes: int
    repaired: int

    @property
    def is_sound(self) -> bool:
        """True where nothing has to be done."""
        return all(finding.severity is Severity.INFO for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """A ledger and the folder of its artifacts."""

    checks: Checks
    retention: Retention
    objects: Path
    clock: Clock

    def examine(
        self, *, deep: bool, repair: bool, progress: Progress, gone: Collection[str] = ()
    ) -> Examined:
        """All findings; `deep` reads every artifact, `repair` does what is safe to do.

        `gone` are executors that are no more: nothing of theirs runs.
        """
        if damage := self.checks.damage():
            # What such a file says of the rest is worth nothing.
            return _empty(tuple(_damaged(line) for line in damage))
        findings = list(self._rows())
        steps, repaired = self._steps(repair, gone)
        findings += steps
        sizes = {one.sha256: one.size_bytes for one in stored(self.objects)}
        findings += self._artifacts(sizes)
        if deep:
            findings += self._digests(sizes, progress)
        named = self.retention.needed("").digests
        left = [sha256 for sha256 in sizes if sha256 not in named]
        pins = self.retention.pins()
        findings += self._pins(pins, sizes)
        unreferenced_bytes = sum(sizes[sha256] for sha256 in left)
        if left:
            findings.append(_unreferenced(len(left), unreferenced_bytes, self.objects))
        return Examined(
            findings=tuple(findings),
            pins=pins,
            objects=len(sizes),
            object_bytes=sum(sizes.values()),
            unreferenced=len(left),
            unreferenced_bytes=unreferenced_bytes,
            repaired=repaired,
        )

    def _rows(self) -> Iterator[Finding]:
        for words in self.checks.dangling():
            yield _finding(
                "ledger.dangling",
                Severity.ERROR,
                words,
                "next: lora-ci ledger restore of the newest backup; this was written by no lora-ci",
            )
        for value in self.checks.unreadable():
            yield _finding(
                "ledger.unreadable",
                Severity.ERROR,
                f"{value.column} of {value.table} {value.key} cannot be read: {value.why}",
                "next: pip install --upgrade lora-ci; a newer one may have written it",
            )

    # Steps that nobody moves on

    def _steps(self, repair: bool, gone: Collection[str]) -> tuple[list[Finding], int]:
        findings, repaired = list[Finding](), 0
        for step in self._abandoned(self.checks.open_steps()):
            alive = [
                a
                for a in step.attempts
                if a.executor not in gone and not _has_ended(a.executor, a.handle)
            ]
            what = f"{step.stage} of {step.lora} in run {step.run_id}"
            if alive:
                findings.append(
                    _finding(
                        "ledger.ownerless-attempt",
                        Severity.WARNING,
                        f"{what}: nobody moves it on, and its attempt {alive[0].key} may still "
                        f"run ({alive[0].executor}, {alive[0].handle})",
                        "next: lora-ci run with the --executor that began it, which adopts it; "
                        f"if that is no more, lora-ci ledger check --repair --gone "
                        f"{alive[0].executor}",
                    )
                )
            elif repair and self.checks.interrupt(step):
                repaired += 1
                findings.append(
                    _finding(
                        "ledger.abandoned-step",
                        Severity.INFO,
                        f"{what}: nobody moved it on; it is ended as interrupted now",
                        "next: lora-ci run, which goes on from its last checkpoint",
                    )
                )
            else:
                findings.append(
                    _finding(
                        "ledger.abandoned-step",
                        Severity.WARNING,
                        f"{what} is {step.state}, and nobody moves it on: the process that did "
                        "is gone",
                        "next: lora-ci ledger check --repair, then lora-ci run",
                    )
                )
        for key in self.checks.stray_attempts():
            done = repair and self.checks.close_attempt(key)
            repaired += done
            findings.append(
                _finding(
                    "ledger.stray-attempt",
                    Severity.INFO if done else Severity.WARNING,
                    f"attempt {key} is open, and its step does not run"
                    + ("; it is closed now" if done else ""),
                    None if done else "next: lora-ci ledger check --repair",
                )
            )
        return findings, repaired

    def _abandoned(self, steps: Sequence[OpenStep]) -> list[OpenStep]:
        """The steps of runs that nobody moves on. Those of other machines are watched a while."""
        young = (self.clock.now() - YOUNG).isoformat(timespec="microseconds")
        here = host_of(this_process())
        found, watched = list[OpenStep](), dict[str, int]()
        for step in steps:
            if step.owner is None:
                if step.queued_at < young:
                    found.append(step)
            elif is_gone(step.owner):
                found.append(step)
            elif host_of(step.owner) != here:
                watched[step.run_id] = step.beat
        until = self.clock.monotonic() + PATIENCE_S
        while watched and self.clock.monotonic() < until:
            self.clock.sleep(POLL_S)
            now = {step.run_id: step.beat for step in self.checks.open_steps()}
            watched = {run: beat for run, beat in watched.items() if now.get(run) == beat}
        found += [step for step in steps if watched.get(step.run_id) == step.beat]
        return sorted(found, key=lambda step: step.id)

    # Artifacts

    def _artifacts(self, sizes: dict[str, int]) -> Iterator[Finding]:
        """What records name and the store lacks, or has in another size."""
        now = self.clock.now().isoformat(timespec="microseconds")
        needed = self.retention.needed(now).digests
        for made in self.checks.made():
            absent = [a for a in made.artifacts if a.sha256 not in sizes]
            if absent:
                yield _absent(made, [a.name for a in absent], made.fingerprint in needed)
            for artifact in made.artifacts:
                found = sizes.get(artifact.sha256, artifact.size_bytes)
                if found != artifact.size_bytes:
                    why = f"it has {found} bytes, and had {artifact.size_bytes}"
                    yield self._spoiled(artifact.sha256, why)

    def _digests(self, sizes: dict[str, int], progress: Progress) -> Iterator[Finding]:
        done, total = 0, sum(sizes.values())
        for sha256, size_bytes in sizes.items():
            try:
                if sha256_file(self._place(sha256)) != sha256:
                    yield self._spoiled(sha256, "its bytes are not those of its digest")
            except FileNotFoundError:
                continue  # a clean-up took it meanwhile
            done += size_bytes
            progress("artifacts read, in MiB", done >> 20, total >> 20)

    def _spoiled(self, sha256: str, why: str) -> Finding:
        place = self._place(sha256)
        return _finding(
            "ledger.artifact-damaged",
            Severity.ERROR,
            f"artifact {sha256[:12]} in {self.objects} is damaged: {why}",
            f"next: rm {place}, and run again to make it anew, or take it from a backup",
        )

    def _pins(self, pins: Sequence[Pin], sizes: dict[str, int]) -> Iterator[Finding]:
        for pin in pins:
            if pin.sha256 not in sizes and not self.checks.is_known(pin.sha256):
                yield _finding(
                    "ledger.pin-of-nothing",
                    Severity.WARNING,
                    f"{pin.sha256[:12]} is pinned ({pin.why}), and neither a record nor in the "
                    "store",
                    f"next: lora-ci ledger unpin {pin.sha256[:12]}",
                )

    def _place(self, sha256: str) -> Path:
        return self.objects / sha256[:2] / sha256[2:]


def shortened(findings: Sequence[Finding], most: int) -> Iterator[Finding]:
    """At most so many findings of each rule and severity, and how many more there are."""
    groups = defaultdict[tuple[str, Severity], list[Finding]](list)
    for finding in findings:
        groups[finding.rule, finding.severity].append(finding)
    for (rule, severity), some in groups.items():
        yield from some[:most]
        if len(some) > most:
            message = f"{len(some) - most} more of these"
            yield _finding(rule, severity, message, "next: the same with --json")


def _has_ended(executor: str, handle: str | None) -> bool:
    """True for an attempt of a run whose owner is gone, if nothing of it can run any more."""
    if executor == INLINE:
        return True
    if executor != LOCAL:
        return False
    return handle is None or process_of(handle) is None


def _absent(made: Made, names: Sequence[str], is_needed: bool) -> Finding:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    message = f"{made.stage} of {made.lora} made {shown}, not in the store any more"
    if not is_needed:
        return _finding("ledger.artifact-gone", Severity.INFO, f"{message}; nothing needs it", None)
    return _finding(
        "ledger.artifact-missing",
        Severity.WARNING,
        message,
        "next: take it from a backup or the store of the machine that made it; or run again, "
        "which makes it anew",
    )


def _unreferenced(count: int, size_bytes: int, objects: Path) -> Finding:
    message = f"{counted(count, 'artifact')} ({size(size_bytes)}) in {objects} that no row names"
    return _finding("ledger.unreferenced", Severity.INFO, message, "next: lora-ci ledger gc")


def _damaged(line: str) -> Finding:
    return _finding(
        "ledger.damaged",
        Severity.ERROR,
        f"the file of the ledger is damaged: {line}",
        "next: move it aside, then lora-ci ledger restore of the newest backup",
    )


def _empty(findings: tuple[Finding, ...]) -> Examined:
    return Examined(
        findings=findings,
        pins=(),
        objects=0,
        object_bytes=0,
        unreferenced=0,
        unreferenced_bytes=0,
        repaired=0,
    )


def _finding(rule: str, severity: Severity, message: str, hint: str | None) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, hint=hint)
