"""`lora-ci plan` against `dvc diff`: the same two commits, asked in turn.

Both are whole commands, from the start of Python to the JSON they print. `plan` does more: it also
reads the config, looks whether every object was pushed, and decides what would run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import machine, render_table, spread
from tests.builders import RepoBuilder

DATASET = "datasets/mei"
CONFIG = f"version: 1\nloras:\n  mei:\n    dataset: {DATASET}\n    base_model: models/sd\n"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a tool says two commits differ in; paths are relative to the dataset."""

    added: frozenset[str]
    removed: frozenset[str]
    modified: frozenset[str]
    renamed: frozenset[tuple[str, str]]


def main() -> int:
    """Prints the table; 1 if the two do not name the same files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 5000], help="files a dataset")
    parser.add_argument("--pairs", type=int, default=7, help="measured pairs a size")
    args = parser.parse_args()
    print(machine())
    rows, same = [], True
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            row, agree = measure(Path(folder), size, args.pairs)
        rows.append(row)
        same = same and agree
    header = ["files", "plan, s", "dvc diff, s", "plan / dvc diff", "range", "same files named"]
    print(render_table(header, rows))
    return 0 if same else 1


def measure(folder: Path, size: int, pairs: int) -> tuple[list[str], bool]:
    """One row of the table, and whether both tools said what was changed."""
    root, base, head, truth = build(folder, size)
    commands = {
        "plan": [sys.executable, "-m", "lora_ci", "plan", "--json", "--base", base, "--head", head],
        "dvc": [sys.executable, "-m", "dvc", "diff", "--json", base, head],
    }
    read = {"plan": from_plan, "dvc": from_dvc}
    times: dict[str, list[float]] = {name: [] for name in commands}
    agree = True
    for pair in range(pairs + 1):
        for name in sorted(commands, reverse=bool(pair % 2)):
            seconds, output = call(commands[name], root)
            agree = agree and read[name](json.loads(output)) == truth
            if pair:  # the first pair makes the ledger and DVC's caches
                times[name].append(seconds)
    ratios = [ours / dvcs for ours, dvcs in zip(times["plan"], times["dvc"], strict=True)]
    row = [
        f"{size:,}",
        f"{statistics.median(times['plan']):.2f}",
        f"{statistics.median(times['dvc']):.2f}",
        f"{statistics.median(ratios):.2f}",
        spread(ratios),
        "yes" if agree else "NO",
    ]
    return row, agree


def build(folder: Path, size: int) -> tuple[Path, str, str, Changed]:
    """A repository with two commits: one file in a hundred changed, at least one of each kind."""
    repo = RepoBuilder(folder)
    for part in PARTS:
        repo.write(f"models/sd/{part}/config.json", "{}")
    repo.write(".lora-ci.yml", CONFIG)
    files = {f"pictures/{i:06d}.png": f"picture {i}".encode() for i in range(size)}
    repo.dvc_add(DATASET, files)
    base = repo.commit("Add the dataset")
    names, some = sorted(files), max(1, size // 400)
    modified, removed = names[:some], names[some : 2 * some]
    moved = {name: f"moved/{Path(name).name}" for name in names[2 * some : 3 * some]}
    added = [f"pictures/new-{i}.png" for i in range(some)]
    files |= {name: f"other {name}".encode() for name in (*modified, *added)}
    for name in removed:
        del files[name]
    for old, new in moved.items():
        files[new] = files.pop(old)
    repo.dvc_add(DATASET, files)
    head = repo.commit("Change it")
    changed = Changed(
        added=frozenset(added),
        removed=frozenset(removed),
        modified=frozenset(modified),
        renamed=frozenset(moved.items()),
    )
    return repo.root, base, head, changed


def call(command: list[str], folder: Path) -> tuple[float, str]:
    """Seconds from start to end, and what was printed."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return time.perf_counter() - started, done.stdout


def from_plan(plan: dict) -> Changed:
    """The files in the JSON of `lora-ci plan`."""
    (change,) = plan["changes"]["datasets"]
    return Changed(
        added=frozenset(change["added"]),
        removed=frozenset(change["removed"]),
        modified=frozenset(change["modified"]),
        renamed=frozenset((old, new) for old, new in change["renamed"]),
    )


def from_dvc(diff: dict) -> Changed:
    """The files in the JSON of `dvc diff`; the folder itself is left out."""

    def names(kind: str) -> frozenset[str]:
        paths = (item["path"].removeprefix(f"{DATASET}/") for item in diff.get(kind, []))
        return frozenset(path for path in paths if path)

    renamed = (item["path"] for item in diff.get("renamed", []))
    return Changed(
        added=names("added"),
        removed=names("deleted"),
        modified=names("modified"),
        renamed=frozenset(
            (pair["old"].removeprefix(f"{DATASET}/"), pair["new"].removeprefix(f"{DATASET}/"))
            for pair in renamed
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
