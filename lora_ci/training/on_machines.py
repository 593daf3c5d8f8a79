"""Starts a command on each machine that a step has, and prints what they print.

`python -P -m lora_ci.training.on_machines SOCKET COMMAND…`. Whoever holds the machines listens at
the socket, which is named in the environment of the step. There is a JSON value a line: the command
goes there; what it prints comes back, at last its exit code. SIGTERM is passed on as a line too.
"""

from __future__ import annotations

import json
import signal
import socket
import sys

# Where a step finds who holds its machines; none where it has one machine, or `srun`.
MACHINES = "LORA_CI_MACHINES"
END = "end"


def main(path: str, command: list[str]) -> int:
    """The worst exit code of the machines; 1 if who holds them is gone."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        # It may come more than once: from the step, and from the cluster to all that it finds.
        signal.signal(signal.SIGTERM, lambda *_: link.sendall(_line(END)))
        link.sendall(_line(command))
        for line in link.makefile("rb"):
            said = json.loads(line)
            if isinstance(said, int):
                return said
            sys.stdout.write(said)
            sys.stdout.flush()
    return 1


def _line(value: str | list[str]) -> bytes:
    return json.dumps(value).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
