"""Runs an example script of diffusers in this process, unchanged, and records its steps."""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import runpy
import sys
import types
from pathlib import Path

from benchmarks.clock import start_clock

ADAPTER = "pytorch_lora_weights.safetensors"


def main() -> None:
    """Runs the script with the arguments after `--`; the record goes into --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("arguments", nargs="*", help="after `--`: arguments of the script")
    args = parser.parse_args()
    torchvision = ensure_torchvision()
    clock = start_clock()
    sys.argv = [str(args.script), f"--output_dir={args.output}", *args.arguments]
    runpy.run_path(str(args.script), run_name="__main__")
    clock.write(args.output, ADAPTER, torchvision=torchvision)


def ensure_torchvision() -> str:
    """`real`, or `stand-in` if torchvision cannot be imported and ours took its place."""
    # These look for torchvision when they are imported; they must not find the stand-in. The
    # script imports them all anyway.
    for name in ("datasets", "transformers", "diffusers"):
        importlib.import_module(name)
    try:
        importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError):
        package = types.ModuleType("torchvision")
        package.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
        package.transforms = importlib.import_module("benchmarks.transforms")
        functional = types.ModuleType("torchvision.transforms.functional")
        functional.crop = package.transforms.crop
        sys.modules |= {
            "torchvision": package,
            "torchvision.transforms": package.transforms,
            "torchvision.transforms.functional": functional,
        }
        return "stand-in"
    return "real"


if __name__ == "__main__":
    main()
