"""How fast the queue is: transitions, ticks beside many finished steps, and a flood of new ones.

One process, the default ledger (SQLite, WAL) in a temporary folder (TMPDIR says on which disk), the
real reconciler, and an executor that starts nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.table import machine, render_table, spread
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepResult, StepSpec
from lora_ci.execution.executor import Attempt, Phase, step_folder
from lora_ci.execution.lead import this_process
from lora_ci.execution.tick import Reconciler
from lora_ci.ledger.database import as_text, open_database
from lora_ci.ledger.ledger import Ledger
from lora_ci.store.local import LocalStore

PASSED = StepResult(outcome=Outcome.PASSED, metrics={"calls": 1.0})
# Steps of which each repository has that many, so that each runs out at another moment.
SHARES = {"red": 8, "green": 4, "blue": 4, "white": 3, "black": 1}
RUNNING, WAITING = 40, 200
# Rows at once; more would only take memory.
CHUNK = 20_000
COLUMNS = {
    "step": "run_id, lora, stage, fingerprint, parts, git_commit, spec, state, attempts, repo, gpus"
    ", folder, queued_at, due_at, ended_at, result",
    "attempt": "key, step_id, executor, handle, place, state, started_at, ended_at, outcome, gpu_s",
    "record": "fingerprint, lora, stage, parts, result, outcome, run_id, git_commit, finished_at",
}


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=5_000, help="steps whose transitions are timed"
    )
    parser.add_argument("--finished", type=int, default=1_000_000, help="the most finished steps")
    parser.add_argument("--flood", type=int, default=10_000, help="steps that wait at once")
    parser.add_argument("--ticks", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print(machine(), end="\n\n")
    # Removed at the end alone: ext4 takes long for new folders where many went a moment ago.
    with tempfile.TemporaryDirectory(prefix="lora-ci-bench-") as folder:
        for measure in (transitions, flood):
            runs: dict[str, list[float]] = {}
            for number in range(args.repeat):
                place = Path(folder, f"{measure.__name__}-{number}")
                for what, figure in measure(Bench(place), args):
                    runs.setdefault(what, []).append(figure)
            rows = [[what, *middle_and_range(figures)] for what, figures in runs.items()]
            print(render_table(["what", "median", "range"], rows), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="lora-ci-bench-") as folder:
        print(
            render_table(
                [
                    "finished steps",
                    "idle tick, ms",
                    "range",
                    "tick that ends and begins a step, ms",
                    "range",
                ],
                list(ticks(Bench(Path(folder)), args)),
            )
        )
    return 0


@dataclass(slots=True)
class Nothing:
    """An executor whose attempts go on until they are told to have ended."""

    started: dict[str, Attempt] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    name = "nothing"
    lag_s = 0.0

    def submit(self, attempt: Attempt) -> str:
        self.started[attempt.key] = attempt
        return attempt.key

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        return {h: Phase.ENDED if h in self.ended else Phase.RUNNING for h in handles}

    def cancel(self, handle: str, *, hard: bool) -> None:
        raise NotImplementedError

    def clear(self, handle: str) -> None:
        del self.started[handle]

    def end_one(self) -> None:
        """The oldest passes."""
        key, attempt = next(iter(self.started.items()))
        attempt.folder.write_result(attempt.spec.fingerprint, PASSED)
        self.ended.add(key)


class Bench:
    """A ledger with a run for each repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.added = folder, SystemClock(), 0
        self.database = open_database(f"sqlite:///{folder / 'ledger.db'}", self.clock)
        self.ledger = Ledger(self.database)
        self.executor = Nothing()
        for repo in SHARES:
            event = Event(kind=EventKind.PUSH, repo=repo, head="0" * 40)
            self.ledger.start_run(repo, event)
            self.ledger.queue.beat(repo, this_process())

    def add(self, repo: str) -> None:
        """A step that waits."""
        self.added += 1
        lora = f"lora-{self.added}"
        fingerprint = make_fingerprint(Stage.TRAIN, {"lora": lora})
        decision = Decision(
            lora=lora, stage=Stage.TRAIN, action=Action.RUN, why="", fingerprint=fingerprint
        )
        spec = StepSpec(
            stage=Stage.TRAIN, lora=lora, fingerprint=fingerprint.value, inputs={},
            params={"steps": 1500, "rank": 16}, resources=Resources(gpus=1),
        )  # fmt: skip
        folder = step_folder(self.folder, fingerprint.value).path
        commit = "0" * 40
        self.ledger.queue.add(repo, decision, spec, commit=commit, folder=folder, repo=repo)

    def reconciler(self, room: int) -> Reconciler:
        """Moves the steps of all repositories on."""
        store = LocalStore(self.folder / "objects")
        return Reconciler(
            ledger=self.ledger, executor=self.executor, store=store, clock=self.clock, room=room
        )


