"""Trainers of others that fail, hang, die, lie or are killed: whose fault it is; nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lora_ci.core.children import clean_environment
from lora_ci.core.errors import Interrupted, LoraCIError
from lora_ci.core.finding import Finding
from lora_ci.core.keeper import marked
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, StepResult
from lora_ci.steps.outcome import result_of
from lora_ci.training.backend import Foreign
from lora_ci.training.foreign.process import Patience
from tests.tiny_sd import write_dataset
from tests.trainers import git, install, set_mood
from tests.training.place import Place, train_spec

pytestmark = pytest.mark.slow

STEPS = 6
SETTINGS = TrainSettings(
    backend="sd-scripts", rank=2, batch_size=2, steps=STEPS, resolution=16, checkpoint_every=2
)
PATIENCE = Patience(silence_s=30.0, grace_s=1.0, poll_s=0.02)
DEADLINE_S = 30.0

Train = Callable[..., StepResult]


class Bench:
    """A trainer, a base model and pictures."""

    def __init__(self, root: Path, base: Path, dataset: Path) -> None:
        self.root, self.base, self.dataset = root, base, dataset
        self.trainer = install(root / "trainer")
        self.place: Place | None = None

    def train(
        self,
        *,
        patience: Patience = PATIENCE,
        stop: Callable[[Place], bool] = lambda _: False,
        mood: dict[str, Any] | None = None,
        **changed: Any,
    ) -> StepResult:
        set_mood(self.trainer, **(mood or {}))
        settings = replace(SETTINGS, **{"backend_folder": str(self.trainer)} | changed)
        spec = train_spec(settings, {"dataset": self.dataset, "base_model": self.base})
        place = self.place = Place(root=self.root, spec=spec)
        place.stop = lambda: stop(place)
        return Foreign(patience).train(spec, place)

    def fails(self, **given: Any) -> tuple[Outcome, Finding]:
        """The outcome of the step, and the first finding."""
        with pytest.raises(LoraCIError) as told:
            self.train(**given)
        result = result_of(told.value, "train of mei", self.root)
        return result.outcome, result.findings[0]

    def started_at(self) -> int:
        return int((self.trainer / "started_at").read_text())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pictures"), images=3)


@pytest.fixture
def bench(tmp_path: Path, tiny_sd: Path, dataset: Path) -> Bench:
    return Bench(tmp_path, tiny_sd, dataset)


def gone(pid: int) -> bool:
    """Waits for the end of a process that is not ours."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("mood", "outcome", "rule", "words"),
    [
        ({"mute": True}, "failed", "train.no-result", "it printed nothing"),
        ({"file": "none"}, "failed", "train.no-result", "no new adapter.safetensors"),
        ({"file": "link"}, "failed", "train.no-result", "left no adapter"),
        ({"file": "torn"}, "failed", "lora-ci.input", "adapter.safetensors"),
        ({"file": "nan"}, "failed", "lora-ci.input", "NaN"),
        ({"file": "foreign"}, "failed", "lora-ci.input", "adapter.safetensors"),
        ({"file": "other_shape"}, "failed", "adapter.shape", "made for a weight of (7, 7)"),
        ({"exit": 3, "leave_at": 2, "says": "boom"}, "failed", "train.failed", "exit code 3 after"),
        ({"nan": True}, "failed", "train.diverged", "no number any more"),
        ({"exit": 1, "leave_at": 2, "says": OOM}, "error", "train.out-of-memory", "GPU's memory"),
        ({"kill_at": 3}, "error", "train.killed", "killed by SIGKILL after step"),
        (
            {"exit": 1, "leave_at": 1, "says": "ModuleNotFoundError: No module named 'toml'"},
            "error",
            "train.not-installed",
            "No module named 'toml'",
        ),
        (
            {"exit": 1, "leave_at": 1, "says": "OSError: [Errno 28] No space left on device"},
            "error",
            "machine.disk-full",
            "no room on the disk",
        ),
    ],
)
def test_what_goes_wrong_is_told_with_whose_fault_it_is(
    bench: Bench, mood: dict[str, Any], outcome: str, rule: str, words: str
):
    found, finding = bench.fails(mood=mood)
    assert (found, finding.rule) == (outcome, rule), finding.message
    assert words in finding.message
    assert finding.message.isprintable()


def test_the_last_words_of_a_trainer_are_in_the_finding_and_all_in_its_log(bench: Bench):
    says = "line one\nline two\x1b[31m\nline three"
    _, finding = bench.fails(mood={"exit": 3, "leave_at": 2, "says": says})
    assert "line one | line two�[31m | line three" in finding.message
    log = (bench.root / "work" / "trainer.log").read_text()
    assert "line one" in log
    assert "avr_loss" in log


def test_a_trainer_that_says_nothing_for_too_long_is_ended(bench: Bench):
    patience = replace(PATIENCE, silence_s=1.0)
    outcome, finding = bench.fails(mood={"hang_at": 3}, patience=patience)
    assert (outcome, finding.rule) == ("error", "train.silent")


def test_an_old_file_is_no_result(bench: Bench):
    bench.train()
    outcome, finding = bench.fails(mood={"file": "none"})
    assert (outcome, finding.rule) == ("failed", "train.no-result")


