"""Time that jumps to the next thing that happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

# A Monday, so that office hours are those of a week.
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY_S = 86_400.0
HOUR_S = 3_600.0


@dataclass(slots=True)
class VirtualClock:
    """Implements `core.clock.Clock`. The wall clock may be off, as one that somebody sets."""

    elapsed_s: float = 0.0
    off_s: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s + self.off_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds


@dataclass(slots=True)
class Agenda:
    """What is to happen, by time; of the same moment what was noted first."""

    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _noted: int = 0

    def note(self, at_s: float, action: Callable[[], None]) -> None:
        """Has something happen at a time."""
        self._noted += 1
        heapq.heappush(self._due, (at_s, self._noted, action))

    def wake(self, at_s: float) -> None:
        """Has somebody look at a time, as something may be due then."""
        self.note(at_s, lambda: None)

    def next_s(self) -> float | None:
        """When the next thing happens; None if nothing will."""
        return self._due[0][0] if self._due else None

    def take(self) -> tuple[float, Callable[[], None]]:
        """The next thing and its time."""
        at_s, _, action = heapq.heappop(self._due)
        return at_s, action
