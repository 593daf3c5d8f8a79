"""Trainings at sites that cannot talk to each other, merged, against one machine with all pictures.

The emoji style, dealt out and merged by the commands that users type; the ruler is that of
`benchmarks/training.py`: the loss on pictures that no training saw.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.held_out import held_out_losses
from benchmarks.table import machine, render_table, spread
from benchmarks.training import GAMMA, RANK, ours, train
from benchmarks.worlds import World, build_world

HEADER = ["adapter", "steps a site", "rank", "held-out loss", "range", "of the gain"]
WHOLE = "one machine, all pictures"


def main() -> int:
    """Prints one table: medians over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lora-ci-bench-") as folder:
        world = build_world("emoji", Path(folder) / "world", steps=args.steps)
        sites = Path(folder) / "sites"
        lora_ci("shard", "split", world.dataset, "--sites", args.sites, "--out", sites)
        adapters: dict[tuple[str, int, int], list[Path]] = {}
        for seed in range(args.seeds):
            for key, path in one_seed(world, sites, seed, Path(folder) / f"seed-{seed}").items():
                adapters.setdefault(key, []).append(path)
        paths = [path for group in adapters.values() for path in group]
        base, *measured = held_out_losses(world, paths, GAMMA)
        losses = dict(zip(paths, measured, strict=True))
    print(f"{args.sites} sites, {args.seeds} seeds, {machine()}")
    found = {key: [losses[path] for path in group] for key, group in adapters.items()}
    print(render_table(HEADER, list(rows(base, found))))
    return 0


def one_seed(
    world: World, sites: Path, seed: int, folder: Path
) -> dict[tuple[str, int, int], Path]:
    """Every adapter of a seed, by what it is, its steps a site and its rank."""
    shards = sorted(sites.iterdir())
    count, shared = len(shards), world.steps // len(shards)
    made = {(WHOLE, world.steps, RANK): trained(world, world.steps, seed, folder / "whole")}
    for steps, what in ((shared, "as many steps in all"), (world.steps, "as many steps each")):
        parts = [
            trained(replace(world, dataset=shard), steps, seed, folder / f"{shard.name}-{steps}")
            for shard in shards
        ]
        merged = folder / f"merged-{steps}.safetensors"
        lora_ci("shard", "merge", *parts, "--out", merged)
        small = folder / f"small-{steps}.safetensors"
        lora_ci("formats", "resize", merged, small, "--rank", RANK)
        made[f"the first site alone, {what}", steps, RANK] = parts[0]
        made[f"merged, {what}", steps, RANK * count] = merged
        made[f"merged and resized, {what}", steps, RANK] = small
    return made


def trained(world: World, steps: int, seed: int, folder: Path) -> Path:
    """An adapter on the pictures of `world`."""
    return train(ours(world, steps, seed, folder / "cache"), folder / "run", steps).adapter


def rows(base: float, found: Mapping[tuple[str, int, int], Sequence[float]]) -> list[list[str]]:
    """A row for each; what one machine gains on the base is 100 %."""
    whole = next(statistics.median(of) for (what, *_), of in found.items() if what == WHOLE)
    made = [["none: the base", "", "", f"{base:.4f}", "", ""]]
    for (what, steps, rank), of in found.items():
        loss = statistics.median(of)
        gain = f"{(base - loss) / (base - whole):.0%}"
        made.append([what, str(steps), str(rank), f"{loss:.4f}", spread(of, 4), gain])
    return made


def lora_ci(*words: object) -> None:
    """A command as a user types it. Exits if it fails."""
    command = [sys.executable, "-m", "lora_ci", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