def transitions(bench: Bench, args: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Steps through the queue alone, one after the other."""
    queue = bench.ledger.queue
    started = time.perf_counter()
    for _ in range(args.steps):
        bench.add("red")
    yield "steps added a second", args.steps / (time.perf_counter() - started)
    steps = queue.unfinished("red")
    whole = started = time.perf_counter()
    keys = [queue.begin([(step, {})], executor="nothing")[0] for step in steps]
    yield "waiting → running, a second", args.steps / (time.perf_counter() - started)
    started = time.perf_counter()
    for key in keys:
        queue.note_handles({key or "": "handle"})
    yield "handles noted a second", args.steps / (time.perf_counter() - started)
    attempts = queue.open_attempts()
    started = time.perf_counter()
    assert all(queue.finish(attempt, PASSED) for attempt in attempts)
    now = time.perf_counter()
    yield "running → ended, with a record, a second", args.steps / (now - started)
    yield "steps from waiting to ended, a second", args.steps / (now - whole)


def flood(bench: Bench, args: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Very many steps wait at once, and there is room for all."""
    for repo, share in SHARES.items():
        for _ in range(args.flood * share // sum(SHARES.values())):
            bench.add(repo)
    reconciler, count = bench.reconciler(args.flood), 0
    started = time.perf_counter()
    while len(bench.executor.started) < bench.added:
        reconciler.tick()
        count += 1
    yield f"{bench.added:,} steps begun, s", time.perf_counter() - started
    yield "of it what the disk takes: as many folders, a file in each, s", bare(bench)
    yield "ticks for it", count
    yield "most turns that a repository was ahead", ahead(bench)


def bare(bench: Bench) -> float:
    """Seconds for a folder with a file for each step, with nothing else."""
    root, data = bench.folder / "bare", b"x" * 400
    root.mkdir()
    started = time.perf_counter()
    for number in range(bench.added):
        folder = f"{root}/{number}"
        os.mkdir(folder)
        with open(f"{folder}/.spec.json", "wb") as file:
            file.write(data)
        os.replace(f"{folder}/.spec.json", f"{folder}/spec.json")
    return time.perf_counter() - started


def ahead(bench: Bench) -> int:
    """How many more steps one repository had begun than another that had some left, at most."""
    left = Counter(dict.fromkeys(SHARES, 0))
    owner = {f"lora-{n}": repo for n, repo in enumerate(owners(bench.added), start=1)}
    left.update(owner.values())
    had: Counter[str] = Counter(dict.fromkeys(SHARES, 0))
    most = 0
    for attempt in bench.executor.started.values():
        repo = owner[attempt.spec.lora]
        had[repo] += 1
        left[repo] -= 1
        waiting = [had[r] for r in SHARES if left[r]]
        most = max(most, had[repo] - min(waiting, default=had[repo]))
    return most


def owners(count: int) -> Iterator[str]:
    """The repository of each step of a flood, in the order in which they were added."""
    for repo, share in SHARES.items():
        yield from [repo] * (count * share // sum(SHARES.values()))


def ticks(bench: Bench, args: argparse.Namespace) -> Iterator[list[str]]:
    """Ticks beside more and more that has been done before."""
    reconciler = bench.reconciler(RUNNING)
    count, first = 0, 0.0
    for repo in SHARES:
        for _ in range((RUNNING + WAITING + 10 * args.ticks) // len(SHARES)):
            bench.add(repo)
    while count < args.finished:
        goal = max(100, count * 100)
        fill(bench, count, min(goal, args.finished))
        count = min(goal, args.finished)
        # The first ones look at what they have not seen yet.
        reconciler.tick()
        reconciler.tick()
        idle, moving = [], []
        for _ in range(args.ticks):
            idle.append(timed_ms(reconciler))
            bench.executor.end_one()
            moving.append(timed_ms(reconciler))
        first = first or statistics.median(moving)
        yield [
            f"{count:,}",
            *middle_and_range(idle),
            f"{statistics.median(moving):.2f} ({statistics.median(moving) / first:.2f} times)",
            spread(moving),
        ]


def timed_ms(reconciler: Reconciler) -> float:
    """How long a tick takes."""
    started = time.perf_counter()
    reconciler.tick()
    return 1000 * (time.perf_counter() - started)


def fill(bench: Bench, start: int, end: int) -> None:
    """Steps, attempts and records of the past, put into the tables as they are."""
    for at in range(start, end, CHUNK):
        numbers = range(at, min(at + CHUNK, end))
        with bench.database.transaction() as connection:
            for table, rows in past(numbers).items():
                marks = ", ".join("?" * len(rows[0]))
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({marks})", rows
                )


def past(numbers: range) -> dict[str, list[tuple[object, ...]]]:
    """Rows of finished steps, as the queue would have written them."""
    repos, spec, result = list(SHARES), as_text({"params": "x" * 200}), as_text(PASSED)
    when, parts, none = "2026-01-05T00:00:00.000000+00:00", as_text({"data": "x" * 64}), "0" * 40
    steps, attempts, records = [], [], []
    for n in numbers:
        repo, lora, work = repos[n % len(repos)], f"past-{n}", f"{n:064x}"
        stage = "train"
        steps.append(
            (repo, lora, stage, work, parts, none, spec, "ended", 1, repo, 1, f"/steps/{work}",
             when, when, when, result)
        )  # fmt: skip
        attempts.append(
            (f"past-{n}", 1, "nothing", f"past-{n}", "{}", "ended", when, when, "passed", 700.0)
        )
        records.append((work, lora, stage, parts, result, "passed", repo, none, when))
    return {"step": steps, "attempt": attempts, "record": records}


def middle_and_range(numbers: list[float]) -> tuple[str, str]:
    """The median, and the smallest and largest."""
    digits = 0 if max(numbers) >= 100 else 2
    return f"{statistics.median(numbers):,.{digits}f}", spread(numbers, digits)


if __name__ == "__main__":
    sys.exit(main())
