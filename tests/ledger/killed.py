"""Kills a child as it is about to do something."""

import os
import signal
import sys
from collections.abc import Callable

DEADLINE_S = 60


def killed_at(number: int, events: tuple[str, ...], do: Callable[[], object]) -> bool:
    """Does it in a child that is killed as it enters its n-th call of those; True if it was."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            left = number

            def hook(event: str, args: tuple[object, ...]) -> None:
                nonlocal left
                if event in events:
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            signal.alarm(DEADLINE_S)
            sys.addaudithook(hook)
            do()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0
