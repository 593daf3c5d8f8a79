"""Choosing a diverse part of a set: time and value, against plain greedy, apricot and baselines.

The sets are unit vectors of 512 numbers in heaps of uneven sizes. All times are CPU seconds of one
core, kernel included, and every way of choosing is judged by the same F (`select.value_of`) and by
the Vendi score of what it chose. What is compared runs in turn, `--pairs` times; the fastest of
each counts, and ratios are taken within a pair.

apricot runs in an environment of its own (`--apricot PYTHON`): it is given the same likenesses, and
its first call, which compiles, does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import machine, render_table, spread
from lora_ci.dataset.select import Features, select, value_of
from lora_ci.ruler.vendi import vendi_score

WIDTH = 512
SMALL = (2_000, 100)
LARGE = (10_000, 500)
# More than are looked at whole.
SAMPLED = (20_000, 200)
APRICOT = """
import json, sys, time
import numpy as np
from apricot import FacilityLocationSelection
features, count = np.load(sys.argv[1]), int(sys.argv[2])

def choose():
    before = time.process_time()
    likeness = np.maximum(features @ features.T, 0).astype(np.float64)
    found = FacilityLocationSelection(count, metric="precomputed", optimizer="lazy").fit(likeness)
    return time.process_time() - before, [int(i) for i in found.ranking]

choose()
print(json.dumps(choose()))
"""

Chosen = tuple[float, list[int]]
Way = Callable[[Features, int], Chosen]


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes of the sets")
    parser.add_argument("--apricot", metavar="PYTHON", help="of an environment with apricot-select")
    parser.add_argument(
        "--plain", action="store_true", help="plain greedy of the large set too, once: a minute"
    )
    args = parser.parse_args()
    print(machine())
    ways = {"plain greedy": (plain_greedy, args.pairs)}
    if args.apricot:
        ways["apricot 0.6.1, lazy"] = (partial(apricot, args.apricot), args.pairs)
    plain = {"plain greedy": (plain_greedy, 1)} if args.plain else {}
    rows: list[tuple[str, ...]] = []
    for (n, count), others in ((SMALL, ways), (LARGE, plain), (SAMPLED, {})):
        rows += compared(round(n * args.share), round(count * args.share), others, args.pairs)
    print(render_table(("set", "way", "CPU s", "times as long", "F", "Vendi score"), rows))
    return 0


def compared(
    n: int, count: int, others: Mapping[str, tuple[Way, int]], pairs: int
) -> list[tuple[str, ...]]:
    """A row for each way of choosing `count` of `n`; of each other way, how often."""
    features = made(n)
    times: dict[str, list[float]] = {}
    chosen: dict[str, list[int]] = {}
    for pair in range(pairs):
        for name, (way, often) in {"lora-ci": (ours, pairs), **others}.items():
            if pair < often:
                spent, chosen[name] = way(features, count)
                times.setdefault(name, []).append(spent)
    chosen["k-center"] = k_center(features, count)
    chosen["random"] = np.random.default_rng(1).choice(n, count, replace=False).tolist()
    whole = value_of(features, np.zeros(n), chosen["lora-ci"])
    rows: list[tuple[str, ...]] = []
    for name, indexes in chosen.items():
        ratios = [a / b for a, b in zip(times.get(name, ()), times["lora-ci"], strict=False)]
        rows.append(
            (
                f"{n:,} × {WIDTH}, {count}",
                name,
                f"{min(times[name]):.2f}" if name in times else "",
                spread(ratios, 1) if ratios and name != "lora-ci" else "",
                f"{value_of(features, np.zeros(n), indexes) / whole:.4f}",
                f"{vendi_score(features[indexes]):.1f}",
            )
        )
    return rows


def made(n: int) -> Features:
    """Unit vectors [n, 512] around n / 30 middles, some of which have many."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(n // 30, WIDTH))
    shares = rng.pareto(1.5, len(middles)) + 0.1
    heap = rng.choice(len(middles), n, p=shares / shares.sum())
    vectors = (middles[heap] + rng.normal(size=(n, WIDTH))).astype(np.float32)
    unit: Features = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def ours(features: Features, count: int) -> Chosen:
    """What `dataset build` does, without quality."""
    before = time.process_time()
    found = select(features, np.zeros(len(features)), count)
    return time.process_time() - before, found.indexes


def plain_greedy(features: Features, count: int) -> Chosen:
    """Every gain anew for every choice, in blocks."""
    before = time.process_time()
    likeness = features @ features.T
    best = np.zeros(len(features), np.float32)
    chosen: list[int] = []
    for _ in range(count):
        gains = np.concatenate([_gains(likeness[at : at + 256], best) for at in _starts(likeness)])
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        np.maximum(best, likeness[chosen[-1]], out=best)
    return time.process_time() - before, chosen


def _starts(likeness: NDArray[np.float32]) -> range:
    return range(0, len(likeness), 256)


def _gains(rows: NDArray[np.float32], best: NDArray[np.float32]) -> NDArray[np.float32]:
    gains: NDArray[np.float32] = (np.maximum(rows, best) - best).sum(axis=1)
    return gains


def apricot(python: str, features: Features, count: int) -> Chosen:
    """The library's lazy greedy on the same likenesses."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.npy"
        np.save(file, features)
        done = subprocess.run(
            [python, "-c", APRICOT, str(file), str(count)],
            capture_output=True,
            text=True,
            check=True,
            timeout=1800,
            env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    spent, indexes = json.loads(done.stdout)
    return float(spent), indexes


def k_center(features: Features, count: int) -> list[int]:
    """Each time the picture that is farthest from the chosen (Gonzalez 1985)."""
    chosen = [0]
    nearest = features @ features[0]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        np.maximum(nearest, features @ features[chosen[-1]], out=nearest)
    return chosen


if __name__ == "__main__":
    raise SystemExit(main())
