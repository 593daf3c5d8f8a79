"""A real ClamAV daemon that knows one signature, and the harmless file that it is of."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.dataset.scanners.clamd import clamd_at

# Put together here, or a scanner would take this file for the test. https://www.eicar.org
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-" + b"TEST-FILE!$H+H*"
START_S = 60
SETTINGS = """
Foreground yes
DatabaseDirectory {folder}
LocalSocket {folder}/socket
LogFile {folder}/log
MaxThreads 2
StreamMaxLength {limit}M
MaxFileSize {limit}M
"""

needs_clamd = [
    pytest.mark.needs_clamd,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("clamd", path="/usr/bin:/usr/sbin"),
        reason="needs clamd: apt install clamav-daemon",
    ),
]


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where it listens, and its process."""

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def clamd(limit_mib: int = 2) -> Iterator[Daemon]:
    """The daemon, ended with this process however that ends."""
    with tempfile.TemporaryDirectory(prefix="clamd-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "test.ndb").write_text(f"Test.Eicar:0:*:{EICAR.hex()}\n")
        (folder / "clamd.conf").write_text(SETTINGS.format(folder=folder, limit=limit_mib))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", shutil.which("clamd", path="/usr/bin:/usr/sbin"),
             "--config-file", folder / "clamd.conf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = f"unix:{folder}/socket"
            _wait(address, process, folder)
            yield Daemon(address, process)
        finally:
            process.terminate()
            process.wait(START_S)


def _wait(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            clamd_at(address, 5).identity()
        except InfrastructureError:
            time.sleep(0.05)
        else:
            return
    log = folder / "log"
    raise AssertionError(f"clamd does not start: {log.read_text() if log.exists() else ''}")
