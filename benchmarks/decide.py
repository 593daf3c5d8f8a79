"""Telling what changed: lora-ci against `dvc diff` and against the least that anybody must do.

Every comparison asks the same two commits in turn and takes ratios within a pair. The first pair
is not counted: it fills everybody's caches.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import machine, render_table, spread
from lora_ci.changes.between import changes_between
from lora_ci.changes.git import open_repository
from lora_ci.changes.objects import open_objects
from tests.builders import RepoBuilder

DATASET = "datasets/mei"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
DIFFERING_POINTERS = 10
TIMEOUT_S = 300
HEADER = ["what", "lora-ci, s", "other", "other, s", "times faster", "range", "same files named"]
# Runs in a process of its own, so that its memory is that of one comparison.
ALONE = """
import sys, time
from pathlib import Path
from lora_ci.changes.between import changes_between
from lora_ci.changes.git import open_repository
from lora_ci.changes.objects import open_objects
repo = open_repository(Path(sys.argv[1]))
started = time.perf_counter()
(change,) = changes_between(repo, sys.argv[2], sys.argv[3], open_objects(repo))
print(time.perf_counter() - started)
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
"""

Row = tuple[list[str], bool]
Names = tuple[frozenset[str], frozenset[str], frozenset[str]]


def main() -> int:
    """Prints the tables; 1 if the two do not name the same files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000, help="in one manifest")
    parser.add_argument("--pointers", type=int, default=2_000, help="single files, 10 differ")
    parser.add_argument("--many", type=int, default=1_000_000, help="files of the largest manifest")
    parser.add_argument("--loras", type=int, default=500, help="in one config")
    parser.add_argument("--pairs", type=int, default=5, help="measured pairs")
    args = parser.parse_args()
    os.environ["DVC_NO_ANALYTICS"] = "1"
    logging.disable(logging.WARNING)
    print(machine())
    rows, same = [], True
    for measure in (
        lambda folder: one_manifest(folder, args.files, args.pairs),
        lambda folder: many_pointers(folder, args.pointers, max(1, args.pairs // 2)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            for row, agree in measure(Path(folder)):
                rows.append(row)
                same = same and agree
    print(render_table(HEADER, rows), end="\n\n")
    alone = []
    with tempfile.TemporaryDirectory() as folder:
        alone.append(largest_manifest(Path(folder), args.many))
    with tempfile.TemporaryDirectory() as folder:
        alone.append(many_loras(Path(folder), args.loras, args.pairs))
    print(render_table(["what", "lora-ci, s", "peak of the process, MiB"], alone))
    return 0 if same else 1


def one_manifest(folder: Path, files: int, pairs: int) -> list[Row]:
    """A dataset of which a hundredth changed: against DVC, the floor, and DVC's whole command."""
    root, base, head, manifests = build_manifests(folder, files)
    repo = open_repository(root)
    ours = library(root, base, head)

    def floor() -> None:
        both = [json.loads(manifest.read_bytes()) for manifest in manifests]
        assert len(both) == 2

    def command() -> Names:
        repo_options = ("--base", base, "--head", head)
        return from_changes(call(root, "lora_ci", "changes", "--json", *repo_options))

    def dvc_command() -> Names:
        return from_dvc(call(root, "dvc", "diff", "--json", base, head))

    name, whole = f"{files:,} files in a manifest", "the same, whole commands"
    assert repo.commit("HEAD") == head
    return [
        compare(name, ours, "floor: json.loads of both", floor, pairs * 3),
        compare(name, ours, "dvc diff", dvc_library(root, base, head), pairs),
        compare(whole, command, "dvc diff", dvc_command, pairs),
    ]


def many_pointers(folder: Path, pointers: int, pairs: int) -> list[Row]:
    """Single files, each with a pointer of its own, of which ten differ."""
    repo = RepoBuilder(folder)

    def point(number: int, data: str) -> None:
        md5 = store(repo, data.encode())
        text = f"outs:\n- md5: {md5}\n  size: {len(data)}\n  hash: md5\n  path: {number:05d}.bin\n"
        repo.write(f"data/{number:05d}.bin.dvc", text)

    for number in range(pointers):
        point(number, f"file {number}")
    base = repo.commit()
    for number in range(0, pointers, max(1, pointers // DIFFERING_POINTERS)):
        point(number, f"other {number}")
    head = repo.commit()
    ours, theirs = library(repo.root, base, head), dvc_library(repo.root, base, head)
    return [compare(f"{pointers:,} pointers, 10 differ", ours, "dvc diff", theirs, pairs)]


def largest_manifest(folder: Path, files: int) -> list[str]:
    """Seconds and memory of one comparison, in a process of its own."""
    root, base, head, _ = build_manifests(folder, files)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(root), base, head],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    seconds, mebibytes = done.stdout.split()
    return [f"{files:,} files in a manifest", f"{float(seconds):.2f}", f"{float(mebibytes):.0f}"]


def many_loras(folder: Path, loras: int, pairs: int) -> list[str]:
    """The whole command `lora-ci plan`, every LoRA with a dataset of its own."""
    repo = RepoBuilder(folder)
    for part in PARTS:
        repo.write(f"models/sd/{part}/config.json", "{}")
    lines = ["version: 1", "defaults: {base_model: models/sd}", "loras:"]
    for number in range(loras):
        name = f"lora-{number:03d}"
        lines.append(f"  {name}: {{dataset: datasets/{name}}}")
        repo.dvc_add(f"datasets/{name}", {f"{i}.png": f"{name} {i}".encode() for i in range(4)})
    repo.write(".lora-ci.yml", "\n".join(lines) + "\n")
    base = repo.commit()
    repo.dvc_add("datasets/lora-000", {"0.png": b"other"})
    repo.commit()
    times = []
    for _ in range(pairs + 1):
        started = time.perf_counter()
        call(repo.root, "lora_ci", "plan", "--json", "--base", base)
        times.append(time.perf_counter() - started)
    return [f"`lora-ci plan`, {loras:,} LoRAs", f"{statistics.median(times[1:]):.2f}", ""]


def compare(
    what: str, ours: Callable[[], object], other: str, theirs: Callable[[], object], pairs: int
) -> Row:
    """One row; the two agree if they return the same, or the other one only reads."""
    times: tuple[list[float], list[float]] = ([], [])
    agree = True
    for pair in range(pairs + 1):
        told = {}
        for side in sorted((0, 1), reverse=bool(pair % 2)):
            started = time.perf_counter()
            told[side] = (ours, theirs)[side]()
            if pair:
                times[side].append(time.perf_counter() - started)
        agree = agree and told[1] in (None, told[0])
    ratios = [b / a for a, b in zip(*times, strict=True)]
    same = "" if told[1] is None else "yes" if agree else "NO"
    mine, others = map(statistics.median, times)
    ratio = f"{statistics.median(ratios):,.2f}"
    return [what, f"{mine:.3f}", other, f"{others:.3f}", ratio, spread(ratios), same], agree


def library(root: Path, base: str, head: str) -> Callable[[], Names]:
    """The comparison as a call in this process; of one call the next one knows nothing."""
    repo = open_repository(root)
    objects = open_objects(repo)

    def ask() -> Names:
        added, removed, modified = set(), set(), set()
        for change in changes_between(repo, base, head, objects):
            top = change.dataset
            inner = f"{top}/" if change.total > 1 else top.removesuffix(top.rpartition("/")[2])
            added |= {inner + path for path in change.added}
            added |= {inner + new for _, new in change.renamed}
            removed |= {inner + path for path in change.removed}
            removed |= {inner + old for old, _ in change.renamed}
            modified |= {inner + path for path in change.modified}
        return frozenset(added), frozenset(removed), frozenset(modified)

    return ask


def dvc_library(root: Path, base: str, head: str) -> Callable[[], Names]:
    """The same by DVC's own function, in this process."""
    from dvc.repo import Repo

    repo = Repo(str(root))
    return lambda: from_dvc(repo.diff(base, head))


def from_dvc(diff: dict) -> Names:
    """The files in what DVC says; folders are left out, a rename is one gone and one come."""

    def names(kind: str) -> frozenset[str]:
        return frozenset(i["path"] for i in diff.get(kind, []) if not i["path"].endswith("/"))

    renamed = [item["path"] for item in diff.get("renamed", [])]
    added = names("added") | {pair["new"] for pair in renamed}
    return added, names("deleted") | {pair["old"] for pair in renamed}, names("modified")


def from_changes(told: dict) -> Names:
    """The files in the JSON of `lora-ci changes`."""
    (change,) = told["datasets"].values()

    def full(names: list[str]) -> frozenset[str]:
        return frozenset(f"{DATASET}/{name}" for name in names)

    added = change["added"] + [new for _, new in change["renamed"]]
    removed = change["removed"] + [old for old, _ in change["renamed"]]
    return full(added), full(removed), full(change["modified"])


def build_manifests(folder: Path, files: int) -> tuple[Path, str, str, list[Path]]:
    """Two commits of a dataset: one file in a hundred changed, at least one of each kind.

    Only the manifests exist; the files themselves are asked for by nobody.
    """
    repo = RepoBuilder(folder)
    listed = {f"pictures/{i:07d}.png": f"picture {i}" for i in range(files)}
    commits, manifests = [], []
    names, some = sorted(listed), max(1, files // 400)
    for step in range(2):
        if step:
            listed |= {name: f"other {name}" for name in names[:some]}
            listed |= {f"pictures/new-{i}.png": f"new {i}" for i in range(some)}
            for name in names[some : 2 * some]:
                del listed[name]
            for name in names[2 * some : 3 * some]:
                listed[f"moved/{Path(name).name}"] = listed.pop(name)
        entries = [
            {"md5": hashlib.md5(text.encode()).hexdigest(), "relpath": name}
            for name, text in sorted(listed.items())
        ]
        md5 = store(repo, json.dumps(entries).encode(), ".dir")
        pointer = f"outs:\n- md5: {md5}\n  nfiles: {len(listed)}\n  hash: md5\n  path: mei\n"
        repo.write(f"{DATASET}.dvc", pointer)
        commits.append(repo.commit())
        manifests.append(cached(repo, md5))
    return repo.root, commits[0], commits[1], manifests


def store(repo: RepoBuilder, data: bytes, suffix: str = "") -> str:
    """Puts an object into DVC's cache and returns its name."""
    md5 = hashlib.md5(data).hexdigest() + suffix
    path = cached(repo, md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return md5


def cached(repo: RepoBuilder, md5: str) -> Path:
    """Where DVC's cache has an object."""
    return repo.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def call(root: Path, *command: str) -> dict:
    """The JSON that a whole command prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
