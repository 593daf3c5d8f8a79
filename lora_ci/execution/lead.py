"""One process at a time leads: it moves the steps of all runs on.

The lease only spares work. Two that both took themselves for the leader would do nothing twice:
every transition is one conditional update. So no wall clock is trusted: a holder is gone once its
number has stood still for a while of our own time, or at once if it was a process of this machine
that is no more.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from lora_ci.core.clock import Clock
from lora_ci.execution.executor import LOCAL
from lora_ci.execution.processes import started_at
from lora_ci.ledger.queue import Queue

LOG = logging.getLogger("lora_ci.execution")

PATIENCE_S = 15.0
# Of whom nobody asked for that many times the patience, nothing is remembered.
FORGOTTEN = 40
BEAT_S = 3.0


def this_process() -> str:
    """`host:pid:start time`, so that a pid that is used again is no match."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{started_at(pid) or ''}"


def lease_of(executor: str) -> str:
    """The name of the lead of an executor's steps: each machine leads its own processes."""
    name = f"steps-{executor}"
    return f"{name}@{socket.gethostname()}"[:64] if executor == LOCAL else name


def host_of(holder: str) -> str:
    """The machine of a process."""
    return _parts(holder)[0]


def is_gone(holder: str) -> bool:
    """True for a process of this machine that is no more; of others nothing is known."""
    return _lives(holder) is False


def is_alive(holder: str) -> bool:
    """True for a process of this machine that goes on; of others nothing is known."""
    return _lives(holder) is True


def _lives(holder: str) -> bool | None:
    host, pid, started = _parts(holder)
    if host != socket.gethostname() or not pid.isdecimal():
        return None
    return started_at(int(pid)) == started


def _parts(holder: str) -> tuple[str, str, str]:
    """Host, pid and start time. A host's name may have colons."""
    rest, _, started = holder.rpartition(":")
    host, _, pid = rest.rpartition(":")
    return host, pid, started


@dataclass(slots=True, kw_only=True)
class Watched:
    """Tells of numbers that ought to grow whether they have stood still for too long."""

    clock: Clock
    patience_s: float = PATIENCE_S
    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def is_still(self, name: str, number: object) -> bool:
        """True for one that is as it was for longer than anybody alive would leave it.

        For how long that is, counts from where we first saw it.
        """
        now = self.clock.monotonic()
        before = self._seen.get(name)
        if before is None:
            self._forget(now - FORGOTTEN * self.patience_s)
        if before is None or before[0] != number:
            self._seen[name] = before = (number, now)
        self._asked[name] = now
        return now - before[1] > self.patience_s

    def _forget(self, before: float) -> None:
        """Forgets those of whom nobody asked since."""
        for name in [name for name, asked in self._asked.items() if asked < before]:
            del self._seen[name], self._asked[name]


@dataclass(slots=True, kw_only=True)
class Leadership:
    """The lease `name`, as the process `holder` sees it.

    `terms` are the options by which it would lead. Those of the holder hold for the steps of all.
    """

    queue: Queue
    clock: Clock
    name: str
    holder: str = field(default_factory=this_process)
    patience_s: float = PATIENCE_S
    terms: Mapping[str, str] = field(default_factory=dict)
    _renewed: float | None = None
    _watched: Watched | None = None
    _told: str | None = None

    def lead(self) -> bool:
        """Takes or keeps the lead; False while another process has it."""
        now = self.clock.monotonic()
        if self._renewed is not None and now - self._renewed < BEAT_S:
            return True
        seen = self.queue.lease(self.name)
        mine = seen is not None and seen[0] == self.holder
        if seen and not mine and not is_gone(seen[0]):
            self._renewed = None
            self._watched = self._watched or Watched(clock=self.clock, patience_s=self.patience_s)
            if not self._watched.is_still(self.name, seen):
                self._tell_differences(seen[0])
                return False
        taken = self.queue.take_lease(self.name, self.holder, seen=seen, terms=self.terms)
        self._renewed = now if taken else None
        return taken

    def _tell_differences(self, holder: str) -> None:
        """Says once of each holder by which other options it leads."""
        if holder == self._told:
            return
        self._told = holder
        theirs = self.queue.terms(self.name)
        differ = [
            f"{name} is {theirs[name] or 'not given'}, here {ours or 'not given'}"
            for name, ours in self.terms.items()
            if name in theirs and theirs[name] != ours
        ]
        if differ:
            who, what = holder.rpartition(":")[0], "; ".join(differ)
            hint = "next: give all who share a ledger the same"
            LOG.warning("lead.differs holder=%s options=%s %s", who, what, hint)

    def resign(self) -> None:
        """Lets another lead at once."""
        if self._renewed is not None:
            self._renewed = None
            self.queue.drop_lease(self.name, self.holder)
