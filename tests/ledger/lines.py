"""Steps that wait in a ledger, and several processes' views of it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepResult, StepSpec
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.queue import OpenAttempt, StepRow
from tests.bot.clocks import SetClock

T = TypeVar("T")
PASSED = StepResult(outcome=Outcome.PASSED)
DEADLINE_S = 60


@dataclass
class Line:
    """A ledger, and ways to put steps into it and to take them out."""

    url: str
    clock: SetClock = field(default_factory=SetClock)
    ledgers: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = self.open()
        self.queue = self.ledger.queue

    def open(self) -> Ledger:
        """The ledger as another process sees it."""
        self.ledgers.append(open_ledger(self.url, self.clock))
        return self.ledgers[-1]

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()

    def add(
        self, run_id: str = "run-1", lora: str = "mei", *, work: str = "", repo: str = "team/loras",
        priority: int = 0, stage: Stage = Stage.TRAIN, gpus: int = 0,
    ) -> StepRow:  # fmt: skip
        """A step that waits; what does the same `work` has the same fingerprint."""
        self.ledger.start_run(run_id, Event(kind=EventKind.PUSH, repo=repo, head="h"))
        made = make_fingerprint(stage, {"work": work or f"{run_id} {lora}"})
        decision = Decision(lora=lora, stage=stage, action=Action.RUN, why="", fingerprint=made)
        spec = StepSpec(
            stage=stage, lora=lora, fingerprint=made.value, inputs={}, params={},
            resources=Resources(gpus=gpus, vram_gib=7.5 * gpus),
        )  # fmt: skip
        self.queue.add(
            run_id, decision, spec, commit="c", folder=Path("/steps") / made.value[:8],
            repo=repo, priority=priority,
        )  # fmt: skip
        return self.step(run_id, lora)

    def step(self, run_id: str = "run-1", lora: str = "mei") -> StepRow:
        """A step that has not ended."""
        (step,) = [s for s in self.queue.unfinished(run_id) if s.lora == lora]
        return step

    def begin(self, step: StepRow, executor: str = "local") -> OpenAttempt:
        """A new attempt at a step."""
        key = self.queue.begin([(step, {})], executor=executor)[0]
        assert key
        return self.attempt(key)

    def attempt(self, key: str) -> OpenAttempt:
        (attempt,) = [a for a in self.queue.open_attempts() if a.key == key]
        return attempt

    def due(self, **whose: str) -> list[str]:
        return [waiting.step.lora for waiting in self.queue.waiting(**whose)]


def at_once(do: Sequence[Callable[[], T]]) -> list[T]:
    """What all of them return, called at the same moment by as many threads."""
    start, came = threading.Barrier(len(do)), list[T | Exception]()

    def call(one: Callable[[], T]) -> None:
        start.wait(DEADLINE_S)
        try:
            came.append(one())
        except Exception as error:  # noqa: BLE001 (told in the thread of the test)
            came.append(error)

    threads = [threading.Thread(target=call, args=(one,), daemon=True) for one in do]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(came) == len(do)
    for one in came:
        if isinstance(one, Exception):
            raise one
    return came
