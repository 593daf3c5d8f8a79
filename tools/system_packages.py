"""Installs the system packages that let more tests run, if it may; says what is missing.

Called before the slow tests, and with --report after them, so that skips are explained at the end.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Need(NamedTuple):
    """A program, the Debian packages that bring it, and the tests that run with it."""

    program: str
    packages: tuple[str, ...]
    tests: str


NEEDS = (
    Need("chromium", ("chromium", "chromium-sandbox"), "pages rendered in a browser"),
    Need("slurmctld", ("slurmctld", "slurmd", "slurm-client", "munge"), "steps on a SLURM cluster"),
    Need("clamd", ("clamav-daemon",), "datasets scanned by ClamAV"),
)
# Where Debian has daemons; not everybody has it on the PATH.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
# Asked by packages before they start a service. Source: invoke-rc.d(8).
POLICY = Path("/usr/sbin/policy-rc.d")
FORBIDDEN = "#!/bin/sh\nexit 101\n"


def missing() -> list[Need]:
    """What is needed by tests and not on this machine."""
    return [need for need in NEEDS if not shutil.which(need.program, path=PATH)]


def install(needs: list[Need]) -> None:
    """Installs with apt-get where that is possible; a failure only means skipped tests."""
    if not needs or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], timeout=300, **quiet)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    with no_services():
        for need in needs:
            subprocess.run([*command, *need.packages], timeout=900, env=environment, **quiet)


@contextmanager
def no_services() -> Iterator[None]:
    """Packages start nothing: tests start what they need, on ports and in folders of their own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text(FORBIDDEN)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    if "--report" in sys.argv:
        for need in missing():
            print(f"skipped: {need.tests} (needs: apt install {' '.join(need.packages)})")
    else:
        install(missing())
