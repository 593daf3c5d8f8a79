"""Trouble on demand."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.fake_github.call import Answer

KINDS = (
    "401",  # a token that was good goes bad
    "403",  # the right is missing
    "403_primary",  # no requests left until the reset
    "403_secondary",  # too fast; Retry-After says how long to wait
    "429_secondary",
    "404",
    "422",
    "500_before", "502_before", "503_before",  # nothing was done
    "500_after_write", "502_after_write", "503_after_write",  # it was done all the same
    "slow",  # the right answer, late
    "reset",  # the connection breaks before anything is done
    "reset_after_write",
    "truncated",  # half of the JSON
    "cut",  # the connection breaks in the middle of the answer
)  # fmt: skip


@dataclass(slots=True)
class Fault:
    """`times` is how often it still strikes, None always; `probability` of striking."""

    match: str
    kind: str
    times: int | None = 1
    probability: float = 1.0
    retry_after_s: int = 1
    delay_s: float = 0.2
    struck: int = 0

    @property
    def after(self) -> bool:
        """True if the request is carried out first."""
        return self.kind.endswith("_after_write") or self.kind in ("slow", "truncated", "cut")


@dataclass(slots=True)
class Faults:
    """The troubles to come, first one first."""

    rng: random.Random
    waiting: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        *,
        match: str,
        kind: str,
        times: int | None = 1,
        probability: float = 1.0,
        retry_after_s: int = 1,
        delay_s: float = 0.2,
    ) -> Fault:
        """Trouble for requests that match `METHOD /path`, in which `*` stands for anything."""
        assert kind in KINDS, f"{kind} is none of {KINDS}"
        fault = Fault(match, kind, times, probability, retry_after_s, delay_s)
        with self.lock:
            self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        with self.lock:
            self.waiting.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault that a request meets, which is used up by one."""
        line = f"{method} {path.partition('?')[0]}"
        with self.lock:
            for fault in self.waiting:
                if fault.times == 0 or not fnmatchcase(line, fault.match):
                    continue
                if fault.probability < 1 and self.rng.random() >= fault.probability:
                    continue
                fault.struck += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


def answer_of(fault: Fault, now: float) -> Answer:
    """What GitHub says to a request that meets a fault; not for faults of the connection."""
    status = int(fault.kind[:3])
    headers: dict[str, str] = {}
    match fault.kind:
        case "401":
            message = "Bad credentials"
        case "403":
            message = "Resource not accessible by integration"
        case "403_primary":
            message = "API rate limit exceeded for installation ID 1."
            headers = {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(now) + fault.retry_after_s),
            }
        case "403_secondary" | "429_secondary":
            message = (
                "You have exceeded a secondary rate limit."
                " Please wait a few minutes before you try again."
            )
            headers = {"Retry-After": str(fault.retry_after_s)}
        case "404":
            message = "Not Found"
        case "422":
            message = "Validation Failed"
        case _:
            message = "Server Error"
    return Answer(
        status, {"message": message, "documentation_url": "", "status": str(status)}, headers
    )
