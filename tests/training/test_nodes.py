"""Machines of a cluster train one adapter together; `srun` is stood in for by a script."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome
from lora_ci.training.processes import launcher_of
from tests.tiny_sd import write_dataset
from tests.training.test_team import SETTINGS, adapter_of, farthest, run_step, spec_of

# Starts the command once for each node, as srun does, and ends with the worst code.
SRUN = """#!/bin/bash
for word in "$@"; do
  case $word in --nodes=*) nodes=${word#*=};; --*) ;; *) break;; esac
  shift
done
for ((i = 0; i < nodes; i++)); do SLURM_NODEID=$i "$@" & pids+=($!); done
trap 'kill -TERM "${pids[@]}"' TERM
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit $code
"""


def test_on_one_machine_no_cluster_is_asked():
    command = launcher_of(2, 1, {"SLURM_JOB_NUM_NODES": "2"})
    assert "srun" not in command


# Says who it is; the first of a team fails, and the others wait for long.
MEMBER = """
import os, sys, time
who = [os.environ[n] for n in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")]
sys.stdout.write(" ".join(who) + chr(10))
sys.stdout.flush()
if os.environ["LOCAL_RANK"] == "0":
    sys.exit(3)
time.sleep(600)
"""


def test_the_second_of_two_machines_starts_its_share_and_ends_all_where_one_fails():
    where = {"SLURM_NODEID": "1", "MASTER_ADDR": "first", "MASTER_PORT": "77"}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "lora_ci.training.launch", "2", "2", "-c", MEMBER],
        env={**os.environ, **where},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(ended.stdout.splitlines())[0] == "2 0 4 first 77"
    assert ended.returncode == 3


def test_too_few_machines_are_named_with_the_way_out():
    with pytest.raises(
        InfrastructureError, match=r"`resources.nodes: 2`, but this step has 1"
    ) as e:
        launcher_of(1, 2, {})
    assert "--executor slurm" in (e.value.findings[0].hint or "")


@pytest.mark.slow
def test_two_machines_make_the_adapter_of_one(tmp_path, tiny_sd, monkeypatch):
    write_dataset(tmp_path / "dataset")
    settings = replace(SETTINGS, steps=10)
    alone = run_step(tmp_path, "alone", spec_of(tmp_path, tiny_sd, settings, 1))
    assert alone.outcome is Outcome.PASSED, alone.findings
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    spec = spec_of(tmp_path, tiny_sd, settings, 1)
    spread = replace(spec, resources=replace(spec.resources, nodes=2))
    both = run_step(tmp_path, "both", spread)
    assert both.outcome is Outcome.PASSED, both.findings
    assert both.details["processes"] == 2
    assert farthest(adapter_of(tmp_path, alone), adapter_of(tmp_path, both)) <= 1e-5
