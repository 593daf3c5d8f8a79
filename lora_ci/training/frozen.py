"""Residual blocks and upsamplers of a UNet whose weights do not learn, with less to compute.

diffusers convolves pictures in which every pixel stands four times, and autograd computes the
gradient of skipped blocks that have no layer to learn before them. Neither is done here. In
float32 on a processor alone.

Shapes: b images, c channels in and o out, h and w sides, g groups of a norm.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import CrossAttnUpBlock2D, UpBlock2D
from diffusers.models.upsampling import Upsample2D
from torch.autograd.function import once_differentiable
from torch.nn import functional

OF_INPUT_ALONE = (True, False, False)


def lighten_frozen(denoiser: torch.nn.Module) -> None:
    """Lets a UNet's blocks that stand still compute here; all else is left as it is."""
    if not isinstance(denoiser, UNet2DConditionModel):
        return
    below = _channels_below(denoiser)
    for module in denoiser.modules():
        if type(module) is Upsample2D and _doubles(module):
            module.forward = partial(_double, module, _doubling(module.conv.weight))
        elif type(module) is ResnetBlock2D and _is_plain(module):
            module.forward = partial(_resnet, module, below.get(module, module.in_channels))


def _channels_below(unet: UNet2DConditionModel) -> dict[torch.nn.Module, int]:
    """How many of a block's channels come from the block before it; the others were skipped."""
    below: dict[torch.nn.Module, int] = {}
    if unet.mid_block is None:
        return below
    last = unet.mid_block.resnets[-1].out_channels
    for up in unet.up_blocks:
        if type(up) not in (CrossAttnUpBlock2D, UpBlock2D):
            return below
        for block in up.resnets:
            below[block] = last
            last = block.out_channels
    return below


def stands_still(module: torch.nn.Module) -> bool:
    """Whether nothing in it learns, and no numbers are dropped."""
    drops = any(part.p for part in module.modules() if isinstance(part, torch.nn.Dropout))
    return not drops and not any(p.requires_grad for p in module.parameters())


def _is_plain(block: ResnetBlock2D) -> bool:
    return (
        stands_still(block)
        and block.upsample is None
        and block.downsample is None
        and block.time_embedding_norm == "default"
        and not block.skip_time_act
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, torch.nn.SiLU)
        and isinstance(block.norm1, torch.nn.GroupNorm)
        and (block.conv_shortcut is None or block.conv_shortcut.kernel_size == (1, 1))
    )


def _doubles(layer: Upsample2D) -> bool:
    conv: Any = getattr(layer, "conv", None)
    return (
        stands_still(layer)
        and type(conv) is torch.nn.Conv2d
        and (conv.kernel_size, conv.padding) == ((3, 3), (1, 1))
        and layer.interpolate
        and layer.norm is None
    )


def _resnet(block: Any, below: int, x: torch.Tensor, temb: torch.Tensor | None) -> torch.Tensor:
    """[b, o, h, w] of x [b, c, h, w], whose first `below` channels are of the block before."""
    added = None
    if temb is not None and block.time_emb_proj is not None:
        added = block.time_emb_proj(functional.silu(temb))[:, :, None, None]
    out: torch.Tensor = _Resnet.apply(x, added, block, _learning(x, below))
    return out


def _learning(x: torch.Tensor, below: int) -> int:
    """How many channels of x, from the first one, a gradient is of use to."""
    channels: int = x.shape[1]
    joined = x.grad_fn
    if joined is None or joined.name() != "CatBackward0" or len(joined.next_functions) != 2:
        return channels
    # The graph has no node for what needs no gradient.
    skipped, _ = joined.next_functions[1]
    return below if skipped is None else channels


