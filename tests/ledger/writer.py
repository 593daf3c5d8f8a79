"""Does runs of toy steps one after the other: `writer.py URL STATE NAME COUNT [DO]`.

Writes the fingerprint of each step that is on record.
"""

import sys
from dataclasses import replace
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Resources, Stage, StepContext, StepResult, StepSpec
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import step_folder
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.store.local import LocalStore
from tests.execution import toy

TABLE = dict.fromkeys(Stage, "tests.ledger.writer:run")


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """The toy step, which also makes something of its own."""
    result, own = toy.run(spec, context), context.workdir / "own"
    own.write_text(spec.fingerprint)
    return replace(result, artifacts=(*result.artifacts, context.keep("own", own, "text/plain")))


def work(ledger: Ledger, state: Path, run_id: str, do: str = "") -> str:
    """A run of one step, done if it was not; returns the fingerprint of the step."""
    clock, store = SystemClock(), LocalStore(state / "objects")
    fingerprint = make_fingerprint(Stage.TRAIN, {"of": run_id.partition("-again")[0], "do": do})
    decision = Decision(
        lora="mei", stage=Stage.TRAIN, action=Action.RUN, why="test", fingerprint=fingerprint
    )
    spec = StepSpec(
        stage=Stage.TRAIN, lora="mei", fingerprint=fingerprint.value, inputs={},
        params={"do": do}, resources=Resources(timeout_s=60),
    )  # fmt: skip
    ledger.start_run(run_id, Event(kind=EventKind.PUSH, repo="r", head="h"))
    folder = step_folder(state, spec.fingerprint).path
    ledger.queue.add(run_id, decision, spec, commit="c", folder=folder)
    reconciler = Reconciler(
        ledger=ledger, executor=InlineExecutor(store, state / "cache", table=TABLE), store=store,
        clock=clock, run_id=run_id, policy=Policy(delays_s=(0.0,)),
    )  # fmt: skip
    Driver(reconciler=reconciler, clock=clock, watch=lambda *_: None).drive(run_id)
    return spec.fingerprint


def main(url: str, state: Path, name: str, count: int, do: str = "") -> None:
    """As the text above says."""
    ledger = open_ledger(url, SystemClock())
    for number in range(count):
        sys.stdout.write(work(ledger, state, f"{name}-{number}", do) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
