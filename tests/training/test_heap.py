"""Memory that stays with the process between two steps."""

import subprocess
import sys
import textwrap

import pytest

from lora_ci.training.heap import keep_freed_memory

# What a process has left of 64 MB in blocks of one after it freed them, in MB.
SCRIPT = """
    import ctypes, sys
    from lora_ci.training.heap import keep_freed_memory

    def resident_mb():
        return int(open("/proc/self/statm").read().split()[1]) * 4096 // 10**6

    if sys.argv[1] == "keep":
        keep_freed_memory()
    malloc = ctypes.CDLL(None)
    malloc.malloc.restype = ctypes.c_void_p
    malloc.free.argtypes = [ctypes.c_void_p]
    before = resident_mb()
    blocks = [malloc.malloc(10**6) for _ in range(64)]
    for block in blocks:
        ctypes.memset(block, 1, 10**6)
    for block in blocks:
        malloc.free(block)
    print(resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_freed_memory_stays():
    left = {
        way: int(
            subprocess.run(
                [sys.executable, "-c", textwrap.dedent(SCRIPT), way],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for way in ("keep", "leave")
    }
    assert left["leave"] < 20
    assert left["keep"] > 50


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("nothing to ask"))
    keep_freed_memory()
