"""Brings records from a git remote, and to it: many may push at once, none loses a record."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from subprocess import CompletedProcess

from lora_ci.changes.git import Repository
from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Record
from lora_ci.core.text import clean
from lora_ci.ledger.git_records import REF
from lora_ci.ledger.record_file import (
    KeptRecord,
    RecordFile,
    UnusableRecordError,
    encode_record,
)
from lora_ci.ledger.record_tree import add_to_tree, write_blobs

DEADLINE_S = 120.0
# A lost race is tried again until the deadline; what the network or the remote cannot do, so often.
MOST_FAILURES = 4
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# The words below are git's own in English. Nothing may start a process that outlives the call.
QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=0")
ENGLISH = {"LC_ALL": "C", "LANGUAGE": ""}

DENIED = re.compile(
    r"error: 40[13]\b|HTTP 40[13]\b|authentication failed|could not read (username|password)"
    r"|permission( to \S+)? denied|access denied|insufficient permission|not authorized"
    r"|write access to repository not granted|read-only"
    r"|unable to create temporary (object|file)",
    flags=re.IGNORECASE,
)
NO_REMOTE = re.compile(
    r"does not appear to be a git repository|repository .*not found|no such remote",
    flags=re.IGNORECASE,
)
RACE = re.compile(
    r"cannot lock ref|failed to (update|lock)|already exists|incorrect old value|but expected"
    r"|fetch first|non-fast-forward|stale info",
    flags=re.IGNORECASE,
)
REJECTED = re.compile(r"^!\t[^\t]*\t\[(remote )?rejected\] \((.*)\)", flags=re.MULTILINE)
PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")


class _Answer(Enum):
    DONE = auto()
    RACE = auto()
    DENIED = auto()
    REFUSED = auto()
    NO_REMOTE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patience:
    """How long to try, and what to wait with."""

    clock: Clock
    rng: random.Random
    until: float
    failures: list[str] = field(default_factory=list)

    def left_s(self) -> float:
        return max(1.0, self.until - self.clock.monotonic())

    def wait(self, tries: int, failure: str | None) -> bool:
        """Waits for the next try; False if there is to be none."""
        if failure is not None:
            self.failures.append(failure)
        pause_s = self.rng.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**tries))
        late = self.clock.monotonic() + pause_s > self.until
        if late or len(self.failures) >= MOST_FAILURES:
            return False
        self.clock.sleep(pause_s)
        return True


def fetch_records(
    repo: Repository,
    remote: str,
    *,
    clock: Clock,
    rng: random.Random,
    deadline_s: float = DEADLINE_S,
) -> str | None:
    """Brings the records of a remote here; the commit that holds them, None if there are none.

    Raises InfrastructureError where the remote cannot be asked: not to know the past is to do all
    of it again.
    """
    patience = _Patience(clock=clock, rng=rng, until=clock.monotonic() + deadline_s)
    return _fetch(repo, remote, patience)


def publish_records(
    repo: Repository,
    remote: str,
    records: Iterable[Record],
    *,
    kept_in: str | None,
    clock: Clock,
    rng: random.Random,
    deadline_s: float = DEADLINE_S,
) -> tuple[Finding, ...]:
    """Adds records to those of a remote; returns what is not kept there, and why.

    Killed anywhere and called again, each is there once. `kept_in` names what carries their
    artifacts. A record that is too large, or a remote that does not let us write, is no error.

    Raises:
        InfrastructureError: the remote cannot be reached, refuses what we push, or all the others
            were faster until the deadline.
    """
    files, findings = _encode(records, kept_in)
    if not files:
        return findings
    blobs = write_blobs(repo, files)
    patience = _Patience(clock=clock, rng=rng, until=clock.monotonic() + deadline_s)
    tries = 0
    while True:
        tip = _fetch(repo, remote, patience)
        commit = add_to_tree(repo, tip, blobs)
        if commit is None:
            return findings
        done = _push(repo, remote, commit, patience)
        match answer := _answer(done):
            case _Answer.DONE:
                _note(repo, commit)
                return findings
            case _Answer.DENIED:
                return (*findings, _denied(remote, done))
            case _Answer.RACE | _Answer.FAILED:
                failure = _words(done) if answer is _Answer.FAILED else None
                tries += 1
                if not patience.wait(tries, failure):
                    raise _gave_up(remote, done, tries)
            case _Answer.REFUSED | _Answer.NO_REMOTE:
                raise _refused(remote, commit, done)


def _encode(
    records: Iterable[Record], kept_in: str | None
) -> tuple[list[RecordFile], tuple[Finding, ...]]:
    files, findings = [], []
    for record in records:
        try:
            files.append(encode_record(KeptRecord(record, kept_in)))
        except UnusableRecordError as error:
            message = f"{record.stage} of {clean(record.lora)} is not kept in {REF}: {error}"
            hint = "other machines do it again; a ledger (--ledger-url) keeps records of any size"
            findings.append(_warning("records.not-kept", message, hint))
    return files, tuple(findings)


def _fetch(repo: Repository, remote: str, patience: _Patience) -> str | None:
    tries = 0
    while True:
        done = repo.git(
            *QUIET, "ls-remote", "--", remote, REF, timeout_s=patience.left_s(), env=ENGLISH
        )
        if done.returncode == 0:
            tip = _tip(done)
            if tip is None:
                repo.git("update-ref", "-d", REF)
                return None
            if tip == repo.find_commit(REF):
                return tip
            # By name and into no ref of ours: a lock that a killed process left is in nobody's
            # way. Filters of a partial clone would fetch the records one by one when read.
            args = ("--no-tags", "--no-filter", "--no-write-fetch-head", "--no-recurse-submodules")
            done = repo.git(
                *QUIET, "fetch", "-q", *args, "--", remote, REF,
                timeout_s=patience.left_s(), env=ENGLISH,
            )  # fmt: skip
            if done.returncode == 0 and repo.find_commit(tip):
                _note(repo, tip)
                return tip
        tries += 1
        answer = _answer(done)
        if answer in (_Answer.DENIED, _Answer.NO_REMOTE):
            raise _unreadable(remote, done)
        if not patience.wait(tries, _words(done)):
            raise _unreadable(remote, done)


def _tip(done: CompletedProcess[bytes]) -> str | None:
    """The commit of the ref in what `ls-remote` says: it names all refs that end so."""
    lines = (line.split("\t") for line in done.stdout.decode(errors="replace").splitlines())
    return next((oid for oid, name in lines if name == REF), None)


def _note(repo: Repository, commit: str) -> None:
    """Keeps the commit from being collected, and spares the next fetch; it works without."""
    repo.git("update-ref", REF, commit)


def _push(
    repo: Repository, remote: str, commit: str, patience: _Patience
) -> CompletedProcess[bytes]:
    args = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules")
    # Not forced: the remote takes it only if nobody else pushed since it was asked.
    return repo.git(
        *QUIET, "push", *args, "--", remote, f"{commit}:{REF}",
        timeout_s=patience.left_s(), env=ENGLISH,
    )  # fmt: skip


def _answer(done: CompletedProcess[bytes]) -> _Answer:
    if done.returncode == 0:
        return _Answer.DONE
    said = done.stderr.decode(errors="replace")
    rejected = REJECTED.search(done.stdout.decode(errors="replace"))
    if DENIED.search(said):
        return _Answer.DENIED
    if NO_REMOTE.search(said):
        return _Answer.NO_REMOTE
    if rejected is None:
        return _Answer.FAILED
    by_remote, reason = rejected.groups()
    lost = not by_remote or RACE.search(reason)
    return _Answer.RACE if lost else _Answer.REFUSED


def _words(done: CompletedProcess[bytes]) -> str:
    """What the remote said, else what git said; in one line and without a password."""
    lines = done.stderr.decode(errors="replace").splitlines()
    lines = [clean(line.strip()) for line in lines if line.strip()]
    theirs = [line.removeprefix("remote: ") for line in lines if line.startswith("remote: ")]
    told = next(iter([*theirs, *lines]), "it failed without a word")
    return PASSWORD.sub("", told.removeprefix("fatal: "))[:300]


def _denied(remote: str, done: CompletedProcess[bytes]) -> Finding:
    message = f"records are not kept: {_shown(remote)} does not let us push {REF}: {_words(done)}"
    hint = "a workflow needs `permissions: contents: write`; pull requests from forks never have it"
    return _warning("records.read-only", message, hint)


def _refused(remote: str, commit: str, done: CompletedProcess[bytes]) -> InfrastructureError:
    message = f"{_shown(remote)} refuses records on {REF}: {_words(done)}"
    hint = f"next: git push {_shown(remote)} {commit}:{REF}; a rule or hook there says no"
    return InfrastructureError(message, hint=hint)


def _gave_up(remote: str, done: CompletedProcess[bytes], tries: int) -> InfrastructureError:
    message = f"records could not be pushed to {_shown(remote)} in {tries} tries: {_words(done)}"
    hint = f"next: git ls-remote {_shown(remote)} {REF}; the same command publishes them again"
    return InfrastructureError(message, hint=hint)


def _unreadable(remote: str, done: CompletedProcess[bytes]) -> InfrastructureError:
    message = f"the records of {_shown(remote)} cannot be fetched: {_words(done)}"
    return InfrastructureError(message, hint=f"next: git ls-remote {_shown(remote)} {REF}")


def _shown(remote: str) -> str:
    return clean(PASSWORD.sub("", remote))


def _warning(rule: str, message: str, hint: str) -> Finding:
    return Finding(rule=rule, severity=Severity.WARNING, message=message, hint=hint)
