"""How long a piece of work still takes, going by its pace since it was first seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Before this the first steps, which warm up, would be taken for the pace.
SEEN_S = 5.0


@dataclass(slots=True)
class Pace:
    """What was done when; a total that changes, or less done than before, is other work."""

    total: int
    done: int
    since: float
    begun: int

    @classmethod
    def start(cls, done: int, total: int, now: float) -> Pace:
        """Work that is first seen at `now` (monotonic seconds)."""
        return cls(total=total, done=done, since=now, begun=done)

    def left_s(self, done: int, total: int, now: float) -> float | None:
        """Seconds to go; None where the pace is not known yet, or nothing is left."""
        if total != self.total or done < self.done:
            self.total, self.since, self.begun = total, now, done
        self.done = done
        took, made = now - self.since, done - self.begun
        if took < SEEN_S or made <= 0 or done >= total:
            return None
        return took / made * (total - done)


def left_text(seconds: float) -> str:
    """`40 s left`, `12 min left`, `3 h 20 min left`: no finer than anyone can know it."""
    if seconds < 90:
        return f"{max(10, math.ceil(seconds / 10) * 10)} s left"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min left"
    return f"{minutes // 60} h {minutes % 60} min left"
