"""lora_ci's trainer against diffusers' official example scripts, on two base models.

Same base, pictures, batch, rank, modules, optimizer, rates, loss weights, number of steps; fp32,
one thread, a fresh process each, in turn. What they learned is measured afterwards by one ruler.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clock import RECORD
from benchmarks.held_out import held_out_losses
from benchmarks.table import machine, render_table, spread
from benchmarks.worlds import World, build_world

ROOT = Path(__file__).parents[1]
RANK, RATE, GAMMA = 16, 1e-3, 5.0
# Of a run that only shows how soon a step is done where the caches are full.
WARM_STEPS = 2
TIMEOUT_S = 900
HEADER = ["what", "lora_ci", "official", "ratio", "range", "wanted"]
WHERE = """\
skipped: the official scripts; next: --scripts with a copy of the folder
  https://github.com/huggingface/diffusers/tree/main/examples/text_to_image
  and --python with an interpreter that has lora-ci's packages and `datasets`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training.

    `step_s` is the median step after the first epoch, `first_s` the time from the start of the
    process to the end of the first step; `step_cpu_s` and `first_cpu_s` are processor time.
    `peak_mib` is the largest memory until the last step, `whole_mib` until the process ended.
    """

    step_s: float
    step_cpu_s: float
    first_s: float
    first_cpu_s: float
    process_s: float
    peak_mib: float
    whole_mib: float
    adapter: Path
    notes: str


# What is compared: its name, how it is read from a run, its format, what the ratio may be.
MEASURES: tuple[tuple[str, Callable[[Run], float], str, str], ...] = (
    ("a step, s", lambda run: run.step_s, ".4f", "0.65"),
    ("a step, processor s", lambda run: run.step_cpu_s, ".4f", "0.65"),
    ("first step, caches empty, s", lambda run: run.first_s, ".2f", "0.70"),
    ("the same, processor s", lambda run: run.first_cpu_s, ".2f", "0.70"),
    ("peak memory while training, MiB", lambda run: run.peak_mib, ".0f", "1.00"),
    ("peak memory of the process, MiB", lambda run: run.whole_mib, ".0f", "1.00"),
    ("whole process, s", lambda run: run.process_s, ".1f", ""),
)


def main() -> int:
    """Prints a table for each world; without `--scripts` the official side is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=Path, help="folder of diffusers' examples")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the scripts")
    parser.add_argument("--worlds", nargs="+", default=["emoji", "sdxl"])
    parser.add_argument("--steps", type=int, help="instead of each world's own number")
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    if not args.scripts:
        print(WHERE)
    # As pip does with what it installs: the packages of the other side have their bytecode too.
    compileall.compile_dir(ROOT / "lora_ci", quiet=1)
    for name in args.worlds:
        with tempfile.TemporaryDirectory(prefix="lora-ci-bench-") as folder:
            world = build_world(name, Path(folder) / "world", steps=args.steps)
            trainers = {"lora_ci": ours}
            if args.scripts:
                script = args.scripts.resolve() / world.script
                print(f"{script.name}: sha256 {sha256(script)[:12]}")
                trainers["official"] = official(script, args.python)
            measure(world, trainers, args.pairs, Path(folder))
    return 0


Trainer = Callable[[World, int, int, Path], list[str]]


def measure(world: World, trainers: dict[str, Trainer], pairs: int, folder: Path) -> None:
    """Runs all pairs of a world and prints its table.

    Each pair is a whole training with empty caches, then the start of one with those it filled.
    """
    cold: dict[str, list[Run]] = {name: [] for name in trainers}
    warm: dict[str, list[Run]] = {name: [] for name in trainers}
    for pair in range(pairs):
        order = sorted(trainers, reverse=bool(pair % 2))
        for caches, steps, runs in (("empty", world.steps, cold), ("full", WARM_STEPS, warm)):
            for name in order:
                here = folder / f"{name}-{pair}"
                command = trainers[name](world, steps, pair, here / "cache")
                runs[name].append(train(command, here / caches, steps, world.epoch_steps))
    print(f"\n{world.name}, {pairs} pairs of {world.steps} steps, {machine()}")
    notes = sorted({run.notes for runs in cold.values() for run in runs if run.notes})
    print(*notes, sep="\n", end="\n" if notes else "")
    adapters = [run.adapter for runs in cold.values() for run in runs]
    base, *losses = held_out_losses(world, adapters, GAMMA)
    after = {name: losses[i * pairs : (i + 1) * pairs] for i, name in enumerate(cold)}
    rows = [row(what, cold, read, form, wanted) for what, read, form, wanted in MEASURES]
    again = [
        row("first step, caches full, s", warm, lambda run: run.first_s, ".2f", "0.70"),
        row("the same, processor s", warm, lambda run: run.first_cpu_s, ".2f", "0.70"),
    ]
    learned = compare(f"loss on held-out pictures ({base:.4f} before)", after, ".4f", "1.00")
    print(render_table(HEADER, [*rows[:4], *again, *rows[4:], learned]), flush=True)


