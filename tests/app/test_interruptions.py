"""Stopped or killed at any moment, a run leaves nothing behind, and the same command goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import RepoBuilder, files_of
from tests.command import Told, copy_repo, end, lora_ci, start
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 60, resolution: 16,
    checkpoint_every: 5}
loras:
  mei:
    dataset: datasets/mei
"""
PICTURES = 20
# Stands in for git: waits where it is told to, as git does for its input.
GIT = """\
#!/bin/sh
case "$BLOCK:$*" in
  plan:*ls-tree*) touch "$MARK"; exec sleep 60 ;;
  layout:*cat-file*) if [ -d "$STATE/inputs" ]; then touch "$MARK"; exec cat > /dev/null; fi ;;
esac
exec "$GIT" "$@"
"""
# Sends the process a signal when it plans again, which is between two stages.
BETWEEN = """\
import os, sys
import lora_ci.app.handle as flow
real, number = flow.plan_gathered, int(sys.argv.pop())
def plan_gathered(*given):
    os.kill(os.getpid(), number)
    return real(*given)
flow.plan_gathered = plan_gathered
from lora_ci.cli.main import entry
entry()
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    """A base model in DVC; a dataset in git, whose pictures take a while to check."""
    root = tmp_path_factory.mktemp("interruptions")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    folder = repo.root / "datasets" / "mei"
    folder.mkdir(parents=True)
    chance = np.random.default_rng(3)
    for i in range(PICTURES):
        small = Image.fromarray(chance.integers(0, 255, (6, 6, 3), np.uint8))
        small.resize((1500, 1500), Image.Resampling.NEAREST).save(folder / f"{i:02d}.png")
        (folder / f"{i:02d}.txt").write_text(f"mei, tiles number {i}\n")
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    return root


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory) -> tuple[dict[str, str], float]:
    """The adapters of a run that nobody stopped, and how long it took."""
    repo = copy_repo(template, tmp_path_factory.mktemp("undisturbed") / "copy")
    started = time.monotonic()
    told = lora_ci(repo.root, "train", "mei", "--json")
    return adapters(told), time.monotonic() - started


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def adapters(told: Told) -> dict[str, str]:
    """sha256 of what was trained, by name; without references a verdict stays open."""
    assert told.code in (0, 3), told.err
    steps = json.loads(told.out)["steps"]
    trained = next(s["result"] for s in steps if s["decision"]["stage"] == "train")
    return {artifact["name"]: artifact["sha256"] for artifact in trained["artifacts"]}


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def progress(repo: RepoBuilder, words: str) -> bool:
    """True once a step says so of itself."""
    files = (repo.root / ".lora-ci" / "steps").glob("*/progress.json")
    return any(words in file.read_text() for file in files)


def left(repo: RepoBuilder) -> list[str]:
    """Command lines of processes that still work on the repository."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(repo.root) in line:
            found.append(line)
    return found


def assert_nothing_left(repo: RepoBuilder) -> None:
    """Attempts of killed runs that wait for their turn see that all is done, and end."""
    deadline = time.monotonic() + 60
    while found := left(repo):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def stop_at(moment: str, repo: RepoBuilder, executor: str, number: signal.Signals) -> Told:
    """Ctrl-C is for the whole foreground group, SIGTERM for the process alone."""
    arguments = ("train", "mei", "--executor", executor)
    if moment == "between stages":
        command = [sys.executable, "-c", BETWEEN, *arguments, str(int(number))]
        done = subprocess.run(
            command, cwd=repo.root, capture_output=True, text=True, timeout=120, check=False
        )
        return Told(done.returncode, done.stdout, done.stderr)
    programs, mark = repo.root.parent / "programs", repo.root.parent / "mark"
    programs.mkdir()
    (programs / "git").write_text(GIT)
    (programs / "git").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GIT": shutil.which("git"),
        "BLOCK": moment,
        "MARK": str(mark),
        "STATE": str(repo.root / ".lora-ci"),
    }
    reached = {
        "plan": mark.exists,
        "layout": mark.exists,
        "validate": lambda: progress(repo, "images"),
        "train": lambda: progress(repo, "loss"),
    }
    process = start(repo.root, *arguments, env=environment)
    wait_for(reached[moment], process)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    return end(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("executor", ["inline", "local"])
@pytest.mark.parametrize("moment", ["plan", "layout", "validate", "train", "between stages"])
def test_a_signal_stops_a_run_wherever_it_is(repo, undisturbed, moment, executor, number):
    told = stop_at(moment, repo, executor, number)
    assert told.code == 130, told.err
    assert "interrupted; the same command goes on where it stopped" in told.err
    assert "Traceback" not in told.err
    assert left(repo) == []
    if moment == "train":
        assert list((repo.root / ".lora-ci" / "steps").glob("*/work/checkpoints/step-*"))
    if (executor == "inline") == (number is signal.SIGINT):
        again = lora_ci(repo.root, "train", "mei", "--executor", executor, "--json")
        assert adapters(again) == undisturbed[0]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_ctrl_c_while_modules_are_loaded_shows_no_traceback(repo, command):
    for milliseconds in range(100, 400, 60):
        process = start(repo.root, command)
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        assert end(process).code in (0, 130, -signal.SIGINT)


@pytest.fixture(scope="module")
def small(template, tmp_path_factory) -> Path:
    """A repository whose run takes seconds, judging included."""
    root = tmp_path_factory.mktemp("small") / "template"
    repo = copy_repo(template, root)
    shutil.rmtree(repo.root / "datasets")
    write_dataset(repo.root / "datasets" / "mei")
    repo.write(".lora-ci.yml", CONFIG + "    qa: {resolution: 16, steps: 1, seeds: 1}\n")
    repo.commit()
    return root


@pytest.mark.parametrize(("executor", "kills"), [("inline", 10), ("local", 5)])
def test_killed_at_random_moments_the_adapter_is_the_same_in_every_byte(
    small, tmp_path, executor, kills
):
    started = time.monotonic()
    repo = copy_repo(small, tmp_path / "undisturbed")
    wanted = adapters(lora_ci(repo.root, "run", "--json"))
    took_s = time.monotonic() - started
    chance = random.Random(11)
    moments = [took_s * (i + chance.random()) / kills for i in range(kills)]
    chance.shuffle(moments)
    copies = 0

    def finish(repo: RepoBuilder) -> None:
        told = lora_ci(repo.root, "run", "--executor", executor, "--json")
        assert adapters(told) == wanted

    repo = copy_repo(small, tmp_path / "0")
    while moments:
        process = start(repo.root, "run", "--executor", executor, "--quiet")
        try:
            process.wait(moments[-1])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            moments.pop()
            continue
        # It was faster than the moment: look at what it made, and kill another one.
        end(process)
        finish(repo)
        copies += 1
        repo = copy_repo(small, tmp_path / str(copies))
        moments.insert(0, moments.pop() * 0.9)
    finish(repo)
    assert_nothing_left(repo)


def test_a_step_that_outlives_its_run_is_adopted(repo, undisturbed):
    process = start(repo.root, "train", "mei", "--executor", "local")
    wait_for(lambda: progress(repo, "loss"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (survivor,) = left(repo)
    folder = Path(next(word for word in survivor.split() if "/steps/" in word))
    second = start(repo.root, "train", "mei", "--executor", "local", "--json")
    wait_for((folder / "result.json").exists, second)
    written = (folder / "result.json").stat().st_mtime_ns
    assert adapters(end(second)) == undisturbed[0]
    assert (folder / "result.json").stat().st_mtime_ns == written
    assert_nothing_left(repo)
