"""Runs the demo on a real Ray or SLURM of this machine, which is started for it and ended after it.

python -m tools.demo_on ray
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Alone it takes five minutes on two cores.
TIMEOUT_S = 3600
# What the demo has to end its steps once it is told to.
GRACE_S = 90


@contextmanager
def on_ray() -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster, as the value of `--executor` and what the environment says of it."""
    from tests.execution.ray_world import own_cluster

    with own_cluster(token="", environment={}) as cluster:
        yield f"ray={cluster.address}", {}


@contextmanager
def on_slurm() -> Iterator[tuple[str, dict[str, str]]]:
    """As `on_ray`."""
    from tests.execution.slurm_world import PATH, PROGRAMS, Cluster

    if missing := [program for program in PROGRAMS if not shutil.which(program, path=PATH)]:
        sys.exit(f"needs SLURM ({', '.join(missing)}); next: python tools/system_packages.py")
    cluster = Cluster()
    try:
        yield "slurm", {"SLURM_CONF": str(cluster.conf)}
    finally:
        cluster.remove()


def play(executor: str, environment: dict[str, str]) -> int:
    """The demo's exit code. It has time to end its steps, whatever ends us."""
    command = [sys.executable, "-m", "lora_ci", "demo", "--executor", executor]
    print("$ lora-ci", *command[3:], flush=True)
    # Ctrl-C in a terminal reaches us alone, and it hears of it once.
    demo = subprocess.Popen(command, env=os.environ | environment, start_new_session=True)
    try:
        return demo.wait(timeout=TIMEOUT_S)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            try:
                demo.wait(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                demo.kill()


def main() -> int:
    """Starts the cluster, tells the story there, and leaves nothing of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("where", choices=("ray", "slurm"))
    where = {"ray": on_ray, "slurm": on_slurm}[parser.parse_args().where]
    # As Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with where() as (executor, environment):
            return play(executor, environment)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
