"""A LoRA beside a linear layer, there and back in as few passes over memory as it takes.

peft computes the same from general parts: it multiplies and adds whole outputs where here the
second product is added while it is computed, and keeps more for the way back.

Shapes: n tokens of all pictures, i inputs, o outputs, r rank.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Of the adapter that is taught, in the names of its parameters.
NAME = "lora"


class LinearWithLora(torch.nn.Module):  # type: ignore[misc]
    """Takes the place of a linear layer, which stands still in it.

    Its parts are called what peft calls them, and begin as they do there: random numbers of the
    global source, then 0. Each of peft's own takes a millisecond more to make and to put in.
    """

    def __init__(self, base: torch.nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        down = torch.nn.Linear(base.in_features, rank, bias=False)
        up = torch.nn.Linear(rank, base.out_features, bias=False)
        # Drawn twice, as peft does: else all that is drawn after it would be other numbers.
        torch.nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        torch.nn.init.zeros_(up.weight)
        self.base_layer = base
        self.lora_A = torch.nn.ModuleDict({NAME: down.to(base.weight)})
        self.lora_B = torch.nn.ModuleDict({NAME: up.to(base.weight)})
        self.scale = scale

    @property
    def down(self) -> torch.nn.Parameter:
        """[r, i]."""
        return self.lora_A[NAME].weight

    @property
    def up(self) -> torch.nn.Parameter:
        """[o, r]."""
        return self.lora_B[NAME].weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[…, o] of x [..., i], in the precision of x."""
        base = self.base_layer
        out: torch.Tensor = _LinearWithLora.apply(
            x, base.weight, base.bias, self.down, self.up, self.scale
        )
        return out


class _LinearWithLora(torch.autograd.Function):  # type: ignore[misc]
    """x W' + b + s · (x A') B', in the precision of W; W and b do not learn.

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685, equation 3.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch gives them by position
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """[…, o] of x [..., i], weight [o, i], bias [o], down [r, i], up [o, r]."""
        tokens = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        out, narrow = there(tokens, weight, bias, down, up, scale)
        ctx.save_for_backward(tokens, narrow, weight, down, up)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of x, down and up."""
        tokens, narrow, weight, down, up = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        of_narrow, of_down, of_up = back(grad, tokens, narrow, down, up, ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (grad @ weight).addmm_(of_narrow, down.to(weight.dtype))
            of_x = of_x.view(ctx.shape).to(ctx.dtype)
        return of_x, None, None, of_down, of_up, None


def there(  # noqa: PLR0917 - as the formula has them
    tokens: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [n, o] of tokens [n, i], and what is narrow between down and up, [n, r]."""
    narrow = tokens @ down.to(weight.dtype).t()
    out = tokens @ weight.t() if bias is None else torch.addmm(bias, tokens, weight.t())
    out.addmm_(narrow, up.to(weight.dtype).t(), alpha=scale)
    return out, narrow


def back(  # noqa: PLR0917 - as the formula has them
    grad: torch.Tensor,
    tokens: torch.Tensor,
    narrow: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of the narrow [n, r], down and up, of grad [n, o] of the output.

    That of the tokens is grad · W + that of the narrow · A.
    """
    # The scale goes to the narrow side: [n, r] is small.
    of_narrow = (grad @ up.to(grad.dtype)).mul_(scale)
    of_down = (of_narrow.t() @ tokens).to(down.dtype)
    of_up = (grad.t() @ narrow).to(up.dtype).mul_(scale)
    return of_narrow, of_down, of_up
