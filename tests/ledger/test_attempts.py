"""What is told of the steps of a run, from every kind of database."""

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepResult, StepSpec
from lora_ci.ledger.attempts import Attempts
from lora_ci.ledger.database import open_database
from lora_ci.ledger.ledger import Ledger
from lora_ci.ledger.queue import StepState

WARNING = Finding(rule="a.a", severity=Severity.WARNING, message="it is small")
FINDING = Finding(rule="a.b", severity=Severity.ERROR, message="no face in it", file="d/a.png")


def add(ledger: Ledger, run_id: str, lora: str) -> None:
    """A run with a step that waits; equal LoRAs are equal work."""
    ledger.start_run(run_id, Event(kind=EventKind.PUSH, repo="r", head="h"))
    fingerprint = make_fingerprint(Stage.TRAIN, {"lora": lora})
    decision = Decision(
        lora=lora, stage=Stage.TRAIN, action=Action.RUN, why="", fingerprint=fingerprint
    )
    spec = StepSpec(
        stage=Stage.TRAIN,
        lora=lora,
        fingerprint=fingerprint.value,
        inputs={},
        params={},
        resources=Resources(gpus=1),
    )
    ledger.queue.add(run_id, decision, spec, commit="c", repo="r")


def begin(ledger: Ledger, run_id: str):
    step = ledger.queue.unfinished(run_id)[0]
    key = ledger.queue.begin([(step, {"node": "n"})], executor="local")[0]
    return next(a for a in ledger.queue.open_attempts() if a.key == key)


@pytest.fixture
def database(ledger_url):
    database = open_database(ledger_url, SystemClock())
    yield database
    database.close()


def test_a_step_with_its_attempts_from_its_begin_to_its_end(database):
    ledger, attempts = Ledger(database), Attempts(database)
    assert attempts.run() is None
    add(ledger, "run-1", "mei")
    add(ledger, "run-2", "mei")
    assert attempts.run().id == "run-2"
    assert attempts.run("run-1").owner is None
    ledger.queue.again(begin(ledger, "run-1"), Outcome.ERROR, delay_s=0, log="a" * 64)
    last = begin(ledger, "run-1")
    (step,) = attempts.steps("run-1", lora="mei", stage=Stage.TRAIN)
    assert (step.state, step.outcome, step.twin) == (StepState.RUNNING, None, None)
    assert [(a.number, a.outcome, a.log_sha256) for a in step.attempts] == [
        (1, Outcome.ERROR, "a" * 64),
        (2, None, None),
    ]
    assert step.attempts[0].gpu_s == step.gpu_s >= 0
    assert step.attempts[0].place == {"node": "n"}
    (other,) = attempts.steps("run-2")
    assert other.twin == "run-1"
    assert [(b.lora, b.attempts) for b in attempts.briefs("run-1")] == [("mei", 2)]
    ledger.queue.finish(last, StepResult(outcome=Outcome.FAILED, findings=(WARNING, FINDING)))
    (step,) = attempts.steps("run-1")
    assert (step.state, step.outcome) == (StepState.ENDED, Outcome.FAILED)
    assert step.why == "d/a.png: no face in it"
    assert attempts.steps("run-1", lora="leo") == ()
    assert attempts.steps("nope") == ()
