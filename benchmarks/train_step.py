"""Seconds a training step: lora_ci's trainer against diffusers' official example script.

Same base model, pictures, batch size, rank, resolution, optimizer, rates, loss weights, number of
steps; fp32, one thread, a fresh process each, in turn. What both learned is measured afterwards by
one ruler: the loss of the two adapters on the same pictures with the same noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.table import machine, render_table, spread
from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.diffusion.objective import objective_of
from lora_ci.training.cache import cached_captions, cached_latents
from lora_ci.training.data import read_samples
from lora_ci.training.draws import draw_step

ROOT = Path(__file__).parents[1]
BASE = ROOT / "examples" / "emoji" / "base"
PICTURES = ROOT / "examples" / "emoji" / "pictures" / "fluent3d"
COUNT, BATCH, RANK, RESOLUTION, RATE, GAMMA = 80, 8, 16, 64, 1e-3, 5.0
WARM_UP_STEPS = 5
TIMEOUT_S = 600
RULER_SEED, RULER_BATCHES = 12345, 40
WHERE = """\
skipped: the official script; next: --script with the path of
  https://github.com/huggingface/diffusers/blob/main/examples/text_to_image/train_text_to_image_lora.py
  and --python with an interpreter that has lora-ci's packages and `datasets`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: the median step, the whole process, the adapter, what else is to be told."""

    step_s: float
    process_s: float
    adapter: Path
    notes: str


