"""A CLIP model in the transformers folder format as embedder of pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from lora_ci.core.errors import InputError
from lora_ci.diffusion.quiet import quiet_transformers
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features

BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipEmbedder:
    """Both towers of a CLIP model. Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020"""

    model: Any
    tokenizer: Any
    processor: Any

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        found = []
        for start in range(0, len(pictures), BATCH):
            images = [Image.fromarray(p) for p in pictures[start : start + BATCH]]
            pixels = self.processor(images, return_tensors="pt").pixel_values
            with torch.no_grad():
                pooled = self.model.vision_model(pixels.to(self.model.dtype)).pooler_output
                found.append(self.model.visual_projection(pooled))
        return _unit(torch.cat(found))

    def embed_texts(self, texts: Sequence[str]) -> Features:
        given = self.tokenizer(list(texts), padding="max_length", truncation=True)
        with torch.no_grad():
            pooled = self.model.text_model(
                torch.tensor(given.input_ids), attention_mask=torch.tensor(given.attention_mask)
            ).pooler_output
            return _unit(self.model.text_projection(pooled))


def load_clip(folder: Path) -> ClipEmbedder:
    """The CLIP model in `folder`, from local files only.

    Raises InputError where there is none.
    """
    try:
        with quiet_transformers():
            model = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no CLIP model can be loaded: {error}") from error
    return ClipEmbedder(
        model=model.eval().requires_grad_(False), tokenizer=tokenizer, processor=processor
    )


def _unit(vectors: torch.Tensor) -> Features:
    features: Features = torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()
    return features
