"""What an operator sees of the machines that run steps, and tells them."""

import json

import pytest

from lora_ci.cli.main import main
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.machine import Gpu, Machine
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Resources, Stage, StepSpec
from lora_ci.ledger.ledger import Ledger, open_ledger
from tests.ledgers import new_ledger

GPUS = tuple(
    Gpu(index=i, uuid=f"GPU-{i}", name="RTX 4090", total_gib=23.988, free_gib=20.5)
    for i in range(2)
)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """One machine; a training on it, a check of a dataset, and a step that fits nowhere."""
    ledger = open_ledger(new_ledger(tmp_path), SystemClock())
    ledger.runners.see(Machine(name="gpu-1", gpus=GPUS, slots=4))
    ledger.start_run("run-1", Event(kind=EventKind.PUSH, repo="r", head="h"))
    add(ledger, "mei", Stage.TRAIN, Resources(gpus=1, vram_gib=12))
    add(ledger, "mei", Stage.VALIDATE, Resources())
    places = {
        Stage.TRAIN: {"node": "gpu-1", "gpus": ["GPU-1"]},
        Stage.VALIDATE: {"node": "gpu-1"},
    }
    for step in ledger.queue.unfinished("run-1"):
        ledger.queue.begin([(step, places[step.stage])], executor="local")
    add(ledger, "large", Stage.TRAIN, Resources(gpus=1, vram_gib=24))
    yield ledger
    ledger.close()


def add(ledger: Ledger, lora: str, stage: Stage, resources: Resources) -> None:
    fingerprint = make_fingerprint(stage, {"lora": lora})
    decision = Decision(
        lora=lora, stage=stage, action=Action.RUN, why="test", fingerprint=fingerprint
    )
    spec = StepSpec(
        stage=stage, lora=lora, fingerprint=fingerprint.value, inputs={}, params={},
        resources=resources,
    )  # fmt: skip
    ledger.queue.add("run-1", decision, spec, commit="c")


def call(tmp_path, *words: str) -> int:
    return main(["runners", *words, "--state", str(tmp_path)])


def test_gpus_and_what_is_on_them(ledger, tmp_path, capsys):
    assert call(tmp_path, "list") == 0
    head, first, second, slots, misfit = capsys.readouterr().out.splitlines()
    assert head.split() == ["runner", "state", "seen", "GPU", "GiB", "free", "steps"]
    assert first.split()[:2] == ["gpu-1", "active"]
    assert first.split()[-5:] == ["0", "RTX", "4090", "23.9", "20.5"]
    assert second.split() == [
        "1",
        "RTX",
        "4090",
        "23.9",
        "20.5",
        "train",
        "of",
        "mei",
        "(12",
        "GiB)",
    ]
    assert slots.strip().split("  ")[0] == "none: 1 of 4 slots"
    assert slots.endswith("validate of mei")
    assert misfit == ("fits nowhere: train of large asks for 24 GiB; the largest GPU has 23.98")


def test_a_machine_without_gpus_has_no_slots_to_tell_of(ledger, tmp_path, capsys):
    # Two steps went on there at a time, as `--parallel 2` says; it has two cores.
    ledger.runners.see(Machine(name="gpu-1", slots=1, cpu_only=True))
    assert call(tmp_path, "list") == 0
    assert "none: 2 steps  " in capsys.readouterr().out


def test_the_same_for_programs(ledger, tmp_path, capsys):
    assert call(tmp_path, "list", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "lora-ci.runners/1"
    (runner,) = told["runners"]
    assert [gpu["uuid"] for gpu in runner["gpus"]] == ["GPU-0", "GPU-1"]
    assert [(s["stage"], s["gpus"]) for s in runner["steps"]] == [
        ("train", ["GPU-1"]),
        ("validate", []),
    ]
    assert told["misfits"][0]["lora"] == "large"


def test_a_machine_is_drained_and_resumed(ledger, tmp_path, capsys):
    assert call(tmp_path, "drain", "gpu-1", "--why", "a new fan") == 0
    assert "save what they have and go" in capsys.readouterr().out
    assert call(tmp_path, "list") == 0
    shown = capsys.readouterr().out
    assert "gpu-1   drained" in shown
    assert "gpu-1 is drained: a new fan" in shown
    ledger.runners.see(Machine(name="gpu-1", gpus=GPUS))
    assert ledger.runners.find("gpu-1").state == "drained"
    assert call(tmp_path, "resume", "gpu-1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "lora-ci.runner/1", "name": "gpu-1", "state": "active", "why": "",
    }  # fmt: skip
    assert call(tmp_path, "cordon", "gpu-1", "--why", "tests") == 0
    assert ledger.runners.find("gpu-1").state == "cordoned"


def test_a_machine_that_nobody_knows(ledger, tmp_path, capsys):
    assert call(tmp_path, "drain", "gpu-7", "--why", "x") == 2
    assert "no runner `gpu-7` was ever seen" in capsys.readouterr().err


def test_where_nothing_ever_ran(tmp_path, capsys):
    assert call(tmp_path, "list") == 0
    assert capsys.readouterr().out == "no runner was seen yet\n"
    assert call(tmp_path, "resume", "gpu-1") == 2
    assert not (tmp_path / "ledger.db").exists()
