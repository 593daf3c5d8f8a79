"""Adapter files of SDXL's shapes: export with its gate, and resizing against a dense SVD.

The adapter has a layer on everything that kohya's tools teach of SDXL (986 modules), with random
numbers, at the rank that makes the file as big as `--megabytes` says. Resizing is compared with an
SVD of the whole ΔW, one layer of each shape, in turn; the last row weighs the shapes by how often
they occur. Both give the same ranks and the same errors, else the benchmark fails.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.table import machine, render_table, spread
from lora_ci.formats.adapter import LoraLayer
from lora_ci.formats.convert import to_kohya
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.read import read_adapter
from lora_ci.formats.resize import resize, resize_layer
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import random_adapter
from tests.formats.real_bases import shapes_of, taught

WANTED_RANK = 8
TOLERANCE = 1e-4


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--rank", type=int, default=32, help="of the layers that are resized")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--shapes", type=int, help="compare only so many shapes, the smallest")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shapes = taught(shapes_of("sdxl"))
    print(machine())
    print(render_table(("what", "s"), files(shapes, args.megabytes, args.pairs)))
    print(render_table(HEADER, resizing(shapes, args.rank, args.pairs, args.shapes)))
    return 0


def files(
    shapes: dict[str, tuple[int, ...]], megabytes: float, pairs: int
) -> list[tuple[str, str]]:
    """Seconds to write, gate included, to read, to inspect, and to resize a file."""
    numbers = sum(shape[0] + math.prod(shape[1:]) for shape in shapes.values())
    rank = max(1, round(megabytes * 1e6 / 4 / numbers))
    adapter = random_adapter(shapes, rank=rank, family="sdxl")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        tasks: dict[str, Callable[[], object]] = {
            "export to kohya, read back and every effect compared": lambda: write_adapter(
                adapter, path, Format.KOHYA
            ),
            "of it, naming and baking alpha": lambda: to_kohya(adapter),
            "of it, comparing effects": lambda: compare_effect(adapter, adapter),
            "of it, reading the file": lambda: read_adapter(path),
            "inspect": lambda: inspect_file(path),
            f"resize to rank {max(1, rank // 2)}": lambda: resize(adapter, rank=max(1, rank // 2)),
        }
        rows = [
            (name, spread([seconds(task) for _ in range(pairs)])) for name, task in tasks.items()
        ]
        size = f"{path.stat().st_size / 1e6:.0f} MB, {len(shapes)} layers, rank {rank}"
    return [(f"the file: {size}", ""), *rows]


HEADER = ("weight", "layers", "lora-ci, ms", "dense SVD, ms", "times faster", "range")


def resizing(
    shapes: dict[str, tuple[int, ...]], rank: int, pairs: int, limit: int | None
) -> list[tuple[str, ...]]:
    """A row for each shape, and one for all layers together."""
    counts = Counter(shapes.values())
    kinds = sorted(counts, key=math.prod)[:limit]
    compare(layer_of(kinds[0], rank), 0)  # not counted: what is loaded once
    rows, ours_s, dense_s = [], 0.0, 0.0
    for shape in kinds:
        layer = layer_of(shape, rank)
        pair = [compare(layer, turn) for turn in range(pairs)]
        ours, dense = (statistics.median(p[i] for p in pair) for i in (0, 1))
        ratios = [dense / ours for ours, dense in pair]
        name, count = "×".join(map(str, shape)), counts[shape]
        rows.append(row(name, count, ours, dense, ratios))
        ours_s, dense_s = ours_s + count * ours, dense_s + count * dense
    total = sum(counts[shape] for shape in kinds)
    return [*rows, row("all", total, ours_s, dense_s, [dense_s / ours_s])]


def layer_of(shape: tuple[int, ...], rank: int) -> LoraLayer:
    """Random numbers on a weight of this shape."""
    return random_adapter({"x": shape}, rank=rank).layers["x"]


def row(name: str, count: int, ours: float, dense: float, ratios: list[float]) -> tuple[str, ...]:
    """One line of the table."""
    faster = f"{statistics.median(ratios):.1f}"
    return (name, str(count), f"{ours * 1e3:.1f}", f"{dense * 1e3:.0f}", faster, spread(ratios, 1))


def compare(layer: LoraLayer, turn: int) -> tuple[float, float]:
    """Seconds of both on one layer, in turn; they must agree."""
    took, errors = {}, {}
    for name in ("ours", "dense") if turn % 2 else ("dense", "ours"):
        started = time.perf_counter()
        if name == "ours":
            errors[name] = resize_layer("x", layer, WANTED_RANK, None)[1].error
        else:
            errors[name] = dense_resize(layer, WANTED_RANK)
        took[name] = time.perf_counter() - started
    if abs(errors["ours"] - errors["dense"]) > TOLERANCE:
        raise RuntimeError(f"the two disagree: {errors}")
    return took["ours"], took["dense"]


def dense_resize(layer: LoraLayer, rank: int) -> float:
    """The same by an SVD of the whole matrix; returns the relative error."""
    left, values, right = torch.linalg.svd(layer.delta().flatten(1), full_matrices=False)
    root = values[:rank].sqrt()
    _ = (left[:, :rank] * root, root[:, None] * right[:rank])
    return float(values[rank:].norm() / values.norm())


def seconds(task: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