def row(
    what: str, runs: dict[str, list[Run]], read: Callable[[Run], float], form: str, wanted: str
) -> list[str]:
    """One row of the table."""
    return compare(
        what, {name: [read(run) for run in of] for name, of in runs.items()}, form, wanted
    )


def compare(what: str, values: dict[str, list[float]], form: str, wanted: str) -> list[str]:
    """Medians of both, and the median and range of the ratio over the pairs."""
    shown = {name: format(statistics.median(of), form) for name, of in values.items()}
    if "official" not in values:
        return [what, shown["lora_ci"], "not measured", "", "", wanted]
    ratios = [a / b for a, b in zip(values["lora_ci"], values["official"], strict=True)]
    ratio = f"{statistics.median(ratios):.2f}"
    wanted = f"≤ {wanted}" if wanted else ""
    return [what, shown["lora_ci"], shown["official"], ratio, spread(ratios), wanted]


def ours(world: World, steps: int, seed: int, cache: Path) -> list[str]:
    """The command of our trainer, `--output` to come."""
    settings = {
        "rank": RANK,
        "alpha": RANK,
        "learning_rate": RATE,
        "schedule": "constant",
        "batch_size": world.batch,
        "steps": steps,
        "resolution": world.resolution,
        "buckets": False,
        "caption_dropout": 0.0,
        "min_snr_gamma": GAMMA,
        "checkpoint_every": steps + 1,
        "seed": seed,
    }
    command = [sys.executable, "-m", "benchmarks.train_ours", "--output", "{output}"]
    return [
        *command,
        f"--base={world.base}",
        f"--dataset={world.dataset}",
        f"--cache={cache}",
        f"--settings={json.dumps(settings)}",
    ]


def official(script: Path, python: str) -> Trainer:
    """Makes the command of an official script; its defaults for AdamW are those of ours."""

    def command(world: World, steps: int, seed: int, cache: Path) -> list[str]:
        start = [python, "-m", "benchmarks.train_official", "--output", "{output}"]
        return [
            *(*start, f"--script={script}", "--"),
            f"--pretrained_model_name_or_path={world.base}",
            f"--train_data_dir={world.dataset}",
            f"--cache_dir={cache}",
            f"--resolution={world.resolution}",
            "--center_crop",
            f"--train_batch_size={world.batch}",
            f"--max_train_steps={steps}",
            f"--checkpointing_steps={steps + 1}",
            f"--learning_rate={RATE}",
            "--lr_scheduler=constant",
            "--lr_warmup_steps=0",
            f"--snr_gamma={GAMMA}",
            f"--rank={RANK}",
            f"--seed={seed}",
            "--mixed_precision=no",
        ]

    return command


def train(command: Sequence[str], output: Path, count: int, epoch: int) -> Run:
    """One process, from start to end; it must have recorded `count` steps and nothing else."""
    output.mkdir(parents=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    started = time.monotonic()
    done = subprocess.run(
        [str(output) if word == "{output}" else word for word in command],
        cwd=ROOT,
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    process_s = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
    record = json.loads((output / RECORD).read_text())
    return as_run(record, output, count, epoch, started=started, process_s=process_s)


def as_run(
    record: dict, output: Path, count: int, epoch: int, *, started: float, process_s: float
) -> Run:
    """The run that a record tells of. Exits if it is of another number of steps."""
    if len(record["ended_at"]) != count:
        sys.exit(f"{output.parent.name}: {len(record['ended_at'])} steps recorded, not {count}")
    return Run(
        step_s=median_step(record["ended_at"], epoch),
        step_cpu_s=median_step(record["cpu_s"], epoch),
        first_s=record["ended_at"][0] - started,
        first_cpu_s=record["cpu_s"][0],
        process_s=process_s,
        peak_mib=record["peak_mib"][-1],
        whole_mib=record["whole_mib"],
        adapter=output / record["adapter"],
        notes=f"torchvision: {record['torchvision']}" if "torchvision" in record else "",
    )


def median_step(readings: Sequence[float], epoch: int) -> float:
    """The median difference of readings, those of the first epoch left out where there are more.

    We encode in the first epoch; the official scripts do in every one.
    """
    settled = readings[epoch:] if len(readings) > epoch + 1 else readings
    return statistics.median(end - start for start, end in itertools.pairwise(settled))


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
