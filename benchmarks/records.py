"""Reading the past from a git ref: as many questions as a plan of hundreds of LoRAs has.

Records have what real ones have: parts of a fingerprint, and for qa about 30 KB of details. Every
repetition opens the ref anew.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.table import machine, render_table, spread
from lora_ci.changes.git import Repository
from lora_ci.core.clock import SystemClock
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.ledger.git_records import REF, GitRecords
from lora_ci.ledger.remote_records import fetch_records, publish_records
from tests.bare import make_clone, make_hub
from tests.past import make_record

STAGES = tuple(Stage)
HEADER = ["what", "s (median)", "s (range)", "answers"]


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--loras", type=int, default=500)
    parser.add_argument("--push", type=int, default=20, help="records a push, one LoRA at a time")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="lora-ci-bench-") as folder:
        hub = make_hub(Path(folder) / "hub.git")
        clone = make_clone(hub, Path(folder) / "clone")
        records = past(args.records, args.loras)
        took = [
            publish(clone, records[i : i + args.push]) for i in range(0, len(records), args.push)
        ]
        reader = make_clone(hub, Path(folder) / "reader")
        started = time.perf_counter()
        fetch_records(reader, "origin", clock=SystemClock(), rng=random.Random(1))
        fetched = time.perf_counter() - started
        measure(reader, records, args.loras, args.repeat)
        print(f"\n{len(took)} pushes of {args.push}: the first {took[0]:.2f} s, ", end="")
        print(f"the last {took[-1]:.2f} s")
        print(f"fetched by a new clone in {fetched:.2f} s")
        print(f"at the remote: {size(hub)}; after git gc: {size(hub, collected=True)}")
        print(f"of it records: {records_alone(hub)}")
    return 0


def past(count: int, loras: int) -> list[Record]:
    """Runs of one LoRA after the other, all stages of each, again and again."""
    rng = random.Random(1)
    made = []
    for number in range(count):
        lora, stage = f"lora-{number // len(STAGES) % loras}", STAGES[number % len(STAGES)]
        details = [rng.uniform(-1, 1) for _ in range(1500)] if stage is Stage.QA else None
        record = make_record(number, lora=lora, stage=stage, details=details)
        parts = record.parts | {f"part-{n}": rng.randbytes(32).hex() for n in range(12)}
        made.append(replace(record, parts=parts))
    return made


def publish(clone: Repository, records: list[Record]) -> float:
    """Pushes some records; the seconds that took."""
    started = time.perf_counter()
    turn = {"clock": SystemClock(), "rng": random.Random(1)}
    assert publish_records(clone, "origin", records, kept_in="lora-ci-1-1-x", **turn) == ()
    return time.perf_counter() - started


def measure(clone: Repository, records: list[Record], loras: int, repeat: int) -> None:
    """Asks what a plan asks of all LoRAs, and prints how long it took."""
    newest = [record.fingerprint for record in records[-loras * len(STAGES) :]]
    rows: dict[str, list[tuple[float, int]]] = {}

    def note(what: str, started: float, found: int) -> None:
        rows.setdefault(what, []).append((time.perf_counter() - started, found))

    for _ in range(repeat):
        asked = GitRecords(clone, REF)
        whole = started = time.perf_counter()
        note(f"find {len(newest)}", started, sum(bool(asked.find(f)) for f in newest))
        started = time.perf_counter()
        note(f"passed of {loras}, train", started, passed(asked, loras))
        note("both", whole, 0)
        asked.close()
    table = [
        [what, f"{sorted(s for s, _ in runs)[len(runs) // 2]:.3f}",
         spread([s for s, _ in runs], 3), str(runs[0][1] or "")]
        for what, runs in rows.items()
    ]  # fmt: skip
    print(render_table(HEADER, table))


def passed(records: GitRecords, loras: int) -> int:
    """How many records passed training."""
    return sum(len(records.passed(f"lora-{n}", Stage.TRAIN)) for n in range(loras))


def size(hub: Path, *, collected: bool = False) -> str:
    """What the repository takes on the disk."""
    if collected:
        subprocess.run(["git", "-C", str(hub), "gc", "-q"], check=True)
    took = sum(p.stat().st_size for p in (hub / "objects").rglob("*") if p.is_file())
    return f"{took / 1e6:.1f} MB"


def records_alone(hub: Path) -> str:
    """What the records take without the trees and commits that keep them."""
    form = "--batch-check=%(objecttype) %(objectsize:disk)"
    command = ["git", "-C", str(hub), "cat-file", "--batch-all-objects", form]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    took = sum(int(line.split()[1]) for line in lines if line.startswith("blob "))
    return f"{took / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
