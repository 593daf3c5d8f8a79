"""A real SLURM for tests: one cluster a process, of two nodes that are both this machine."""

import atexit
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from lora_ci.execution.local import Command
from lora_ci.execution.processes import of_mark
from lora_ci.execution.slurm import SlurmExecutor

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
# Where Debian has the daemons; not everybody has it on the PATH.
PATH = f"{os.environ['PATH']}:/usr/sbin"
START_S = 60.0
PR_SET_PDEATHSIG = 1
NAME = "lora-ci-test.conf"
# SLURM wants a device for each GPU, and does not look what it is.
DEVICES = ("null", "zero", "full", "random")
CONF = """\
ClusterName=lora-ci-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=1
MpiDefault=none
MailProg=/bin/true
KillWait=3
MessageTimeout=5
GresTypes=gpu
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=32 Gres=gpu:4
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=32
PartitionName=main Nodes=one Default=YES
PartitionName=both Nodes=one,two
PartitionName=short Nodes=one MaxTime=1
PartitionName=urgent Nodes=one PriorityTier=10
"""


class Cluster:
    """Its daemons are children of this process, and end with it however that ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        # The socket is for everybody, and munge looks whether it is.
        self.folder.chmod(0o711)
        self.conf = self.folder / NAME
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        (self.folder / "state").mkdir()
        (self.folder / "gres.conf").write_text(
            "".join(f"NodeName=one Name=gpu File=/dev/{device}\n" for device in DEVICES)
        )
        user, host = pwd.getpwuid(os.getuid()).pw_name, socket.gethostname().partition(".")[0]
        self.conf.write_text(
            CONF.format(folder=self.folder, user=user, host=host, ports=_free_ports(3))
        )
        places = ("key-file", "socket", "pid-file", "seed-file")
        self._start(
            "munged", "--foreground", "--num-threads=2",
            *(f"--{place}={self.folder}/munge.{place.partition('-')[0]}" for place in places),
        )  # fmt: skip
        self._until((self.folder / "munge.socket").exists)
        self.start_controller()
        for node in ("one", "two"):
            self._start("slurmd", "-D", "-N", node, called=node)
        self._until(lambda: self.ask("sinfo", "-hN", "-o%T").split() == ["idle"] * 5)

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints; empty if it fails."""
        ended = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False
        )
        return ended.stdout if ended.returncode == 0 else ""

    def start_controller(self) -> None:
        """Starts `slurmctld`, which reads the state that another left, and waits for it."""
        self._start("slurmctld", "-D")
        self._until(lambda: "UP" in self.ask("scontrol", "ping"))

    def kill_controller(self) -> None:
        """Ends `slurmctld` as a machine ends that loses power."""
        daemon = self._daemons.pop("slurmctld")
        daemon.kill()
        daemon.wait()

    def remove(self) -> None:
        """Ends all of it, jobs too, and removes what it kept."""
        mark = f"SLURM_CONF={self.conf}"
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in of_mark(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + 5.0
            while any(d.poll() is None for d in self._daemons.values()) or list(of_mark(mark)):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, program: str, *args: str, called: str = "") -> None:
        with (self.folder / f"{called or program}.log").open("ab") as log:
            self._daemons[called or program] = subprocess.Popen(
                [program, *args],
                env=self._environment(),
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the tests; they end it.
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread is there yet
            )

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not true():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = [f"{log}:\n{log.read_text()}" for log in self.folder.glob("*.log")]
                raise AssertionError("SLURM does not start\n" + "\n".join(logs))
            time.sleep(0.02)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}


@cache
def cluster() -> Cluster:
    """The cluster of this process, started when it is first asked for."""
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=PATH)]:
        pytest.skip(f"needs SLURM; not on this machine: {', '.join(missing)}")
    started = Cluster()
    atexit.register(started.remove)
    return started


@contextmanager
def slurm_executor(root: Path, command: Command, **options: object) -> Iterator[SlurmExecutor]:
    """An executor at the cluster of this process, or of the one that started this one."""
    with ExitStack() as stack:
        if Path(os.environ.get("SLURM_CONF", "")).name != NAME:
            environment = stack.enter_context(pytest.MonkeyPatch.context())
            environment.setenv("SLURM_CONF", str(cluster().conf))
        given = {"every_s": 0.1, "lag_s": 1.0, **options}
        yield SlurmExecutor(root / "objects", root / "cache", command=command, **given)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