def test_a_noisy_trainer_is_read_to_its_end(bench: Bench):
    result = bench.train(mood={"noise_bytes": 10_000_000})
    assert result.metrics["steps"] == STEPS
    assert result.details["loss"][-1][0] == STEPS


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_stop_leaves_no_process_behind(bench: Bench, stubborn: bool):
    mood = {"child": True, "stubborn": stubborn, "slow_s": 0.05, "hang_at": 4}
    with pytest.raises(Interrupted):
        bench.train(mood=mood, stop=lambda place: any(done >= 2 for done, _, _ in place.told))
    assert gone(int((bench.trainer / "child").read_text()))


def test_a_trainer_that_ended_leaves_no_process_behind(bench: Bench):
    bench.train(mood={"child": True})
    assert gone(int((bench.trainer / "child").read_text()))


RUN = """
import sys
from pathlib import Path
from lora_ci.training.foreign.process import run_trainer
from lora_ci.training.foreign.progress import Watched
folder = Path(sys.argv[1])
command = (sys.executable, "any.py", str(folder / "training.json"))
told = lambda done, total, note: print(done, flush=True)
run_trainer(
    command, Watched(total=5), folder=folder, log=folder / "log", told=told, stop=lambda: False
)
"""


def test_a_trainer_does_not_outlive_one_that_was_killed(bench: Bench):
    set_mood(bench.trainer, child=True, hang_at=2)
    document = {"pictures": [], "steps": 5, "settings": {"rank": 2}}
    (bench.trainer / "training.json").write_text(json.dumps(document))
    parent = subprocess.Popen(
        [sys.executable, "-c", RUN, str(bench.trainer)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    while parent.stdout.readline().strip() != "2":
        assert parent.poll() is None
    mark = json.loads((bench.trainer / "environment.json").read_text())["LORA_CI_CHILD"]
    alive = marked(mark)
    assert len(alive) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in alive)


def test_a_trainer_gets_what_it_needs_and_no_secret(bench: Bench, monkeypatch):
    for name in ("GITHUB_TOKEN", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "CUDA_KEY"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("HF_HOME", "/cache")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    bench.train()
    given = json.loads((bench.trainer / "environment.json").read_text())
    assert "hidden" not in given.values()
    assert (given["HF_HOME"], given["CUDA_VISIBLE_DEVICES"]) == ("/cache", "1")
    assert "PATH" in clean_environment(os.environ)


def test_a_killed_training_goes_on_from_its_newest_state(bench: Bench):
    bench.fails(mood={"kill_at": 5})
    result = bench.train()
    assert bench.started_at() == 4
    assert result.details["loss"][0][0] == 5
    assert result.details["loss"][-1][0] == STEPS


def test_a_state_that_cannot_be_read_is_given_up_for_an_older_one(bench: Bench):
    bench.fails(mood={"kill_at": 5})
    result = bench.train(mood={"unreadable_state": True})
    assert result.outcome is Outcome.PASSED
    assert bench.started_at() == 0


def test_a_full_gpu_gives_no_state_up(bench: Bench):
    bench.fails(mood={"kill_at": 5})
    bench.fails(mood={"exit": 1, "mute": False, "says": OOM, "unreadable_state": True})
    bench.train()
    assert bench.started_at() == 4


def test_versions_are_recorded_and_checked(bench: Bench):
    commit = git(bench.trainer, "rev-parse", "HEAD")
    for wanted in (None, commit, commit[:10], "v1.0"):
        result = bench.train(backend_version=wanted)
        trainer = result.details["backend"]
        assert trainer["name"] == "sd-scripts"
        assert (trainer["commit"], trainer["torch"]) == (commit, "2.0.stand-in")
    for wanted in ("v2.0", "0" * 40, commit[:3]):
        outcome, finding = bench.fails(backend_version=wanted)
        assert (outcome, finding.rule) == ("error", "train.other-version")
    (bench.trainer / "train_network.py").write_text("changed")
    outcome, finding = bench.fails(backend_version=commit)
    assert finding.rule == "train.other-version"
    assert "has changes" in finding.message


def test_a_trainer_that_is_not_here_is_the_machines_fault(bench: Bench, tmp_path: Path):
    outcome, finding = bench.fails(backend_folder=str(tmp_path / "nowhere"))
    assert (outcome, finding.rule) == ("error", "train.not-installed")
    assert "has no train_network.py" in finding.message

    python = bench.trainer / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/nowhere\n")
    outcome, finding = bench.fails()
    assert (outcome, finding.rule) == ("error", "train.not-installed")
    assert "cannot be run" in finding.message

    python.unlink()
    python.symlink_to("/nowhere/python")
    outcome, finding = bench.fails()
    assert (outcome, finding.rule) == ("error", "train.not-installed")

    python.unlink()
    (bench.trainer / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')")
    outcome, finding = bench.fails()
    assert (outcome, finding.rule) == ("error", "train.not-installed")
    assert "libcudart.so.12 is missing" in finding.message


def test_a_command_that_is_no_program_is_the_machines_fault(bench: Bench):
    given = {"backend": "command", "command": ("/nowhere/train", "{config}")}
    outcome, finding = bench.fails(**given)
    assert (outcome, finding.rule) == ("error", "train.not-started")
    outcome, finding = bench.fails(**given, backend_folder=str(bench.root / "none"))
    assert (outcome, finding.rule) == ("error", "train.not-installed")
