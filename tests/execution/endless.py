"""An executor whose attempts go on for ever, and that nobody asks to end one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lora_ci.execution.executor import Attempt, Phase


@dataclass
class Endless:
    """Starts nothing; `started` is all that it was asked to."""

    started: list[Attempt] = field(default_factory=list)

    name = "endless"
    lag_s = 0.0

    def submit(self, attempt: Attempt) -> str:
        self.started.append(attempt)
        return attempt.key

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        return dict.fromkeys(handles, Phase.RUNNING)

    def cancel(self, handle: str, *, hard: bool) -> None:
        raise AssertionError(handle)

    def clear(self, handle: str) -> None:
        raise AssertionError(handle)
