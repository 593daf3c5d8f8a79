"""How well the memory of a training is foretold from past ones: four ways, on played records.

No GPU is needed: teams, their configs and what their trainings took are drawn, with noise, with
records that took far more than usual (a preview, another algorithm) and with some that took far
less (begun again near the end). What is foretold is the memory of the *process*, of which a record
knows what PyTorch had allocated: a CUDA context and the gaps between its blocks come on top. Half
of a team's trainings are records, the other half is foretold.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.table import machine, render_table
from lora_ci.plan import memory
from lora_ci.plan.memory import CONTEXT_GIB, MARGIN

# GiB of the weights, of the activations of one picture of 512 × 512 (kept; computed twice), and of
# the adapter with its gradients and moments at rank 16.
FAMILIES = {
    "sd15": (2.1, 2.3, 0.55, 0.05),
    "sdxl": (6.9, 2.6, 0.7, 0.35),
    "flux": (24.0, 5.5, 1.1, 0.9),
}
HEADER = ["way", "trainings seen", "foretold", "too low", "too low by", "too high by"]


@dataclass(frozen=True)
class Shape:
    """What a training needs memory for."""

    base: str
    rows: int
    resolution: int
    checkpointing: bool
    rank: int

    @property
    def work(self) -> float:
        """Pictures of 512 × 512 at once."""
        return self.rows * (self.resolution / 512) ** 2


@dataclass(frozen=True)
class Seen:
    """A past training: its shape, and what PyTorch had allocated at most, GiB."""

    shape: Shape
    peak: float


Way = Callable[[Shape, Sequence[Seen]], float | None]


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine())
    rows = []
    for seen in (2, 6, 20):
        for name, way in WAYS.items():
            rows.append([name, str(seen), *measure(way, seen, args.teams, args.seed)])
    print(render_table(HEADER, rows))
    return 0


def measure(way: Way, seen: int, teams: int, seed: int) -> list[str]:
    """How often a way says something, how often that is too low, and how far it is off."""
    ratios, asked = [], 0
    for team in range(teams):
        rng = random.Random(f"{seed} {team}")
        records, later = _team(rng, seen)
        for shape, took in later:
            asked += 1
            if (told := way(shape, records)) is not None:
                ratios.append(told / took)
    low = [r for r in ratios if r < 1]
    return [
        f"{len(ratios) / asked:.0%}",
        f"{len(low) / max(1, len(ratios)):.1%}",
        f"{1 - statistics.median(low):.0%}" if low else "–",
        f"{statistics.median(ratios) - 1:.0%}" if ratios else "–",
    ]


def _team(rng: random.Random, seen: int) -> tuple[list[Seen], list[tuple[Shape, float]]]:
    """What a team has trained, and what it trains next with what that takes."""
    bases = [
        (f"{family}-{i}", family)
        for i, family in enumerate(rng.choices(sorted(FAMILIES), k=rng.randint(1, 3)))
    ]
    habits = [_shape(rng, *rng.choice(bases)) for _ in range(rng.randint(1, 4))]
    # No two trainers and drivers take the same.
    scale = {base: rng.lognormvariate(0, 0.1) for base, _ in bases}
    families = dict(bases)

    def train() -> tuple[Shape, float, float]:
        shape = rng.choice(habits)
        if rng.random() < 0.4:
            # A search, or somebody who tries something.
            change = rng.choice(["rows", "resolution", "rank", "checkpointing"])
            other = _shape(rng, shape.base, families[shape.base])
            shape = replace(shape, **{change: getattr(other, change)})
        usual = _peak(shape, families[shape.base]) * scale[shape.base]
        peak = usual * rng.lognormvariate(0, 0.03)
        if rng.random() < 0.05:
            peak *= rng.uniform(1.1, 1.4)
        process = peak * rng.uniform(1.02, 1.12) + rng.uniform(0.4, 0.7)
        recorded = peak * rng.uniform(0.3, 0.6) if rng.random() < 0.03 else peak
        return shape, recorded, process

    past = [train() for _ in range(seen)]
    later = [train() for _ in range(20)]
    return [Seen(s, p) for s, p, _ in past], [(s, process) for s, _, process in later]


def _shape(rng: random.Random, base: str, family: str) -> Shape:
    sizes = {"sd15": (512, 768), "sdxl": (768, 1024), "flux": (512, 1024)}[family]
    return Shape(
        base=base,
        rows=rng.choice([1, 2, 4, 8]),
        resolution=rng.choice(sizes),
        checkpointing=rng.random() < 0.5,
        rank=rng.choice([4, 8, 16, 32, 64]),
    )


def _peak(shape: Shape, family: str) -> float:
    weights, kept, twice, adapter = FAMILIES[family]
    activations = shape.work * (twice if shape.checkpointing else kept)
    return weights + activations + adapter * shape.rank / 16


# The ways


def _told(peak: float) -> float:
    return peak * MARGIN + CONTEXT_GIB


def largest_alike(shape: Shape, past: Sequence[Seen]) -> float | None:
    """The most that a training of the very same shape took."""
    peaks = [p.peak for p in past if p.shape == shape]
    return _told(max(peaks)) if peaks else None


def least_above(shape: Shape, past: Sequence[Seen]) -> float | None:
    """What lora-ci does: see `lora_ci.plan.memory`."""
    return memory.memory_gib(_ours(shape), [memory.Seen(_ours(p.shape), p.peak) for p in past])


def _ours(shape: Shape) -> memory.Shape:
    return memory.Shape(
        alike=(shape.base,),
        pixels=shape.rows * shape.resolution**2,
        rank=shape.rank,
        checkpointing=shape.checkpointing,
        wide=False,
    )


def median_ratio(shape: Shape, past: Sequence[Seen]) -> float | None:
    """The base's own median against a rule of thumb, drawn towards all bases', and a quantile."""
    ratios: dict[str, list[float]] = {}
    for p in past:
        ratios.setdefault(p.shape.base, []).append(p.peak / _thumb(p.shape))
    if shape.base not in ratios:
        return None
    mine = ratios[shape.base]
    centre = statistics.median([r for some in ratios.values() for r in some])
    weight = len(mine) / (len(mine) + 1)
    ratio = weight * statistics.median(mine) + (1 - weight) * centre
    off = [r / statistics.median(some) for some in ratios.values() for r in some]
    return _told(_thumb(shape) * ratio * float(np.quantile(off, 0.9)))


def _thumb(shape: Shape) -> float:
    """Half of the memory stays, half goes with the work: no family is known of a base."""
    return 4 + shape.work * (0.6 if shape.checkpointing else 2.4) + shape.rank / 64


def quantile_line(shape: Shape, past: Sequence[Seen]) -> float | None:
    """Quantile regression of the base's records; the quantile 0.9."""
    mine = [p for p in past if p.shape.base == shape.base]
    if len(mine) < 5:
        return None
    design = np.array([_features(p.shape) for p in mine])
    peaks = np.array([p.peak for p in mine])
    weights = quantile_regression(design, peaks, 0.9)
    return _told(max(0.5, float(np.dot(_features(shape), weights))))


def _features(shape: Shape) -> list[float]:
    kept = 0.0 if shape.checkpointing else shape.work
    return [1.0, kept, shape.work - kept, shape.rank / 16]


def quantile_regression(design: np.ndarray, values: np.ndarray, quantile: float) -> np.ndarray:
    """Weights that leave about `quantile` of the values below; by reweighted least squares."""
    ridge = 1e-3 * np.eye(design.shape[1])
    weights = np.linalg.solve(design.T @ design + ridge, design.T @ values)
    for _ in range(60):
        off = values - design @ weights
        pull = np.where(off > 0, quantile, 1 - quantile) / np.maximum(np.abs(off), 1e-3)
        scaled = design * pull[:, None]
        weights = np.linalg.solve(design.T @ scaled + ridge, scaled.T @ values)
    return weights


WAYS: dict[str, Way] = {
    "most of the same shape": largest_alike,
    "least that asked for more": least_above,
    "median ratio, shrunk": median_ratio,
    "quantile regression": quantile_line,
}


if __name__ == "__main__":
    sys.exit(main())
