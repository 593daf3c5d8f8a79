"""Models of transformers and diffusers from folders of this machine, with all of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def load_whole(model_class: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model, ready to look, with nothing to learn.

    Raises ValueError for weights that are missing, and what the library raises.
    """
    model, told = model_class.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
    )
    # What its file does not have would be drawn at random, with no more than a warning.
    if told["missing_keys"]:
        raise ValueError(f"no {', '.join(sorted(told['missing_keys'])[:3])} in its weights")
    return model.eval().requires_grad_(False)
