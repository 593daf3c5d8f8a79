"""Records that lie in a git ref, for those who have no server: any clone can read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from lora_ci.changes.git import Repository, words
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.text import clean
from lora_ci.ledger.blobs import Blobs
from lora_ci.ledger.record_file import (
    MAX_BYTES,
    KeptRecord,
    RecordName,
    UnusableRecordError,
    decode_record,
    parse_name,
)
from lora_ci.plan.records import MOST_PASSED

REF = "refs/lora-ci/records"
MOST_FINDINGS = 10
MOST_AHEAD_BYTES = 256 << 20


class _Entry(NamedTuple):
    """A file of the ref, not read yet. The larger one of two of a fingerprint counts."""

    finished_at: str
    oid: str
    size_bytes: int
    path: str
    name: RecordName


class GitRecords:
    """The records of a commit, as the first question finds it. Implements `plan.records.Records`.

    Whoever may push can put anything there: a file that is no record is left out, and told by
    `findings`. `revision` is what `fetch_records` returned, or the ref as it was fetched last.
    """

    def __init__(self, repo: Repository, revision: str | None = REF) -> None:
        self._repo = repo
        self._revision = revision
        self._blobs = Blobs(repo)
        self._was_asked = False
        self._ahead: dict[str, bytes | None] = {}
        self._left_out: list[tuple[str, str]] = []
        self._read: dict[str, tuple[_Entry, KeptRecord] | None] = {}
        self._carriers: dict[str, dict[str, None]] = defaultdict(dict)

    def find(self, fingerprint: str) -> Record | None:
        if not self._was_asked:
            self._was_asked = True
            self._read_ahead(self._newest())
        found = self._winner(fingerprint)
        return found[1].record if found else None

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        found: list[Record] = []
        entries = self._passed.get((lora, stage), ())
        self._read_ahead(entries[:MOST_PASSED])
        for entry in entries:
            winner = self._winner(entry.name.fingerprint)
            if winner and winner[0] is entry:
                found.append(winner[1].record)
                if len(found) == MOST_PASSED:
                    break
        return tuple(found)

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        every = self._by_fingerprint.items()
        since = {f: entries[0] for f, entries in every if entries[0].finished_at >= moment}
        self._read_ahead(list(since.values()))
        found = (self.find(fingerprint) for fingerprint in since)
        records = (record for record in found if record and record.finished_at >= moment)
        return tuple(sorted(records, key=attrgetter("finished_at", "fingerprint")))

    def kept_in(self, sha256: str) -> tuple[str, ...]:
        """What carries an artifact of the records that were read so far, by its name."""
        return tuple(self._carriers.get(sha256, ()))

    def findings(self) -> tuple[Finding, ...]:
        """What was left out so far, and why."""
        shown = self._left_out[:MOST_FINDINGS]
        told = [
            _warning(f"{clean(path)} in {REF} is left out: {clean(why)}", path)
            for path, why in shown
        ]
        if more := len(self._left_out) - len(shown):
            told.append(_warning(f"{more} more files in {REF} are left out"))
        return tuple(told)

    def close(self) -> None:
        """Ends the reading; what is asked after it starts anew."""
        self._blobs.close()

    @cached_property
    def _by_fingerprint(self) -> dict[str, list[_Entry]]:
        """The files of each fingerprint; the one that counts comes first."""
        found: dict[str, list[_Entry]] = defaultdict(list)
        for entry in self._entries():
            found[entry.name.fingerprint].append(entry)
        for entries in found.values():
            if len(entries) > 1:
                entries.sort(reverse=True)
        return dict(found)

    @cached_property
    def _passed(self) -> dict[tuple[str | None, str], list[_Entry]]:
        """What passed, by LoRA and stage, newest first."""
        found: dict[tuple[str | None, str], list[_Entry]] = defaultdict(list)
        every = [entry for entries in self._by_fingerprint.values() for entry in entries]
        for entry in sorted(every, reverse=True):
            if entry.name.outcome == Outcome.PASSED:
                found[entry.name.lora, entry.name.stage].append(entry)
                found[None, entry.name.stage].append(entry)
        return found

    def _entries(self) -> list[_Entry]:
        commit = self._repo.find_commit(self._revision) if self._revision else None
        if commit is None:
            return []
        done = self._repo.git("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        if done.returncode != 0:
            raise InfrastructureError(f"{self._repo.root}: {words(done)}", hint="next: git fsck")
        found = []
        for line in done.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, _, oid, size = meta.split()
            name = parse_name(path)
            if name is None or not mode.startswith("100"):
                self._left_out.append((path, "this is not how records are named"))
            elif not size.isdigit() or int(size) > MAX_BYTES:
                why = f"it has {size} bytes, expected at most {MAX_BYTES}"
                self._left_out.append((path, why))
            else:
                found.append(_Entry(name.finished_at, oid, int(size), path, name))
        return found

    def _newest(self) -> list[_Entry]:
        """What a plan of all LoRAs finds, if nothing was turned back."""
        found: dict[tuple[str, str], _Entry] = {}
        for entries in self._by_fingerprint.values():
            entry = entries[0]
            key = entry.name.lora, entry.name.stage
            found[key] = max(entry, found.get(key, entry))
        return list(found.values())

    def _read_ahead(self, entries: Sequence[_Entry]) -> None:
        """Reads files at once that are about to be asked for one by one."""
        known, left = self._read.keys(), MOST_AHEAD_BYTES
        oids = []
        for entry in entries:
            left -= entry.size_bytes
            if entry.name.fingerprint not in known and entry.oid not in self._ahead and left > 0:
                oids.append(entry.oid)
        if oids:
            self._ahead |= zip(oids, self._blobs.read(oids), strict=True)

    def _winner(self, fingerprint: str) -> tuple[_Entry, KeptRecord] | None:
        """The newest file of a fingerprint that is a record."""
        if fingerprint not in self._read:
            entries = self._by_fingerprint.get(fingerprint, ())
            read = ((entry, self._decode(entry)) for entry in entries)
            self._read[fingerprint] = next(((e, kept) for e, kept in read if kept), None)
        return self._read[fingerprint]

    def _decode(self, entry: _Entry) -> KeptRecord | None:
        if entry.oid not in self._ahead:
            (self._ahead[entry.oid],) = self._blobs.read([entry.oid])
        data = self._ahead.pop(entry.oid)
        try:
            if data is None:
                raise UnusableRecordError("its git object is not here; git fsck says more")
            kept = decode_record(entry.name, data)
        except UnusableRecordError as error:
            self._left_out.append((entry.path, str(error)))
            return None
        if kept.kept_in:
            for artifact in kept.record.result.artifacts:
                self._carriers[artifact.sha256][kept.kept_in] = None
        return kept


def _warning(message: str, path: str | None = None) -> Finding:
    hint = f"next: git log -p {REF} -- {clean(path)}" if path else f"next: git ls-tree -r {REF}"
    return Finding(rule="records.left-out", severity=Severity.WARNING, message=message, hint=hint)
