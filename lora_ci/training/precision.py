"""In which floats the base computes; the adapter's weights are float32 always."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

FIRST_SCALE = 2.0**16
GROWS_AFTER = 2000
# float16 reaches from 6e-8 to 65504: where so many halvings do not help, the loss is no number.
SKIPS_ALLOWED = 20


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Where the base is in half precision, the adapter's float32 weights compute in it too."""
    context: AbstractContextManager[object] = torch.autocast(
        device.type, dtype, enabled=dtype != torch.float32
    )
    return context


@dataclass(slots=True, kw_only=True)
class LossScale:
    """The factor that keeps small float16 gradients from becoming 0; not used for other dtypes.

    A gradient that is no number halves it and the step is left out; after many good steps it is
    doubled. `skipped` steps were left out in a row, `left_out` in all.
    Source: Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740, section 3.2.
    """

    used: bool = False
    scale: float = 1.0
    good: int = 0
    skipped: int = 0
    left_out: int = 0

    def heed(self, *, finite: bool) -> bool:
        """Takes note of a gradient; True if the step may be taken. Unused, it says yes to all."""
        if not self.used:
            return True
        self.skipped = 0 if finite else self.skipped + 1
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale /= 2
            self.left_out += 1
        elif self.good == GROWS_AFTER:
            self.scale, self.good = self.scale * 2, 0
        return finite


def loss_scale(dtype: torch.dtype) -> LossScale:
    """A fresh one for a base in `dtype`."""
    used = dtype == torch.float16
    return LossScale(used=used, scale=FIRST_SCALE if used else 1.0)
