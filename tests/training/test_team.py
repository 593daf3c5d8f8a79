"""Two processes make the adapter of one; none outlives another's end."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Outcome, Resources, Stage, StepInput, StepSpec
from lora_ci.formats.read import read_adapter
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(
    rank=4, alpha=2.0, learning_rate=3e-3, batch_size=5, steps=40, resolution=16,
    checkpoint_every=5, seed=3, validation_share=0.2, validate_every=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("team")
    write_dataset(root / "dataset")
    return root


def spec_of(root: Path, base: Path, settings: TrainSettings, gpus: int) -> StepSpec:
    return StepSpec(
        stage=Stage.TRAIN,
        lora="mei",
        fingerprint="f" * 64,
        inputs={
            "dataset": StepInput(content_id="d1", path=str(root / "dataset")),
            "base_model": StepInput(content_id="b1", path=str(base)),
        },
        params={"settings": settings_json(settings), "trigger": "mei"},
        resources=Resources(gpus=gpus),
    )


def run_step(root: Path, name: str, spec: StepSpec):
    folder = StepFolder(root / name)
    folder.write_spec(spec)
    return exec_step(folder, LocalStore(root / "objects"), root / "cache")


def adapter_of(root: Path, result):
    path = LocalStore(root / "objects").get(result.artifact("adapter.safetensors").sha256)
    return read_adapter(path).layers


def farthest(one, other) -> float:
    return max(float((one[name].delta() - other[name].delta()).abs().max()) for name in one)


def ranks_of(folder: Path) -> list[int]:
    """The processes that train in a step folder, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "lora_ci.training.process" in words and str(folder) in " ".join(words):
            found.append(int(entry.name))
    return found


def once(ready, then, deadline_s: float = 120.0) -> threading.Thread:
    """A thread that waits for something, then does something, then ends."""

    def wait() -> None:
        end = time.monotonic() + deadline_s
        while not ready() and time.monotonic() < end:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_two_processes_make_the_adapter_of_one_and_go_on_after_a_kill(root, tiny_sd, monkeypatch):
    # What a tracker looks for; a trainer of others would not get it.
    monkeypatch.setenv("WANDB_API_KEY", "k1")
    environments = []
    alone = run_step(root, "alone", spec_of(root, tiny_sd, SETTINGS, 1))
    assert alone.outcome is Outcome.PASSED, alone.findings
    together, checkpoints = root / "together", root / "together" / "work" / "checkpoints"
    spec = spec_of(root, tiny_sd, SETTINGS, 2)

    def kill_one() -> None:
        pid = max(pid for pid in ranks_of(together) if is_python_rank(pid))
        environments.append(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        os.kill(pid, signal.SIGKILL)

    killer = once(lambda: checkpoints.is_dir() and any(checkpoints.glob("step-*")), kill_one)
    killed = run_step(root, "together", spec)
    killer.join()
    assert killed.outcome is Outcome.ERROR
    assert killed.findings[0].rule == "train.process-died"
    assert b"WANDB_API_KEY=k1" in environments[0]
    assert ranks_of(together) == []
    done = run_step(root, "together", spec)
    assert done.outcome is Outcome.PASSED, done.findings
    assert done.details["processes"] == 2
    assert farthest(adapter_of(root, alone), adapter_of(root, done)) <= 1e-5
    assert done.metrics["validation_loss"] == pytest.approx(
        alone.metrics["validation_loss"], rel=1e-4
    )
    assert [step for step, _ in done.details["loss"]] == [10, 20, 30, 40]


def is_python_rank(pid: int) -> bool:
    """A process of the team, not its launcher."""
    return b"lora_ci.training.launch" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_stop_reaches_all_and_another_number_of_processes_goes_on(root, tiny_sd):
    settings = replace(SETTINGS, steps=400, checkpoint_every=1000)
    folder = StepFolder(root / "stopped")
    spec = spec_of(root, tiny_sd, settings, 2)

    def training() -> bool:
        told = folder.read_progress()
        return bool(told) and told.done >= 3 and told.total == 400

    def stop_all() -> None:
        # As a cluster may: all processes of the step, whose own launcher then says so again.
        for pid in (*ranks_of(folder.path), os.getpid()):
            os.kill(pid, signal.SIGTERM)

    stopper = once(training, stop_all)
    stopped = run_step(root, "stopped", spec)
    stopper.join()
    assert stopped.outcome is Outcome.INTERRUPTED
    assert ranks_of(folder.path) == []
    (newest,) = (folder.workdir / "checkpoints").glob("step-*")
    reached = int(newest.stem.removeprefix("step-"))
    assert 3 <= reached < 400
    # Fewer steps than it would have taken: the budget is no part of what is compared here.
    short = replace(settings, steps=reached + 3, schedule="constant")
    folder.write_spec(spec_of(root, tiny_sd, short, 1))
    done = exec_step(folder, LocalStore(root / "objects"), root / "cache")
    assert done.outcome is Outcome.PASSED
    assert done.metrics["steps"] == reached + 3
