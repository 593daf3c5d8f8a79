"""SIGINT and SIGTERM as something that can wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class StopFlag:
    """Set by SIGTERM and SIGINT; a second signal ends the process at once."""

    raised: bool = False

    def __call__(self, number: int, frame: object) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Turns the first SIGTERM or SIGINT into a flag while the block runs.

    Only the main thread may handle signals; in another one the flag is never raised.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Lets the block end before a signal is heeded: raises KeyboardInterrupt after it."""
    with stop_on_signal() as stop:
        yield
    if stop.raised:
        raise KeyboardInterrupt
