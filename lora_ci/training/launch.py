"""Starts the processes of a training on one machine, and ends all where one fails.

`python -P -m lora_ci.training.launch EACH MACHINES PROGRAM…` tells each process who it is as
`torchrun` does. That one is not used: a cluster may signal every process that it finds, and whoever
started them does so too; at a second signal `torchrun` leaves its processes, which are killed
before they have saved. It also takes seconds to load torch.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

# Which of several machines this is, counted from 0: as who holds them says, or `srun`.
NUMBER, SRUN_NUMBER = "LORA_CI_MACHINE", "SLURM_NODEID"
# Where the first process listens. Source: torch.distributed, `env://`.
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"
POLL_S = 0.1
# What processes have to save before they are killed.
GRACE_S = 30.0


def main(each: int, machines: int, program: list[str], environment: Mapping[str, str]) -> int:
    """0, or the exit code of a process that failed first."""
    with ExitStack() as stack:
        number = 0
        if machines == 1:
            # Until the first process listens there, the port is given to nobody else.
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            environment = {**environment, ADDRESS: "127.0.0.1", PORT: str(held.getsockname()[1])}
        else:
            number = int(environment.get(NUMBER) or environment[SRUN_NUMBER])
        team = _Team()
        signal.signal(signal.SIGTERM, lambda *_: team.end())
        for place in range(each):
            who = {
                "RANK": number * each + place,
                "LOCAL_RANK": place,
                "WORLD_SIZE": machines * each,
                "LOCAL_WORLD_SIZE": each,
            }
            given = {**environment, **{name: str(value) for name, value in who.items()}}
            if each > 1:
                given.setdefault("OMP_NUM_THREADS", "1")
            team.start([sys.executable, "-u", *program], given)
        return team.wait()


class _Team:
    """Processes that begin and end together."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.deadline: float | None = None

    def start(self, command: list[str], environment: dict[str, str]) -> None:
        """Starts one more."""
        self.processes.append(subprocess.Popen(command, env=environment))

    def end(self) -> None:
        """Gives all a while to save and end; they heed that once."""
        if self.deadline is None:
            self.deadline = time.monotonic() + GRACE_S
        for process in self.processes:
            process.terminate()

    def wait(self) -> int:
        """Waits for all; 0, or the exit code of one that failed first."""
        if self.deadline is not None:
            self.end()
        failed = 0
        while True:
            codes = [process.poll() for process in self.processes]
            if not failed:
                failed = next((code for code in codes if code), 0)
                if failed:
                    self.end()
            if None not in codes:
                return failed
            if self.deadline is not None and time.monotonic() > self.deadline:
                for process in self.processes:
                    process.kill()
            time.sleep(POLL_S)


if __name__ == "__main__":
    # What ended by a signal did not end well.
    code = main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:], os.environ)
    sys.exit(code if code >= 0 else 128 - code)
