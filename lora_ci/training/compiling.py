"""torch.compile, where the machine has what it needs."""

from __future__ import annotations

import torch

from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.load import BaseModel


def compile_blocks(model: BaseModel) -> tuple[Finding, ...]:
    """Compiles the blocks that the denoiser repeats, each once; a warning where that cannot be.

    Whole models would take minutes, and as long again for every bucket.
    """
    denoiser = model.denoiser
    try:
        _try_compiler(model.device)
        # What a compiler that works cannot do with a model is computed as it stands.
        torch._dynamo.config.suppress_errors = True
        if getattr(denoiser, "_repeated_blocks", None):
            denoiser.compile_repeated_blocks(dynamic=True)
        else:
            denoiser.compile(dynamic=True)
    except Exception as error:  # noqa: BLE001 - compilers fail with any error
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return (
            Finding(
                rule="train.not-compiled",
                severity=Severity.WARNING,
                message=f"`train.compile`: torch.compile does not work here: {words}",
                hint="steps are as fast as without it; next: install a C++ compiler, on a GPU "
                "also triton",
            ),
        )
    return ()


def _try_compiler(device: torch.device) -> None:
    """Compiles one line: otherwise the first step is where a missing compiler is found."""

    def line(x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1

    torch.compile(line)(torch.zeros(8, device=device))
