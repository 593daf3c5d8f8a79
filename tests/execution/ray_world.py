"""A real Ray cluster for tests: one head a process, on free ports of this machine."""

import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from lora_ci.execution.executor import Executor
from lora_ci.execution.local import Command
from lora_ci.execution.processes import kill_marked, of_mark, signal_group
from lora_ci.execution.ray import RayExecutor
from tests.execution.toy_world import until

HERE = Path(__file__).parents[2]
START_S = 120
GPUS = 4
CPUS = 8
# What the nodes have in their environment, whatever the tests have in theirs.
NODES = {"LC_TOY": "shown", "GITHUB_TOKEN": "ghs-hidden-1", "MY_OWN": "hidden-5"}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Others use this machine too.
    "RAY_memory_monitor_refresh_ms": "0",
    # Where the tests are killed, `ray start` gets SIGTERM, and is not to wait for its nodes.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "PYTHONPATH": str(HERE),
}
# All that runs in a cluster has it, as steps get what begins with LC_.
MARK = "LC_TEST_RAY"
PR_SET_PDEATHSIG = 1


class RayCluster:
    """A head, and nodes that join it, all on this machine. They end with this process."""

    def __init__(self, token: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.token = token
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.port, self.dashboard = _free_port(), _free_port()
        self._mark = f"{MARK}={self.folder}"
        self._groups: list[int] = []
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
            **QUIET, **NODES, **(environment or {}), MARK: str(self.folder),
            "RAY_AUTH_MODE": "token" if token else "disabled", "RAY_AUTH_TOKEN": token,
        }  # fmt: skip
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        """Starts the head, and waits until it takes jobs."""
        self._start(
            "--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={_free_port()}", f"--temp-dir={self.folder}",
            f"--num-gpus={GPUS}", f"--num-cpus={CPUS}",
        )  # fmt: skip
        self._wait_for_nodes(1)

    def add_node(self, *, gpus: int, labels: Mapping[str, str]) -> None:
        """Starts another node, and waits until the head knows it."""
        before = len(self.nodes())
        text = ",".join(f"{name}={value}" for name, value in labels.items())
        self._start(
            f"--address=127.0.0.1:{self.port}", f"--num-gpus={gpus}", "--num-cpus=2",
            f"--labels={text}",
        )  # fmt: skip
        self._wait_for_nodes(before + 1)

    def kill(self) -> None:
        """Kills the cluster and all that runs in it, with no warning."""
        kill_marked(self._mark)
        # Those that gave themselves a name have written over their environment.
        for group in self._groups:
            signal_group(group, signal.SIGKILL)
        until(lambda: not list(of_mark(self._mark)), "the cluster's end")

    def remove(self) -> None:
        """Ends it, and leaves nothing."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *args: str) -> None:
        log = self.folder / "start.log"
        with log.open("a") as out:
            started = subprocess.Popen(
                [
                    *(Path(sys.executable).parent / "ray", "start", "--block"),
                    *("--node-ip-address=127.0.0.1", "--disable-usage-stats"),
                    *("--min-worker-port=0", "--max-worker-port=0"),
                    *("--dashboard-agent-listen-port=0", "--include-log-monitor=false"),
                    *("--object-store-memory=80000000", *args),
                ],
                cwd=HERE,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C in a terminal is for the tests; they end it.
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509
            )
        self._groups.append(started.pid)

    def _wait_for_nodes(self, number: int) -> None:
        deadline = time.monotonic() + START_S
        while True:
            with suppress(OSError, ValueError):
                if len(self.nodes()) == number:
                    return
            assert time.monotonic() < deadline, (self.folder / "start.log").read_text()
            time.sleep(0.1)

    def nodes(self) -> list[Any]:
        """What the head knows of the nodes that live."""
        found = self.ask("/nodes?view=summary")["data"]["summary"]
        return [node["raylet"] for node in found if node["raylet"]["state"] == "ALIVE"]

    def ask(self, path: str) -> Any:
        """What the dashboard answers."""
        asked = urllib.request.Request(self.address + path)
        asked.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)


@cache
def cluster() -> RayCluster:
    """The cluster of this process, started when it is first asked for."""
    started = RayCluster()
    atexit.register(started.remove)
    return started


@contextmanager
def own_cluster(token: str, environment: Mapping[str, str]) -> Iterator[RayCluster]:
    """A cluster that a test may kill and start."""
    started = RayCluster(token, environment)
    try:
        yield started
    finally:
        started.remove()


@contextmanager
def ray_executor(root: Path, command: Command) -> Iterator[Executor]:
    """An executor on the cluster of this process."""
    yield executor_on(cluster(), root, command)


def executor_on(where: RayCluster, root: Path, command: Command, **options) -> RayExecutor:
    """An executor on a cluster; it waits for nothing longer than a test can."""
    return RayExecutor(
        where.address, root / "objects", root / "cache", command, token=where.token,
        **{"stop_wait_s": 5, "lag_s": 0.2, **options},
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
