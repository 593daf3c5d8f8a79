"""What a denoiser is told beside the latents: texts, and for SDXL the picture's sizes.

Shapes: b batch, t tokens, d width of a token, p width of the pooled text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from lora_ci.diffusion.load import BaseModel

Index: TypeAlias = torch.Tensor | slice
# FLUX's T5 reads so many tokens at most, as its pipeline does.
T5_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conditioning:
    """tokens [b, t, d]; pooled [b, p] where the family has one.

    sizes [b, 6] for SDXL: height and width before scaling, top and left of the crop, height and
    width wanted, in pixels (arXiv:2307.01952, section 2.2).
    """

    tokens: torch.Tensor
    pooled: torch.Tensor | None = None
    sizes: torch.Tensor | None = None

    def rows(self, index: Index) -> Conditioning:
        """Some rows of the batch."""
        return self._each(lambda tensor: tensor[index])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Conditioning:
        """On a device, in a precision; sizes stay exact, bfloat16 counts pixels by eights."""
        return Conditioning(
            tokens=self.tokens.to(device, dtype),
            pooled=None if self.pooled is None else self.pooled.to(device, dtype),
            sizes=None if self.sizes is None else self.sizes.to(device),
        )

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        return Conditioning(
            tokens=change(self.tokens),
            pooled=None if self.pooled is None else change(self.pooled),
            sizes=None if self.sizes is None else change(self.sizes),
        )


def cat(parts: Sequence[Conditioning]) -> Conditioning:
    """The batches one after the other; all of one family."""

    def joined(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
        given = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(given) if given else None

    return Conditioning(
        tokens=torch.cat([part.tokens for part in parts]),
        pooled=joined([part.pooled for part in parts]),
        sizes=joined([part.sizes for part in parts]),
    )


def encode_texts(model: BaseModel, texts: Sequence[str]) -> Conditioning:
    """The texts as the family's pipeline encodes them, without sizes; with the encoders' dtype.

    Gradients flow if they are on and the text encoders have parameters that learn.
    """
    match model.family.name:
        case "sdxl":
            first = _clip(model, "text_encoder", texts)
            second = _clip(model, "text_encoder_2", texts)
            # The last but one layer of each, side by side; the pooled text is the second's.
            tokens = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
            return Conditioning(tokens=tokens, pooled=second.text_embeds)
        case "flux":
            pooled = _clip(model, "text_encoder", texts).pooler_output
            return Conditioning(tokens=_t5(model, texts), pooled=pooled)
        case _:
            return Conditioning(tokens=_clip(model, "text_encoder", texts).last_hidden_state)


def _clip(model: BaseModel, name: str, texts: Sequence[str]) -> Any:
    tokenizer, encoder = model.tokenizers[name], model.text_encoders[name]
    ids = _ids(tokenizer, texts, tokenizer.model_max_length)
    return encoder(ids.to(encoder.device), output_hidden_states=True)


def _t5(model: BaseModel, texts: Sequence[str]) -> torch.Tensor:
    tokenizer, encoder = model.tokenizers["text_encoder_2"], model.text_encoders["text_encoder_2"]
    ids = _ids(tokenizer, texts, min(tokenizer.model_max_length, T5_TOKENS))
    hidden: torch.Tensor = encoder(ids.to(encoder.device))[0]
    return hidden


def _ids(tokenizer: Any, texts: Sequence[str], length: int) -> torch.Tensor:
    """Token ids [b, length], padded and cut."""
    ids: torch.Tensor = tokenizer(
        list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def sizes_of(
    original: tuple[int, int], corner: tuple[int, int], wanted: tuple[int, int]
) -> torch.Tensor:
    """SDXL's six numbers [1, 6]: (height, width), (top, left), (height, width)."""
    return torch.tensor([[*original, *corner, *wanted]], dtype=torch.float32)
