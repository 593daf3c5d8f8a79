"""Where a base computes, and in which floats."""

from __future__ import annotations

import torch

NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def best_device() -> str:
    """The device that is fastest for pictures."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_name(precision: str, device: torch.device | str) -> str:
    """The name of the base's dtype, as `load_base` takes it, for a setting of `precision`."""
    if precision != "auto":
        return NAMES[precision]
    if torch.device(device).type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