class _Resnet(torch.autograd.Function):  # type: ignore[misc]
    """Group norm, SiLU and convolution, twice, beside a shortcut."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, added: torch.Tensor | None, block: Any, learning: int
    ) -> torch.Tensor:
        """[b, o, h, w] of x [b, c, h, w] and what the time adds, [b, o, 1, 1]."""
        x = x.contiguous()
        first, *of_first = _norm(x, block.norm1)
        middle = _convolve(functional.silu(first), block.conv1)
        if added is not None:
            middle += added
        second, *of_second = _norm(middle, block.norm2)
        out = _convolve(functional.silu(second), block.conv2)
        if block.conv_shortcut is None:
            out += x
        else:
            out += _convolve(x, block.conv_shortcut)
        ctx.save_for_backward(x, first, *of_first, middle, second, *of_second)
        ctx.block, ctx.learning = block, learning
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of x, 0 where it is not asked for, and of what is added."""
        block = ctx.block
        x, first, mean1, rstd1, middle, second, mean2, rstd2 = ctx.saved_tensors
        grad = grad.contiguous()
        of = _through_silu(_through_convolution(grad, second, block.conv2.weight), second)
        of = _through_norm(of, middle, mean2, rstd2, block.norm2)
        of_added = of.sum((2, 3), keepdim=True) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_added, None, None
        # A group is normed as a whole: its channels learn together.
        wide = x.shape[1] // block.norm1.num_groups
        kept = min(x.shape[1], -(-ctx.learning // wide) * wide)
        of = _through_convolution(of, first[:, :kept], block.conv1.weight[:, :kept])
        of = _through_silu(of, first[:, :kept])
        of = _through_norm(of, x[:, :kept], mean1, rstd1, block.norm1)
        if block.conv_shortcut is None:
            of += grad[:, :kept]
        else:
            of.flatten(2).baddbmm_(
                block.conv_shortcut.weight[:, :kept, 0, 0].t().expand(len(x), -1, -1),
                grad.flatten(2),
            )
        if kept < x.shape[1]:
            of = functional.pad(of, (0, 0, 0, 0, 0, x.shape[1] - kept))
        return of, of_added, None, None


def _norm(x: torch.Tensor, norm: Any) -> tuple[torch.Tensor, ...]:
    """Normed, means [b, g], reciprocal deviations [b, g]."""
    b, c, h, w = x.shape
    out: tuple[torch.Tensor, ...] = torch.native_group_norm(
        x, norm.weight, norm.bias, b, c, h * w, norm.num_groups, norm.eps
    )
    return out


def _convolve(x: torch.Tensor, conv: Any) -> torch.Tensor:
    return torch.conv2d(x, conv.weight, conv.bias, padding=conv.padding)


def _through_norm(
    grad: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor, norm: Any
) -> torch.Tensor:
    """The gradient of x, which are the first channels of what was normed."""
    b, c, h, w = x.shape
    groups = c * norm.num_groups // norm.num_channels
    of_x: torch.Tensor = torch.ops.aten.native_group_norm_backward(
        grad,
        x.contiguous(),
        mean[:, :groups].contiguous(),
        rstd[:, :groups].contiguous(),
        norm.weight[:c],
        *(b, c, h * w, groups),
        OF_INPUT_ALONE,
    )[0]
    return of_x


def _through_silu(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    of_x: torch.Tensor = torch.ops.aten.silu_backward(grad, x)
    return of_x


def _through_convolution(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The gradient of x, of which the shape alone is looked at."""
    of_x: torch.Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, OF_INPUT_ALONE
    )[0]
    return of_x


def _double(
    layer: Any, doubling: torch.Tensor, x: torch.Tensor, output_size: Any = None
) -> torch.Tensor:
    """[b, o, 2h, 2w] of x [b, c, h, w]. Where a side is odd, `output_size` is given: diffusers'."""
    if output_size is not None:
        own: torch.Tensor = type(layer).forward(layer, x, output_size)
        return own
    return functional.conv_transpose2d(x, doubling, layer.conv.bias, stride=2, padding=1)


def _doubling(weight: torch.Tensor) -> torch.Tensor:
    """The weight [c, o, 4, 4] that does in one what doubling does and then one of [o, c, 3, 3].

    A pixel that stands four times is met by the weight in four places: their sum, turned around as
    it is spread and not gathered. That is 4 products where there were 9.
    """
    turned = weight.detach().flip(2, 3).transpose(0, 1)
    corners = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))
    return torch.stack([functional.pad(turned, corner) for corner in corners]).sum(0)
