"""A LoRA beside a linear layer, there and back in as few passes over memory as it takes.

peft computes the same from general parts: it multiplies and adds whole outputs where here the
second product is added while it is computed, and keeps more for the way back.

Shapes: n tokens of all pictures, i inputs, o outputs, r rank.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.autograd.function import once_differentiable


def shorten(whole: torch.nn.Module, name: str) -> None:
    """Lets peft's linear layers of the adapter `name` compute here; their parameters stay theirs.

    DoRA and convolutions are left as they are.
    """
    for module in whole.modules():
        if is_plain(module, name):
            module.forward = partial(_forward, module, name)


def is_plain(module: torch.nn.Module, name: str) -> bool:
    """Whether it is a linear layer with an adapter `name` that is a LoRA and nothing more."""
    return isinstance(module, Linear) and name in module.lora_A and name not in module.lora_variant


def _forward(layer: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
    out: torch.Tensor = _LinearWithLora.apply(
        x, base.weight, base.bias, down.weight, up.weight, float(layer.scaling[name])
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
