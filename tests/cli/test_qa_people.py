"""`qa review` and `qa calibrate` as a person types them."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from urllib.parse import urlencode

import pytest
import yaml

from lora_ci.app.opinions import gather_opinions
from lora_ci.app.votes import with_votes
from lora_ci.cli import qa_calibrate, qa_review
from lora_ci.cli.output import Output
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.votes import Against, Choice
from lora_ci.report.page import render_page
from tests.builders import RepoBuilder
from tests.reviewed import judged_step, new_reviewed

REVIEW = (
    "import sys, argparse; from lora_ci.cli import main, qa_review;"
    "parser = argparse.ArgumentParser(); qa_review.add_arguments(parser);"
    "parser.set_defaults(run=qa_review.run);"
    "main.build_parser = lambda argv: parser; sys.argv[0] = 'lora-ci'; main.entry()"
)


@pytest.fixture
def world(tmp_path):
    world = new_reviewed(tmp_path / "state")
    yield world
    world.ledger.close()


def options(module, *args):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(arg) for arg in args])


def review(world, *args):
    output = Output(json=False, quiet=True)
    return qa_review.run(options(qa_review, "--state", world.state, *args), output)


class Served:
    """The command in a process, and its page."""

    def __init__(self, world, *args):
        command = [sys.executable, "-c", REVIEW, "--state", str(world.state), "--json", *args]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        line = self.process.stderr.readline()
        self.address = re.search(r"open (http://127\.0\.0\.1:\d+/\S{20,}/) in a browser", line)[1]

    def page(self):
        with urllib.request.urlopen(self.address, timeout=30) as answer:
            return answer.read().decode()

    def vote(self, choice):
        card = re.search(r'name="card" value="(\d+)"', self.page())[1]
        data = urlencode({"card": card, "choice": choice}).encode()
        with urllib.request.urlopen(f"{self.address}vote", data, timeout=30) as answer:
            assert answer.status == 200

    def end(self, number):
        os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=60)
        # Nothing of what servers have to say, but where the report is.
        assert all(line.startswith("next: ") for line in err.splitlines()), err
        return self.process.returncode, out


def test_a_review_outlives_a_kill_and_ends_with_a_summary(world):
    world.record(judged_step())
    # As it is where a file was judged.
    (world.state / "report.html").write_text("before")
    first = Served(world, "--voter", "Ann")
    first.vote("left")
    first.vote("none")
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert len(world.ledger.votes()) == 2
    # The address is told however quiet it is to be: nobody can guess it.
    second = Served(world, "--voter", "Ann", "--quiet")
    assert "2 of 6" in second.page()
    second.vote("right")
    code, out = second.end(signal.SIGINT)
    told = json.loads(out)
    assert code == 0
    assert told["schema"] == "lora-ci.qa-review/1"
    assert (told["lora"], told["voter"], told["pairs"]) == ("mei", "Ann", 6)
    assert sum(told["chose"].values()) == told["all"]["count"] == 3
    assert told["chose"]["none"] == told["all"]["ties"] == 1
    assert len({vote.seed for vote in world.ledger.votes()}) == 2
    assert "People" in (world.state / "report.html").read_text()


def test_the_newest_judgement_is_asked_about(world):
    world.record(judged_step("mei"), run_id="run-1")
    world.record(judged_step("leo"), run_id="run-2")
    newest = qa_review_judged(world)
    assert (newest.lora, newest.run_id) == ("leo", "run-2")
    assert qa_review_judged(world, lora="mei").run_id == "run-1"
    assert qa_review_judged(world, run_id="run-1").lora == "mei"


def qa_review_judged(world, lora=None, run_id=None):
    from lora_ci.app.judged import newest_judged

    return newest_judged(world.ledger, lora=lora, run_id=run_id)


def test_what_cannot_be_reviewed_is_told(world, tmp_path):
    with pytest.raises(UsageError, match="nothing was judged there"):
        qa_review.run(
            options(qa_review, "--state", tmp_path / "no"), Output(json=False, quiet=True)
        )
    assert not (tmp_path / "no").exists()
    with pytest.raises(UsageError, match="no judgement"):
        review(world)
    world.record(judged_step("mei"), judged_step("leo"), run_id="run-2")
    with pytest.raises(UsageError, match="judged 2 LoRAs: mei, leo"):
        review(world)
    with pytest.raises(UsageError, match="no judgement of `zoe`; judged are: mei, leo"):
        review(world, "zoe")
    with pytest.raises(UsageError, match="run nope: no judgement"):
        review(world, "--run", "nope")
    world.record(judged_step("bare", kinds=("adapter",)), run_id="run-3")
    with pytest.raises(UsageError, match="no pictures to compare; the judgement kept none"):
        review(world)
    step, _ = judged_step("gone")
    world.record((step, {}), run_id="run-4")
    with pytest.raises(UsageError, match="6 are not in the store"):
        review(world)


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "a\x1b[1m"])
def test_names_that_cannot_stand_with_votes(world, name):
    with pytest.raises(UsageError, match="is no name"):
        review(world, "--voter", name)


def test_the_voter_is_who_commits_here(tmp_path):
    repo = RepoBuilder(tmp_path)
    repo.git("config", "user.name", "Zoë Ann ")
    assert qa_review.voter_of(None, repo.root) == "Zoë Ann"
    assert qa_review.voter_of("Bob", repo.root) == "Bob"


def test_a_port_that_is_taken(world):
    world.record(judged_step())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(InfrastructureError, match=f"127.0.0.1:{port}"):
            review(world, "--port", port, "--voter", "Bob")
    with pytest.raises(UsageError, match="is no port"):
        review(world, "--port", "70000")


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("gpu-box", False)],
)  # fmt: skip
def test_who_can_reach_it(host, local):
    assert qa_review.is_local(host) is local


def test_what_listens_on_every_address_goes_by_the_name_of_the_machine():
    assert qa_review.name_of("0.0.0.0") == qa_review.name_of("::") == socket.gethostname()
    assert qa_review.name_of("10.0.0.5") == "10.0.0.5"


def test_votes_are_part_of_the_run_that_is_reported(world):
    step, pictures = judged_step()
    view = world.record((step, pictures))
    assert with_votes(view, world.ledger).votes == ()
    fingerprint = world.judge(7, liked=3, pairs=4)
    old, _ = judged_step("lora-7", prompts=[f"mochi {i}" for i in range(4)], seeds=1)
    assert old.decision.fingerprint.value == fingerprint
    both = replace(view, steps=(*view.steps, old))
    counted = with_votes(both, world.ledger)
    (count,) = counted.votes
    assert (count.lora, count.fingerprint, count.count) == ("lora-7", fingerprint, 4)
    assert (count.preferred_new, count.preferred_other, count.ties) == (3, 1, 0)
    # The judge prefers the new one everywhere: by chance alone both agree as often.
    assert (count.kappa, count.kappa_low) == (0.0, None)
    assert "People" in render_page(counted)
    assert "People" not in render_page(view)


def calibrated(world, capsys, *args):
    output = Output(json="--json" in args, quiet=True)
    code = qa_calibrate.run(options(qa_calibrate, "--state", world.state, *args), output)
    return code, capsys.readouterr().out


def test_too_few_votes_say_how_many_are_lacking(world, capsys):
    assert calibrated(world, capsys)[0] == 3
    world.judge(0, liked=9, pairs=10, identity=0.9)
    world.judge(1, liked=1, pairs=10, identity=0.2)
    world.judge(2, liked=1, pairs=3, identity=0.1)
    code, out = calibrated(world, capsys)
    assert code == 3
    assert "3 judgements with 23 votes on 23 pairs: people accept 1, not 2" in out
    assert "10 more in all, 3 more that people accept, 3 more that people do not accept" in out
    assert "gates:" not in out


def test_gates_are_suggested_and_the_config_is_left_alone(world, capsys):
    for i in range(14):
        world.judge(i, liked=7 if i >= 6 else 2, pairs=8, identity=i / 20, latency_ratio=1.0)
    code, out = calibrated(world, capsys)
    assert code == 0
    assert "14 judgements with 112 votes on 112 pairs: people accept 8, not 6" in out
    pasted = yaml.safe_load(out[out.index("defaults:") :])
    assert set(pasted["defaults"]["qa"]["gates"]) == {"identity"}
    sign, value = pasted["defaults"]["qa"]["gates"]["identity"].split()
    assert sign == ">="
    assert 5 / 20 < float(value) <= 6 / 20
    assert not re.search("latency", out)
    code, out = calibrated(world, capsys, "--json")
    told = json.loads(out)
    assert (code, told["lacking"], len(told["runs"])) == (0, None, 14)
    (found,) = told["thresholds"]
    assert (found["metric"], found["kept"], found["stopped"]) == ("identity", 1.0, 1.0)
    assert found["low"] <= found["value"] <= found["high"]
    # The same votes give the same answer.
    assert json.loads(calibrated(world, capsys, "--json")[1]) == told


def test_runs_of_another_embedder_and_lost_ones_are_left_out(world):
    world.judge(1, liked=1, pairs=2, identity=0.9, embedder="path:models/clip")
    world.judge(0, liked=1, pairs=2, identity=0.1)
    (vote, *_) = world.ledger.votes()
    world.ledger.cast(replace(vote, fingerprint="e" * 64))
    # No difference speaks for the run, too.
    world.ledger.cast(replace(vote, choice=Choice.NONE))
    opinions = gather_opinions(world.ledger)
    assert (opinions.runs[0].liked, opinions.runs[0].pairs) == (1, 2)
    assert (len(opinions.runs), opinions.lost, opinions.left_out) == (1, 1, 1)
    assert (opinions.embedder, opinions.runs[0].metrics) == ("classic:", {"identity": 0.1})
    assert opinions.against == {Against.RELEASED: 1, Against.BASE: 0}
    assert opinions.gates == {"overall": 0.8}
    assert set(opinions.judge.values()) == {Choice.NEW}
    assert opinions.people.keys() == opinions.judge.keys()
