"""Holds several machines of a Ray cluster for one step, and starts what it asks for on each.

`python -P -m lora_ci.execution.ray_machines WANTED COMMAND…` is a job of Ray. It needs the `ray`
package, of the cluster's version, which nothing else here does. All machines are given at once, or
none: two steps that wait for each other's would wait for ever. Only then the attempt begins.

Ray ends what it started when this process dies; what that started in turn, `node.watch` ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import msgspec

from lora_ci.execution.environment import passed_on
from lora_ci.execution.local import MARK
from lora_ci.execution.node import JOIN, claim, watch
from lora_ci.training.launch import ADDRESS, NUMBER, PORT
from lora_ci.training.on_machines import MACHINES

NO_RAY = (
    "a step of several machines needs the package `ray` beside lora-ci, of the cluster's version\n"
    f"next: {sys.executable} -m pip install ray==VERSION, where `ray --version` of the cluster says"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The machines of an attempt: how many, and of each the GPUs, the cores and the labels.

    `begun` is the file that says that the attempt has begun, `named` are variables of a machine's
    environment that processes get beside those that all get.
    """

    mark: str
    begun: str
    named: tuple[str, ...]
    count: int
    gpus: int
    cpus: float
    labels: Mapping[str, str]


def main(wanted: Wanted, command: list[str]) -> int:
    """The step's exit code; 0 if the attempt has begun before, or is not to begin any more."""
    file = Path(wanted.begun)
    if file.exists():
        return 0
    # Before Ray has threads here, which a fork does not copy.
    watch((os.getpid(),), f"{MARK}={wanted.mark}", file)
    machines = held(wanted)
    if not claim(file, f"{socket.gethostname()} {os.getpid()}"):
        return 0
    # Ray signals all below this process, the step too: for that one, a second is one too many.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/socket")
        server.listen()
        threading.Thread(target=_serve, args=(server, machines, wanted), daemon=True).start()
        environment = {
            **passed_on(os.environ, wanted.named),
            MARK: wanted.mark,
            MACHINES: f"{folder}/socket",
        }
        step = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        return step.wait()


class Machine:
    """What a worker of Ray does. Ray brings the code there, so it uses nothing of ours."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = 0

    def address(self) -> tuple[str, int]:
        """Where the others find this machine, with a port that is free."""
        import ray

        with socket.socket() as found:
            found.bind(("", 0))
            address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return address, found.getsockname()[1]

    def run(self, command: list[str], environment: dict[str, str]) -> Iterator[str | int]:
        """What a command prints, and at last its exit code."""
        with self.lock:
            self.process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if self.ended:
                self.process.send_signal(self.ended)
        for line in self.process.stdout or ():
            yield line.decode(errors="replace")
        yield self.process.wait()

    def end(self, number: int) -> None:
        """Signals the command, now or once it has begun; the same signal once."""
        with self.lock:
            if number != self.ended and self.process is not None:
                self.process.send_signal(number)
            self.ended = number


def held(wanted: Wanted) -> list[Any]:
    """The machines, once all of them are free at a time. They are free again after this process.

    Raises SystemExit where Ray's package is missing.
    """
    try:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
    except ImportError:
        sys.exit(NO_RAY)
    ray.init(log_to_driver=False, logging_level=logging.WARNING)
    each = {"CPU": wanted.cpus, "GPU": float(wanted.gpus)}
    bundles = [{name: count for name, count in each.items() if count}] * wanted.count
    # Older versions refuse what they do not know.
    labels = {"bundle_label_selector": [dict(wanted.labels)] * wanted.count}
    group = ray.util.placement_group(
        bundles, strategy="STRICT_SPREAD", **(labels if wanted.labels else {})
    )
    ray.get(group.ready())
    return [
        ray.remote(Machine)
        .options(
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus,
            # One that runs is asked to end.
            max_concurrency=2,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, number),
        )
        .remote()
        for number in range(wanted.count)
    ]


def _serve(server: socket.socket, machines: list[Any], wanted: Wanted) -> None:
    """Starts what the step asks for: one command."""
    link, _ = server.accept()
    with link, link.makefile("rb") as asked:
        command = json.loads(asked.readline())
        _Started(link, machines).to_their_end(command, wanted, asked)


@dataclass
class _Started:
    """One command on all machines. What they say goes over the link, a JSON value a line."""

    link: socket.socket
    machines: list[Any]
    _codes: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def to_their_end(self, command: list[str], wanted: Wanted, asked: BinaryIO) -> None:
        """Runs it, and says the worst exit code: where one machine fails, all are to end."""
        import ray

        address, port = ray.get(self.machines[0].address.remote())
        where = {ADDRESS: address, PORT: str(port)}
        threading.Thread(target=self._heed, args=(asked,), daemon=True).start()
        hearing = []
        for number, machine in enumerate(self.machines):
            said = machine.run.options(num_returns="streaming").remote(
                _shim(wanted, number, command), {**where, NUMBER: str(number)}
            )
            hearing.append(threading.Thread(target=self._hear, args=(number, said), daemon=True))
            hearing[-1].start()
        for thread in hearing:
            thread.join()
        self._say(max(self._codes, key=abs))

    def _hear(self, number: int, said: Any) -> None:
        """Passes on what one machine says; one that is gone counts as one that failed."""
        import ray

        code = 1
        try:
            for reference in said:
                what = ray.get(reference)
                if isinstance(what, int):
                    code = what
                else:
                    self._say(what)
        except ray.exceptions.RayError as error:
            self._say(f"machine {number} is gone: {str(error).splitlines()[0]}\n")
        self._codes.append(code)
        if code:
            self._end(signal.SIGTERM)

    def _heed(self, asked: BinaryIO) -> None:
        """Ends all when the step says so, and at once when it has gone."""
        with suppress(OSError):
            for _ in asked:
                self._end(signal.SIGTERM)
        if len(self._codes) < len(self.machines):
            self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        for machine in self.machines:
            machine.end.remote(int(number))

    def _say(self, what: str | int) -> None:
        with self._lock, suppress(OSError):
            self.link.sendall(json.dumps(what).encode() + b"\n")


def _shim(wanted: Wanted, number: int, command: list[str]) -> list[str]:
    """What becomes the command on a machine, and is ended with the worker that started it."""
    names = ",".join((*wanted.named, NUMBER, ADDRESS, PORT))
    shim = [sys.executable, "-P", "-m", "lora_ci.execution.node", JOIN]
    return [*shim, f"{wanted.mark}-{number}", wanted.begun, names, *command]


if __name__ == "__main__":
    sys.exit(main(msgspec.json.decode(sys.argv[1], type=Wanted), sys.argv[2:]))
