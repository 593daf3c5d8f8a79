"""Runs diffusers' `train_text_to_image_lora.py` in this process, unchanged, and records its steps.

The script tells its tracker the loss once a step, after the optimizer has stepped: the clock is
read there.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import json
import runpy
import sys
import time
import types
from pathlib import Path


def main() -> None:
    """Runs the script with the arguments after `--`; writes `record.json` into --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("arguments", nargs="*", help="after `--`: arguments of the script")
    args = parser.parse_args()
    torchvision = ensure_torchvision()
    from accelerate import Accelerator

    ended_at: list[float] = []

    def log(*_: object, **__: object) -> None:
        ended_at.append(time.perf_counter())

    Accelerator.log = log
    sys.argv = [str(args.script), f"--output_dir={args.output}", *args.arguments]
    runpy.run_path(str(args.script), run_name="__main__")
    record = {
        "ended_at": ended_at,
        "adapter": "pytorch_lora_weights.safetensors",
        "torchvision": torchvision,
    }
    (args.output / "record.json").write_text(json.dumps(record))


def ensure_torchvision() -> str:
    """`real`, or `stand-in` if torchvision cannot be imported and ours took its place."""
    # These look for torchvision when they are imported; they must not find the stand-in.
    for name in ("datasets", "transformers", "diffusers"):
        importlib.import_module(name)
    try:
        importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError):
        package = types.ModuleType("torchvision")
        package.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
        package.transforms = importlib.import_module("benchmarks.transforms")
        sys.modules |= {
            "torchvision": package,
            "torchvision.transforms": package.transforms,
        }
        return "stand-in"
    return "real"


if __name__ == "__main__":
    main()
