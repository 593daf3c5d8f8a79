"""Attention with LoRA on all of its layers as one node of the graph.

diffusers and peft compute the same in a dozen modules, and autograd goes through thirty nodes; in
a small UNet that takes a third as long as the products. In float32 on a processor alone.

Shapes: b images, n queries and m keys of an image, t tokens of all images, c channels, h heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch.autograd.function import once_differentiable

from lora_ci.training.linear import LinearWithLora, back, there

# What an attention may have beside its layers; then it is left as it is.
MORE = ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "residual_connection")
_there = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def join_attention(whole: torch.nn.Module) -> None:
    """Lets attention compute here where a LoRA is on all of its layers."""
    for module in whole.modules():
        if type(module) is Attention and _is_joinable(module):
            module.set_processor(Joined())


def _is_joinable(attention: Any) -> bool:
    return (
        type(attention.processor) is AttnProcessor2_0
        and not any(getattr(attention, more) for more in MORE)
        and attention.rescale_output_factor == 1
        and attention.to_out[1].p == 0
        and all(isinstance(layer, LinearWithLora) for layer in _layers(attention))
    )


def _layers(attention: Any) -> tuple[Any, Any, Any, Any]:
    """Of queries, keys, values and output."""
    return attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """How diffusers calls what computes an attention."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[b, n, c] of [b, n, c], which attend to themselves or to a text [b, m, i].

        Raises:
            NotImplementedError: a mask is given, which no family's text has.
        """
        if attention_mask is not None:
            raise NotImplementedError("attention with a mask")
        layers = _layers(attn)
        taught = [half for layer in layers for half in (layer.down, layer.up)]
        frozen = [(layer.base_layer.weight, layer.base_layer.bias, layer.scale) for layer in layers]
        out: torch.Tensor = _Attention.apply(
            hidden_states, encoder_hidden_states, frozen, attn.heads, *taught
        )
        return out


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    """softmax(Q K' / √d) V, projected, each projection with a LoRA.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        text: torch.Tensor | None,
        frozen: list[tuple[torch.Tensor, torch.Tensor | None, float]],
        heads: int,
        *taught: torch.Tensor,
    ) -> torch.Tensor:
        """Frozen are W, b and scale, taught are A and B, of queries, keys, values and output."""
        b = len(x)
        tokens = x.reshape(-1, x.shape[-1])
        seen = tokens if text is None else text.reshape(-1, text.shape[-1])
        (wq, bq, sq), (wk, bk, sk), (wv, bv, sv), (wo, bo, so) = frozen
        aq, uq, ak, uk, av, uv, ao, uo = taught
        q, narrow_q = there(tokens, wq, bq, aq, uq, sq)
        k, narrow_k = there(seen, wk, bk, ak, uk, sk)
        v, narrow_v = there(seen, wv, bv, av, uv, sv)
        q, k, v = (_split(part, b, heads) for part in (q, k, v))
        attended, logs = _there(q, k, v)
        joined = _join(attended)
        out, narrow_o = there(joined, wo, bo, ao, uo, so)
        ctx.save_for_backward(
            *(tokens, seen, joined, q, k, v, attended, logs),
            *(narrow_q, narrow_k, narrow_v, narrow_o),
            *taught,
        )
        ctx.frozen, ctx.heads = frozen, heads
        ctx.shapes = x.shape, None if text is None else text.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of x and text, and of what is taught."""
        tokens, seen, joined, q, k, v, attended, logs, *others = ctx.saved_tensors
        narrow_q, narrow_k, narrow_v, narrow_o, aq, uq, ak, uk, av, uv, ao, uo = others
        (wq, _, sq), (wk, _, sk), (wv, _, sv), (wo, _, so) = ctx.frozen
        b = len(grad)
        grad = grad.reshape(-1, grad.shape[-1])
        narrow_o, of_ao, of_uo = back(grad, joined, narrow_o, ao, uo, so)
        of_attended = _split((grad @ wo).addmm_(narrow_o, ao), b, ctx.heads)
        parts = _back(of_attended, q, k, v, attended, logs, 0.0, False)
        of_q, of_k, of_v = (_join(part) for part in parts)
        narrow_q, of_aq, of_uq = back(of_q, tokens, narrow_q, aq, uq, sq)
        narrow_k, of_ak, of_uk = back(of_k, seen, narrow_k, ak, uk, sk)
        narrow_v, of_av, of_uv = back(of_v, seen, narrow_v, av, uv, sv)
        of_x = of_text = None
        shape, shape_of_text = ctx.shapes
        if ctx.needs_input_grad[0]:
            of_x = (of_q @ wq).addmm_(narrow_q, aq)
        of_seen = of_x
        if ctx.needs_input_grad[1]:
            of_seen = of_text = torch.zeros_like(seen)
        if of_seen is not None and (shape_of_text is None or of_text is not None):
            of_seen.addmm_(of_k, wk).addmm_(narrow_k, ak)
            of_seen.addmm_(of_v, wv).addmm_(narrow_v, av)
        of_x = None if of_x is None else of_x.view(shape)
        of_text = None if of_text is None else of_text.view(shape_of_text)
        return of_x, of_text, None, None, of_aq, of_uq, of_ak, of_uk, of_av, of_uv, of_ao, of_uo


def _split(tokens: torch.Tensor, b: int, heads: int) -> torch.Tensor:
    """[b, h, n, c / h] of [t, c]."""
    return tokens.view(b, -1, heads, tokens.shape[1] // heads).transpose(1, 2)


def _join(heads: torch.Tensor) -> torch.Tensor:
    """[t, c] of [b, h, n, c / h]."""
    return heads.transpose(1, 2).flatten(2).flatten(0, 1)