def main() -> int:
    """Prints the table; the official script's row is left out without `--script`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, help="train_text_to_image_lora.py of diffusers")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the script")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        shutil.copytree(BASE, here / "base")
        write_dataset(here / "dataset")
        commands = {"lora_ci": ours(here, args.steps)}
        if args.script:
            commands["official"] = official(here, args.steps, args.script.resolve(), args.python)
        else:
            print(WHERE)
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for pair in range(args.pairs):
            for name in sorted(commands, reverse=bool(pair % 2)):
                runs[name].append(train(commands[name], here / f"{name}-{pair}", args.steps))
        losses = measure_losses({name: of[0].adapter for name, of in runs.items()}, here)
    print(render(runs, losses))
    return 0


def write_dataset(folder: Path) -> None:
    """Pictures with captions, in both layouts: sidecars for us, metadata.jsonl for the script."""
    folder.mkdir()
    lines = []
    for path in sorted(PICTURES.glob("*.png"))[:COUNT]:
        sidecar = path.with_suffix(".txt")
        shutil.copy(path, folder)
        shutil.copy(sidecar, folder)
        lines.append(json.dumps({"file_name": path.name, "text": sidecar.read_text().strip()}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def ours(here: Path, steps: int) -> list[str]:
    """The command of our trainer, `--output` to come."""
    settings = {
        "rank": RANK,
        "alpha": float(RANK),
        "learning_rate": RATE,
        "schedule": "constant",
        "batch_size": BATCH,
        "images_seen": BATCH * steps,
        "resolution": RESOLUTION,
        "caption_dropout": 0.0,
        "min_snr_gamma": GAMMA,
        "checkpoint_every": steps + 1,
    }
    command = [sys.executable, "-m", "benchmarks.step_ours", "--output", "{output}"]
    return [
        *command,
        f"--base={here / 'base'}",
        f"--dataset={here / 'dataset'}",
        f"--settings={json.dumps(settings)}",
    ]


def official(here: Path, steps: int, script: Path, python: str) -> list[str]:
    """The command of the official script; its defaults for AdamW are those of ours."""
    command = [python, "-m", "benchmarks.step_official", "--output", "{output}"]
    return [
        *(*command, f"--script={script}", "--"),
        f"--pretrained_model_name_or_path={here / 'base'}",
        f"--train_data_dir={here / 'dataset'}",
        f"--cache_dir={here / 'datasets-cache'}",
        f"--resolution={RESOLUTION}",
        "--center_crop",
        f"--train_batch_size={BATCH}",
        f"--max_train_steps={steps}",
        f"--checkpointing_steps={steps + 1}",
        f"--learning_rate={RATE}",
        "--lr_scheduler=constant",
        "--lr_warmup_steps=0",
        f"--snr_gamma={GAMMA}",
        f"--rank={RANK}",
        "--seed=0",
        "--mixed_precision=no",
    ]


def train(command: list[str], output: Path, count: int) -> Run:
    """One process, from start to end; it must have recorded `count` steps and nothing else."""
    output.mkdir()
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    started = time.perf_counter()
    done = subprocess.run(
        [str(output) if word == "{output}" else word for word in command],
        cwd=ROOT,
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    process_s = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
    record = json.loads((output / "record.json").read_text())
    if len(record["ended_at"]) != count:
        sys.exit(f"{' '.join(command[:3])}: {len(record['ended_at'])} steps recorded, not {count}")
    ended_at = record["ended_at"][WARM_UP_STEPS:]
    steps = [end - start for start, end in itertools.pairwise(ended_at)]
    return Run(
        step_s=statistics.median(steps),
        process_s=process_s,
        adapter=output / record["adapter"],
        notes=f"torchvision: {record['torchvision']}" if "torchvision" in record else "",
    )


def measure_losses(adapters: dict[str, Path], here: Path) -> dict[str, float]:
    """The mean training loss of the base and with each adapter, over the same draws."""
    torch.set_num_threads(1)
    model = load_base(here / "base")
    samples = read_samples(here / "dataset", "")
    cache = here / "ruler-cache"
    latents = cached_latents(model, samples, RESOLUTION, flip=False, cache=cache, base="base")
    captions = cached_captions(model, [s.caption for s in samples], cache=cache, base="base")
    losses = {"base": ruler(model, latents, captions)}
    for name, path in adapters.items():
        attached = attach(model, path)
        losses[name] = ruler(model, latents, captions)
        detach(attached)
    return losses


def ruler(model: BaseModel, latents: torch.Tensor, captions: torch.Tensor) -> float:
    """The weighted loss, with noise and time steps that no training has drawn."""
    objective, total = objective_of(model), 0.0
    for step in range(RULER_BATCHES):
        draw = draw_step(
            RULER_SEED,
            step,
            count=len(latents),
            batch=16,
            timesteps=model.scheduler.config.num_train_timesteps,
            shape=tuple(latents.shape[2:]),
            dropout=0.0,
        )
        x, times = latents[draw.samples, 0], draw.timesteps
        noisy = objective.add_noise(x, draw.noise, times)
        with torch.no_grad():
            out = denoise(model, noisy, times, Conditioning(tokens=captions[draw.samples]))
        error = (out - objective.target(x, draw.noise, times)).square().mean(dim=(1, 2, 3))
        total += (objective.loss_weight(times, GAMMA) * error).mean().item()
    return total / RULER_BATCHES


def render(runs: dict[str, list[Run]], losses: dict[str, float]) -> str:
    """The table; the ratio is the median over the pairs."""
    rows = [["base, untrained", "", "", "", "", f"{losses['base']:.4f}", ""]]
    for name, of in runs.items():
        ratios = [
            mine.step_s / its.step_s for mine, its in zip(of, runs.get("official", of), strict=True)
        ]
        rows.append(
            [
                name,
                f"{statistics.median(run.step_s for run in of):.4f}",
                f"{statistics.median(ratios):.2f}" if "official" in runs else "not measured",
                spread(ratios) if "official" in runs else "",
                f"{statistics.median(run.process_s for run in of):.1f}",
                f"{losses[name]:.4f}",
                of[0].notes,
            ]
        )
    header = [
        "trainer",
        "s/step",
        "of the official",
        "range",
        "process, s",
        "loss afterwards",
        "notes",
    ]
    return render_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
