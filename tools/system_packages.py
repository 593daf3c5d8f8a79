"""Installs the system packages that let more tests run, if it may; says what is missing.

Called before the slow tests, and with --report after them, so that skips are explained at the end.
"""

import os
import shutil
import subprocess
import sys

PACKAGES = {"chromium": ("chromium", "pages rendered in a browser")}


def missing() -> list[str]:
    """Names of the packages whose program is not on the PATH."""
    return [name for name, (program, _) in PACKAGES.items() if not shutil.which(program)]


def install(names: list[str]) -> None:
    """Installs with apt-get where that is possible; a failure only means skipped tests."""
    if not names or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    subprocess.run(["apt-get", "update", "-q"], timeout=300, **quiet)
    subprocess.run(["apt-get", "install", "-y", "-q", *names], timeout=900, **quiet)


if __name__ == "__main__":
    if "--report" in sys.argv:
        for name in missing():
            print(f"skipped: {PACKAGES[name][1]} (needs the system package {name})")
    else:
        install(missing())
