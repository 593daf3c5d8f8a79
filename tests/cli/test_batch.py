"""Many LoRAs from folders in one go: the list is read strictly, one fault ends no other job."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from lora_ci.app.batch import Board, Ended, Planned, Progressed, Started, read_batch
from lora_ci.cli.main import main
from lora_ci.config.jobs import read_jobs
from lora_ci.core.errors import UsageError
from lora_ci.core.step import Outcome, Stage
from lora_ci.diffusion.families import SD1
from tests.command import end, lora_ci, running

ROOT = Path(__file__).parents[2]
TOYS = """\
import sys
if "exec-step" in sys.orig_argv or "batch" in sys.orig_argv:
    from lora_ci.core.step import Stage
    from lora_ci.steps import table
    table.TABLE.update(dict.fromkeys(Stage, "tests.cli.batch_toy:run"))
"""
# Sends the process a signal when it plans again, while other steps go on.
BETWEEN = """\
    if "batch" in sys.orig_argv:
        import os, signal
        import lora_ci.app.handle as flow
        real = flow.plan_gathered
        def plan_gathered(*given):
            os.kill(os.getpid(), signal.SIGINT)
            return real(*given)
        flow.plan_gathered = plan_gathered
"""


class Place:
    """A folder with a list of jobs, their datasets and a base model; toys do the stages."""

    def __init__(self, root: Path) -> None:
        self.root = root / "a place"
        for part in SD1.parts:
            (self.root / "models" / "tiny" / part).mkdir(parents=True)
            (self.root / "models" / "tiny" / part / "x.safetensors").write_bytes(b"x")
        self.toys = root / "toys" / "sitecustomize.py"
        self.toys.parent.mkdir()
        self.toys.write_text(TOYS)
        self.env = {"PYTHONPATH": f"{root / 'toys'}:{ROOT}"}

    def jobs(self, **triggers: str) -> list[str]:
        """Writes a list of jobs, each with a dataset of its own; what to type."""
        lines = ["defaults: {base_model: models/tiny}", "jobs:"]
        for name, trigger in triggers.items():
            dataset = self.root / "pictures" / name
            dataset.mkdir(parents=True, exist_ok=True)
            (dataset / "a.png").write_text(name)
            lines.append(f"- {{name: {name}, dataset: pictures/{name}, trigger: {trigger}}}")
        (self.root / "jobs.yml").write_text("\n".join(lines))
        return ["batch", "jobs.yml"]


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# The list


def read(tmp_path: Path, text: str):
    (tmp_path / "jobs.yml").write_text(text)
    return read_jobs(tmp_path / "jobs.yml")


def refused(tmp_path: Path, text: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert {f.file for f in caught.value.findings} == {"jobs.yml"}
    return [(f.line, f.column, f.message) for f in caught.value.findings]


def test_a_plain_list_and_one_with_defaults_say_the_same(tmp_path):
    job = "{name: mei, dataset: a, base_model: m, references: r, trigger: m31, train: {rank: 8}}"
    plain = read(tmp_path, f"- {job}").loras["mei"]
    text = f"defaults: {{type: style, train: {{rank: 4, seed: 3}}}}\njobs:\n- {job}"
    with_defaults = read(tmp_path, text).loras["mei"]
    assert (plain.trigger, plain.train.rank, plain.qa.references) == ("m31", 8, "r")
    assert (with_defaults.type, with_defaults.train.rank) == ("style", 8)
    assert with_defaults.train.seed == 3


def test_all_mistakes_are_told_at_once_each_with_its_place(tmp_path):
    found = refused(
        tmp_path,
        "defaults: {base_model: m, trane: {rank: 4}}\n"
        "jobs:\n"
        "- {name: mei, dataset: a, train: {rank: many}}\n"
        "- {name: mei, dataset: b}\n"
        "- {dataset: c}\n"
        "- just text\n"
        "- {name: Leo!, dataset: ../d}\n"
        "- {name: ann, dataset: a, refrences: x}\n"
        "- {name: bob, deploy: {targets: [x]}}\n"
        "- {name: 7, dataset: a}\n"
        "- {name: eve, dataset: a, references: r, qa: {references: r}}\n",
    )
    places = [(line, column) for line, column, _ in found]
    assert places == [
        (1, 27), (3, 41), (4, 10), (5, 3), (6, 3), (7, 10), (7, 25), (8, 27), (9, 10), (9, 15),
        (10, 10),
        (11, 27),
    ]  # fmt: skip
    words = [message for _, _, message in found]
    for position, part in enumerate(
        [
            "`trane` is no key of defaults", "`jobs.mei.train.rank`", "two jobs are called `mei`",
            "job 3 has no `name`", "job 4 is", "`Leo!` is no name of a job",
            "leads out of the folder that the file of jobs is in", "`refrences` is no key",
            "`jobs.bob` has no `dataset`", "`deploy` is no key", "`name` is 7", "are the same",
        ]
    ):  # fmt: skip
        assert part in words[position]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no job in the list"),
        ("[]", "no job in the list"),
        ("jobs: []", "no job in the list"),
        ("jobs: {mei: {}}", "expected a list"),
        ("nothing", "expected keys and values"),
        ("- a: &a [x, x]\n- b: [*a, *a]", "anchors and aliases are not allowed"),
        ("- {name: mei", "not YAML"),
        ("version: 9\njobs: [{name: mei, dataset: a, base_model: b}]", "version 9 is not known"),
        ("".join(f"- {{name: job-{i}, dataset: a}}\n" for i in range(10_000)), "10,000 jobs"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path, text, words):
    found = refused(tmp_path, text)
    assert words in " ".join(message for _, _, message in found)


def test_what_is_not_there_is_told_before_anything_runs(place, capsys):
    place.jobs(mei="mei")
    file = place.root / "jobs.yml"
    own = "- {name: all, dataset: ., references: none}\n- {name: leo, dataset: no/leo}\n"
    file.write_text(file.read_text() + "\n" + own)
    assert main(["batch", str(file)]) == 2
    err = capsys.readouterr().err
    assert "jobs.yml:4:24: `.` holds lora-ci's own files" in err
    assert "jobs.yml:4:39: `none` is not there" in err
    assert "jobs.yml:5:24: `no/leo` is not there" in err
    assert not (place.root / ".lora-ci").exists()
    assert main(["batch", str(file.parent / "none.yml"), "--json"]) == 2
    (told,) = events(capsys.readouterr().out)
    assert told["event"] == "error"
    assert "there is no file" in told["findings"][0]["message"]


def test_what_is_to_be_done_needs_no_repository(tmp_path):
    text = "- {name: mei, dataset: a, base_model: m, train: own.toml}"
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    (finding,) = caught.value.findings
    assert finding.message == "own.toml is not there"
    assert finding.hint == "next: write own.toml, or write the settings inline"


def test_a_thousand_jobs_are_read_at_once(tmp_path):
    (tmp_path / "a").mkdir()
    jobs = "".join(f"- {{name: job-{i}, dataset: a, base_model: a}}\n" for i in range(1000))
    (tmp_path / "jobs.yml").write_text(jobs)
    source = read_batch(tmp_path / "jobs.yml", tmp_path / "state")
    assert len(source.config.loras) == 1000
    assert list(source.inputs) == ["a"]


def test_the_docs_name_every_option_and_their_example_is_read(tmp_path):
    text = (ROOT / "docs" / "batch.md").read_text()
    for command in ("batch", "logs"):
        options = set(re.findall(r"--[a-z-]+", lora_ci(tmp_path, command, "--help").out))
        named = set(re.findall(r"--[a-z-]+", text))
        assert options - named <= {"--help", "--quiet", "--repo"}
    example = text.partition("```yaml\n")[2].partition("```")[0]
    loras = read(tmp_path, example).loras
    assert (loras["watercolor"].train.rank, loras["mei"].train.rank) == (32, 16)


# How it stands


def test_the_board_knows_what_is_to_come_and_how_long_it_takes():
    stages = [("a", Stage.TRAIN), ("a", Stage.QA), ("b", Stage.TRAIN), ("b", Stage.QA)]
    board = Board(Planned(run="r", jobs=("a", "b"), stages=tuple(stages)), parallel=2)
    board.apply(Started(job="a", stage=Stage.TRAIN, attempt=1))
    assert board.left_s() is None
    board.apply(end_of("a", Stage.TRAIN, 100.0))
    board.apply(Progressed(job="b", stage=Stage.TRAIN, done=1, total=4, note=""))
    assert board.left_s() is None  # nobody knows yet how long QA takes
    board.apply(end_of("a", Stage.QA, 20.0))
    assert board.left_s() == (100.0 * 3 / 4 + 20.0) / 2
    assert board.to_come() == {("b", Stage.QA)}
    board.apply(end_of("b", Stage.TRAIN, 50.0, Outcome.FAILED))
    assert board.to_come() == set()


def end_of(job: str, stage: Stage, seconds: float, outcome: Outcome = Outcome.PASSED) -> Ended:
    return Ended(
        job=job, stage=stage, outcome=outcome, seconds=seconds, gpu_seconds=0.0, why=None
    )  # fmt: skip


# The whole


@pytest.mark.slow
def test_one_fault_ends_no_other_job_and_nothing_is_done_twice(place):
    args = place.jobs(mei="mei", leo="fail-qa", bad="fail-validate")
    told = lora_ci(place.root, *args, "--json", env=place.env)
    assert told.code == 1, told.err
    first, *between, last = events(told.out)
    assert (first["event"], last["event"]) == ("planned", "summary")
    assert first["jobs"] == ["mei", "leo", "bad"]
    assert {e["event"] for e in between} == {"started", "ended"}
    ends = {(e["job"], e["stage"]): e["outcome"] for e in between if e["event"] == "ended"}
    assert ends["leo", "qa"] == ends["bad", "validate"] == "failed"
    assert [(j["job"], j["outcome"]) for j in last["jobs"]] == [
        ("mei", "passed"), ("leo", "failed"), ("bad", "failed"),
    ]  # fmt: skip
    mei, leo, bad = last["jobs"]
    assert Path(mei["adapter"]).read_text() == "adapter of mei"
    assert Path(mei["adapter"]).name == "mei.safetensors"
    assert leo["adapter"]
    assert bad["adapter"] is None
    assert Path(last["report"]).is_file()
    # A second time only what has changed is done.
    args = place.jobs(mei="mei", leo="leo", bad="fail-validate")
    again = lora_ci(place.root, *args, env=place.env)
    assert again.code == 1
    assert "train of mei, by a toy" not in again.out
    assert "train of leo, by a toy" in again.out
    assert "✓ passed (reused)" in again.out
    assert "train leo: ✓ passed in" in again.err
    assert "\x1b" not in again.out + again.err


@pytest.mark.slow
def test_what_a_job_lets_begin_does_not_wait_for_the_others(place):
    args = place.jobs(slow="wait-train", mei="mei")
    with running(place.root, *args, "--parallel", "2", "--json", env=place.env) as process:
        ends = []
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ended":
                ends.append((event["job"], event["stage"]))
            if ends and ends[-1] == ("mei", "optimize"):
                # All of mei is done while the slow one trains.
                go(place).touch()
                break
        rest = [json.loads(line) for line in process.stdout]
        assert end(process).code == 0
    assert ("slow", "train") not in ends
    assert rest[-1]["outcome"] == "passed"
    log = lora_ci(place.root, "logs", "--lora", "slow", "--stage", "train")
    assert "train of slow, by a toy\n" in log.out


def go(place: Place) -> Path:
    """What the training that waits looks for: a file in the copy of its dataset."""
    inputs = place.root / ".lora-ci" / "inputs"
    return next(p.parent / "go" for p in inputs.rglob("a.png") if p.read_text() == "slow")


@pytest.mark.slow
def test_ctrl_c_stops_gently_and_the_same_command_goes_on(place):
    args = place.jobs(mei="mei", slow="wait-train")
    with running(place.root, *args, "--executor", "local", "--json", env=place.env) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["job"] == "slow":
                break
        os.kill(process.pid, signal.SIGINT)
        last = [json.loads(line) for line in process.stdout][-1]
        assert end(process).code == 130
    assert [(j["job"], j["outcome"]) for j in last["jobs"]][1] == ("slow", "interrupted")
    go(place).touch()
    again = lora_ci(place.root, *args, "--executor", "local", "--json", env=place.env)
    assert again.code == 0
    begun = [(e["job"], e["stage"]) for e in events(again.out) if e["event"] == "started"]
    assert ("mei", "train") not in begun
    assert ("slow", "train") in begun


@pytest.mark.slow
def test_one_that_is_killed_leaves_its_step_to_the_next(place):
    args = (*place.jobs(slow="wait-train"), "--executor", "local", "--json")
    with running(place.root, *args, env=place.env) as killed:
        for line in killed.stdout:
            if json.loads(line)["event"] == "progress":
                break
    with running(place.root, *args, env=place.env) as second:
        run = json.loads(second.stdout.readline())["run"]
        state = ("--state", str(place.root / ".lora-ci"))
        deadline = time.monotonic() + 60
        while "under way in run" not in (out := lora_ci(place.root, "status", run, *state).out):
            assert time.monotonic() < deadline
        assert re.search("slow +qa +… planned +waits for train", out)
        go(place).touch()
        rest = [json.loads(line) for line in second.stdout]
        assert end(second).code == 0
    (train,) = [e for e in rest if e["event"] == "ended" and e["stage"] == "train"]
    assert (train["outcome"], train["seconds"]) == ("passed", 0.0)
    (log,) = [p for p in place.root.rglob("log.txt") if "train of slow, by a toy" in p.read_text()]
    assert log.read_text().count("train of slow, by a toy") == 1


@pytest.mark.slow
def test_a_signal_between_two_stages_stops_what_runs_beside(place):
    place.toys.write_text(TOYS + BETWEEN)
    args = place.jobs(slow="wait-validate", mei="mei")
    told = lora_ci(place.root, *args, "--parallel", "2", "--json", env=place.env)
    assert told.code == 130, told.err
    last = events(told.out)[-1]
    assert {j["job"]: j["outcome"] for j in last["jobs"]} == {
        "slow": "interrupted",
        "mei": "interrupted",
    }
    status = lora_ci(place.root, "status", last["run"], "--json")
    steps = {(s["lora"], s["stage"]): s for s in json.loads(status.out)["steps"]}
    assert [a["outcome"] for a in steps["slow", "validate"]["attempts"]] == ["interrupted"]
    assert steps["mei", "validate"]["outcome"] == "passed"
