"""What steps printed, told while they go on and afterwards; and how a run's steps stand."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.cli.tail import LONGEST, Tail, shown
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Progress, Resources, Stage, StepResult, StepSpec
from lora_ci.execution.lead import this_process
from lora_ci.ledger.ledger import open_ledger
from lora_ci.steps.folder import StepFolder
from lora_ci.store.local import LocalStore
from tests.command import end, running
from tests.ledgers import new_ledger
from tests.views import make_decision, make_view

RUN = "20260101-000000-aaaaaaaa"


class World:
    """A state folder with one run; its steps go as far as they are told to."""

    def __init__(self, root: Path, owner: str | None = None) -> None:
        self.state = root / ".lora-ci"
        self.store = LocalStore(self.state / "objects")
        self.ledger = open_ledger(new_ledger(self.state), SystemClock())
        self.ledger.start_run(RUN, Event(kind=EventKind.PUSH, repo="r", head="abcdef123"))
        self.ledger.queue.beat(RUN, owner or this_process())

    def add(self, stage: Stage, lora: str = "mei", gpus: int = 0) -> StepFolder:
        """A step that waits."""
        fingerprint = make_fingerprint(stage, {"lora": lora})
        decision = Decision(
            lora=lora, stage=stage, action=Action.RUN, why="test", fingerprint=fingerprint
        )
        spec = StepSpec(
            stage=stage, lora=lora, fingerprint=fingerprint.value, inputs={}, params={},
            resources=Resources(gpus=gpus),
        )  # fmt: skip
        folder = StepFolder(self.state / "steps" / fingerprint.value[:32])
        folder.write_spec(spec)
        self.ledger.queue.add(RUN, decision, spec, commit="c", folder=folder.path, repo="r")
        return folder

    def begin(self, lora: str = "mei", executor: str = "local", **place):
        """Begins the step of a LoRA that waits."""
        (step,) = [s for s in self.ledger.queue.unfinished(RUN) if s.lora == lora]
        key = self.ledger.queue.begin([(step, place)], executor=executor)[0]
        (attempt,) = [a for a in self.ledger.queue.open_attempts() if a.key == key]
        return attempt

    def finish(self, attempt, outcome: Outcome = Outcome.PASSED, *findings: Finding) -> None:
        log = StepFolder(attempt.step.folder).log
        kept = self.store.put(log) if log.exists() else None
        result = StepResult(outcome=outcome, findings=findings)
        self.ledger.queue.finish(attempt, result, log=kept)

    def end_run(self, outcome: Outcome = Outcome.PASSED) -> None:
        self.ledger.save_view(replace(make_view(), run_id=RUN, outcome=outcome))


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def told(world: World, capsys, *args: str, code: int = 0) -> tuple[str, str]:
    assert main([*args, "--state", str(world.state)]) == code
    found = capsys.readouterr()
    return found.out, found.err


# Lines


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("plain", "plain"),
        ("windows\r", "windows"),
        (" 10%|#    |\r 50%|##   |\r100%|#####|", "100%|#####|"),
        ("\r 10%\r 50%\r", "50%"),
        ("\x1b[1;32mgreen\x1b[0m \x1b]0;title\x07text", "green text"),
        ("a\tb", "a       b"),
        ("bell\x07 nul\0 right-to-left\u202e", "bell� nul� right-to-left�"),
        ("\r\r", ""),
    ],
)
def test_a_line_is_as_a_terminal_would_show_it_without_what_it_would_obey(line, text):
    assert shown(line).rstrip(" ") == text if "10%|" in line else shown(line).strip() == text


def test_a_log_that_is_not_there_yet_grows_and_ends_within_a_letter(tmp_path):
    path = tmp_path / "log.txt"
    tail = Tail(path)
    assert list(tail.lines()) == []
    data = "grüße\nñandú\n日本".encode()
    told = []
    with path.open("wb", buffering=0) as file:
        for byte in data:
            file.write(bytes([byte]))
            told += tail.lines()
    assert told == ["grüße", "ñandú"]
    assert tail.unfinished == "日本"
    assert list(tail.close()) == ["日本"]


def test_a_log_that_is_cut_off_or_replaced_goes_on(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("one\ntwo\nthree, a long line\nhalf")
    tail = Tail(path)
    assert list(tail.lines()) == ["one", "two", "three, a long line"]
    path.write_text("cut off\n")  # the same file, shorter
    assert list(tail.lines()) == ["half", "cut off"]
    with path.open("a") as old:
        path.rename(tmp_path / "log.txt.1")
        assert list(tail.lines()) == []
        old.write("to the old one\n")
        old.flush()
        path.write_text("to the new one\n")
        assert list(tail.lines()) == ["to the old one", "to the new one"]


def test_a_progress_bar_stands_in_its_last_state_and_takes_no_memory(tmp_path):
    path = tmp_path / "log.txt"
    tail = Tail(path)
    with path.open("w") as file:
        for i in range(50_000):
            file.write(f"\r{i} of 50000, loss 0.1234")
        file.flush()
        assert list(tail.lines()) == []
        assert tail.unfinished == "49999 of 50000, loss 0.1234"
        assert len(tail._line) < 100
        file.write("\ndone\n")
    assert list(tail.lines()) == ["49999 of 50000, loss 0.1234", "done"]


def test_a_line_of_megabytes_comes_in_parts(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("x" * 1_000_000 + "\nend\n")
    lines = list(Tail(path).lines())
    assert "".join(lines[:-1]) == "x" * 1_000_000
    assert max(map(len, lines)) <= LONGEST
    assert lines[-1] == "end"


# The command


def test_the_log_of_a_step_that_goes_on_and_of_one_that_ended(world, capsys):
    folder = world.add(Stage.TRAIN)
    attempt = world.begin()
    folder.log.write_text("step 1\n\x1b[2Jstep 2\n")
    assert told(world, capsys, "logs")[0] == "step 1\nstep 2\n"
    with folder.log.open("a") as log:
        log.write("the end")
    world.finish(attempt)
    folder.log.unlink()
    for asked in ((), (RUN,), (RUN, "--lora", "mei", "--stage", "train"), ("--follow",)):
        world.end_run()
        assert told(world, capsys, "logs", *asked)[0] == "step 1\nstep 2\nthe end\n"


def test_what_another_trainer_printed_is_told_too(world, capsys):
    folder = world.add(Stage.TRAIN)
    attempt = world.begin()
    folder.log.write_text("ours\n")
    folder.workdir.mkdir()
    (folder.workdir / "trainer.log").write_text("theirs\r 10%\r 20%\n")
    assert told(world, capsys, "logs")[0] == "ours\n 20%\n"
    world.finish(attempt)
    assert told(world, capsys, "logs", "-f", "--lora", "mei", "--stage", "train")[0] == (
        "ours\n 20%\n"
    )


def test_the_log_of_one_attempt(world, capsys):
    folder = world.add(Stage.TRAIN)
    attempt = world.begin()
    folder.log.write_text("first\n")
    kept = world.store.put(folder.log)
    world.ledger.queue.again(attempt, Outcome.ERROR, delay_s=0, log=kept)
    attempt = world.begin()
    with folder.log.open("a") as log:
        log.write("second\n")
    assert told(world, capsys, "logs", "--attempt", "1")[0] == "first\n"
    assert told(world, capsys, "logs", "--attempt", "2")[0] == "second\n"
    assert told(world, capsys, "logs")[0] == "first\nsecond\n"
    world.finish(attempt)
    assert told(world, capsys, "logs", "--attempt", "2")[0] == "second\n"
    assert "has 2 attempts" in told(world, capsys, "logs", "--attempt", "3", code=2)[1]


def test_lines_of_several_steps_say_whose_they_are(world, capsys):
    for lora in ("mei", "leo"):
        folder = world.add(Stage.TRAIN, lora)
        world.begin(lora)
        folder.log.write_text(f"I am {lora}\n")
    out = told(world, capsys, "logs")[0]
    assert out == "mei train | I am mei\nleo train | I am leo\n"
    lines = told(world, capsys, "logs", "--json")[0].splitlines()
    assert json.loads(lines[1]) == {
        "lora": "leo", "stage": "train", "attempt": 1, "line": "I am leo",
    }  # fmt: skip
    assert "--attempt is of one" in told(world, capsys, "logs", "--attempt", "1", code=2)[1]


def test_what_has_no_log_says_why(world, capsys, tmp_path):
    world.add(Stage.TRAIN)
    assert "nothing has been printed yet" in told(world, capsys, "logs", code=2)[1]
    attempt = world.begin(executor="inline")
    world.finish(attempt)
    error = told(world, capsys, "logs", code=2)[1]
    assert "no log of them is kept (train of mei)" in error
    assert "--executor local" in error
    assert (
        "no qa of mei" in told(world, capsys, "logs", "--stage", "qa", "--lora", "mei", code=2)[1]
    )
    assert "no run `x`" in told(world, capsys, "logs", "x", code=2)[1]
    (tmp_path / "empty").mkdir()
    assert main(["logs", "--state", str(tmp_path / "empty")]) == 2
    assert "no run yet" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["logs"], ["status"], ["runners", "list"]])
def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path, capsys, command):
    assert main([*command, "--state", str(tmp_path / "none")]) == 2
    assert f"--state {tmp_path / 'none'}: there is no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_followed_from_step_to_step_to_its_end(world, tmp_path):
    with running(tmp_path, "logs", "-f", "--state", str(world.state)) as process:
        for stage in (Stage.VALIDATE, Stage.TRAIN):
            folder = world.add(stage)
            attempt = world.begin()
            folder.log.write_text(f"begin {stage}\n")
            assert process.stdout.readline() == f"mei {stage} | begin {stage}\n"
            with folder.log.open("a") as log:
                log.write("10 %\r20 %\rno line end")
            world.finish(attempt)
            assert process.stdout.readline() == f"mei {stage} | no line end\n"
        world.end_run()
        assert end(process).code == 0


@pytest.mark.slow
def test_following_ends_with_the_step_that_is_named_and_with_a_signal(world, tmp_path):
    folder = world.add(Stage.TRAIN)
    attempt = world.begin()
    folder.log.write_text("begin\n")
    args = ["logs", "-f", "--state", str(world.state)]
    one = ("--lora", "mei", "--stage", "train")
    with running(tmp_path, *args, *one) as named, running(tmp_path, *args) as all_of_it:
        assert named.stdout.readline() == "begin\n"
        assert all_of_it.stdout.readline() == "mei train | begin\n"
        world.finish(attempt)
        assert end(named).code == 0
        os.kill(all_of_it.pid, signal.SIGINT)
        assert end(all_of_it).code == 130


# How steps stand


def test_status_tells_how_the_steps_of_a_run_stand_and_what_they_wait_for(world, capsys):
    folder = world.add(Stage.TRAIN, gpus=2)
    attempt = world.begin(node="node-3", gpus=[0, 1])
    folder.write_progress(Progress(done=30, total=60, note="loss 0.1"))
    world.add(Stage.TRAIN, "leo")
    world.add(Stage.QA, "ann")
    failed = Finding(rule="a.b", severity=Severity.ERROR, message="no face \x1b[2J in it")
    world.finish(world.begin("ann"), Outcome.FAILED, failed)
    out = told(world, capsys, "status", RUN)[0]
    assert "moved on by" in out
    assert "local on node-3, GPU 0, 1" in out
    assert "50 % – 30 of 60, loss 0.1" in out
    assert "waits for room" in out
    assert "no face �[2J in it" in out
    # An error waits for its next attempt.
    world.ledger.queue.again(attempt, Outcome.ERROR, delay_s=300)
    found = json.loads(told(world, capsys, "status", RUN, "--json")[0])
    assert found["schema"] == "lora-ci.run-status/1"
    mei, leo, _ = found["steps"]
    assert mei["waits_for"].startswith("its next attempt in ")
    assert mei["waits_for"].endswith("after an error")
    assert [a["outcome"] for a in mei["attempts"]] == ["error"]
    assert mei["gpu_s"] == mei["attempts"][0]["gpu_s"] > 0
    assert leo["attempts"] == []
    assert found["abandoned"] is False


def test_status_tells_what_comes_behind_what_was_begun(world, capsys):
    world.add(Stage.TRAIN)
    world.add(Stage.TRAIN, "ann")
    world.finish(world.begin("ann"), Outcome.FAILED)
    waits = [
        StepView(decision=make_decision(lora, Stage.QA, Action.WAIT, "waits for train"))
        for lora in ("mei", "ann")
    ]
    trainings = [StepView(decision=make_decision(lora, Stage.TRAIN)) for lora in ("mei", "ann")]
    view = make_view(*trainings, *waits)
    world.ledger.save_plan(replace(view, run_id=RUN))
    *_, last = told(world, capsys, "status", RUN)[0].splitlines()
    assert last.split() == ["mei", "qa", "…", "planned", "waits", "for", "train"]
    found = json.loads(told(world, capsys, "status", RUN, "--json")[0])["steps"]
    assert [(s["lora"], s["stage"], s["state"]) for s in found] == [
        ("mei", "train", "waiting"), ("ann", "train", "ended"), ("mei", "qa", "planned"),
    ]  # fmt: skip
    assert (found[-1]["waits_for"], found[-1]["folder"]) == ("train", None)
    # It is no report yet; and one that has ended is as it ended.
    assert world.ledger.load_view(RUN) is None
    world.end_run()
    world.ledger.save_plan(replace(view, run_id=RUN))
    assert world.ledger.load_view(RUN).steps == ()
    assert "planned" not in told(world, capsys, "status", RUN)[0]


def test_status_of_a_run_that_nobody_moves_on(tmp_path, capsys):
    gone = this_process().rpartition(":")[0] + ":1"
    world = World(tmp_path, owner=gone)
    world.add(Stage.TRAIN)
    out = told(world, capsys, "status", RUN)[0]
    assert "nobody moves it on" in out
    assert "waits for nobody" in out
    assert json.loads(told(world, capsys, "status", RUN, "--json")[0])["abandoned"] is True
    assert told(world, capsys, "status")[0].split()[1] == "left"


def test_status_knows_work_that_another_run_does(world, capsys):
    world.add(Stage.TRAIN)
    world.ledger.start_run("other", Event(kind=EventKind.PUSH, repo="r", head="h"))
    fingerprint = make_fingerprint(Stage.TRAIN, {"lora": "mei"})
    decision = Decision(
        lora="mei", stage=Stage.TRAIN, action=Action.RUN, why="", fingerprint=fingerprint
    )
    spec = StepSpec(
        stage=Stage.TRAIN, lora="mei", fingerprint=fingerprint.value, inputs={}, params={}
    )
    world.ledger.queue.add("other", decision, spec, commit="c")
    (step,) = world.ledger.queue.unfinished("other")
    assert world.ledger.queue.begin([(step, {})], executor="local")[0]
    assert "under way in run other" in told(world, capsys, "status", RUN)[0]


def test_a_database_that_is_named_is_the_one_that_is_read(world, capsys, tmp_path):
    url = f"sqlite:///{world.state / 'ledger.db'}"
    bot = tmp_path / "bot"
    assert main(["status", "--state", str(bot), "--ledger-url", url]) == 0
    assert RUN in capsys.readouterr().out
    absent = bot / "steps.db"
    assert main(["status", "--ledger-url", f"sqlite:///{absent}"]) == 2
    assert f"there is no ledger {absent}" in capsys.readouterr().err
    assert not bot.exists()


def test_a_number_of_runs_that_cannot_be_is_refused(world, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["status", "--limit", "0", "--state", str(world.state)])
    assert "expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("run", "--until"), ("logs", "--stage")])
def test_a_stage_that_there_is_not_is_told_with_those_there_are(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*option, "trian"])
    assert "'trian': expected validate, train, qa" in capsys.readouterr().err
