"""Models in the transformers folder format as embedders: CLIP, SigLIP, SigLIP 2, DINOv2.

All on the CPU in float32: the same picture has the same features on every machine. Weights are read
from safetensors alone, and no code that a folder brings is run.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer

from lora_ci.core.errors import InputError
from lora_ci.diffusion.quiet import quiet_transformers
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.model_folder import TOKENS, ModelFolder
from lora_ci.ruler.weights import load_whole

BATCH = 32
# `model_type` → model and what prepares pictures for it.
CLASSES = {
    "clip": ("CLIPModel", "CLIPImageProcessorPil"),
    "siglip": ("SiglipModel", "SiglipImageProcessorPil"),
    "siglip2": ("Siglip2Model", "Siglip2ImageProcessorPil"),
    "dinov2": ("Dinov2Model", "BitImageProcessorPil"),
}
PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DinoEmbedder:
    """A DINOv2 model. Source: Oquab et al. 2023, https://arxiv.org/abs/2304.07193"""

    model: Any
    processor: Any

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        return _array(_pooled(self.model, self.processor, pictures))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipEmbedder:
    """Both towers of a CLIP model. Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020"""

    model: Any
    processor: Any
    tokenizer: Any

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        pooled = _pooled(self.model.vision_model, self.processor, pictures)
        with torch.no_grad():
            return _array(self.model.visual_projection(pooled))

    def embed_texts(self, texts: Sequence[str]) -> Features:
        given = self.tokenizer(list(texts), padding="max_length", truncation=True)
        ids, mask = torch.tensor(given.input_ids), torch.tensor(given.attention_mask)
        with torch.no_grad():
            pooled = self.model.text_model(ids, attention_mask=mask).pooler_output
            return _array(self.model.text_projection(pooled))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiglipEmbedder:
    """Both towers of SigLIP or SigLIP 2. `tokenizer` is None where it knows no texts.

    Texts are in small letters and padded, and the padding is not masked; the models of the first
    kind were trained on texts that are `bare` of punctuation.

    Source: Zhai et al. 2023, https://arxiv.org/abs/2303.15343; Tschannen et al. 2025,
    https://arxiv.org/abs/2502.14786
    """

    model: Any
    processor: Any
    tokenizer: Any | None
    bare: bool

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        return _array(_pooled(self.model.vision_model, self.processor, pictures))

    def embed_texts(self, texts: Sequence[str]) -> Features:
        if self.tokenizer is None:
            raise InputError("this SigLIP came without its tokenizer", rule="embedder.no-texts")
        given = self.tokenizer.encode_batch([canonical(text, bare=self.bare) for text in texts])
        ids = torch.tensor([encoding.ids for encoding in given])
        with torch.no_grad():
            return _array(self.model.text_model(ids).pooler_output)


Loaded: TypeAlias = DinoEmbedder | ClipEmbedder | SiglipEmbedder


def load_transformer(found: ModelFolder, spec: str) -> Loaded:
    """The model in a folder, from local files only. Raises InputError where there is none."""
    try:
        with quiet_transformers():
            return _load(found)
    except Exception as error:
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        message = f"embedder `{spec}`: its {found.model_type} model cannot be loaded: {told}"
        raise InputError(message, rule="embedder.file") from error


def _load(found: ModelFolder) -> Loaded:
    model_class, processor_class = CLASSES[found.model_type]
    folder = found.folder
    model = load_whole(getattr(transformers, model_class), folder)
    processor = getattr(transformers, processor_class).from_pretrained(
        folder, local_files_only=True
    )
    if found.model_type == "dinov2":
        return DinoEmbedder(model=model, processor=processor)
    if found.model_type == "clip":
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        return ClipEmbedder(model=model, processor=processor, tokenizer=tokenizer)
    length = model.config.text_config.max_position_embeddings
    tokenizer, bare = _siglip_tokenizer(folder, length) if found.knows_texts else (None, False)
    return SiglipEmbedder(model=model, processor=processor, tokenizer=tokenizer, bare=bare)


def _siglip_tokenizer(folder: Path, length: int) -> tuple[Any, bool]:
    """The tokenizer, and whether its texts have no punctuation.

    Read from its own file: transformers' class for it needs sentencepiece.
    """
    told = json.loads((folder / "tokenizer_config.json").read_bytes())
    tokenizer = Tokenizer.from_file(str(folder / TOKENS))
    pad = told.get("pad_token")
    pad = pad.get("content") if isinstance(pad, dict) else pad
    pad_id = tokenizer.token_to_id(pad) if pad else None
    if pad_id is None:
        raise ValueError(f"tokenizer_config.json has no `pad_token` that is in {TOKENS}")
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=pad_id, pad_token=pad)
    return tokenizer, str(told.get("tokenizer_class")).startswith("SiglipTokenizer")


def canonical(text: str, *, bare: bool) -> str:
    """A text as a SigLIP was trained on it.

    Source: `_canonicalize` in https://github.com/google-research/big_vision,
    big_vision/evaluators/proj/image_text/prompt_engineering.py
    """
    small = text.lower()
    if not bare:
        return small
    return " ".join(small.replace("_", " ").translate(PUNCTUATION).split())


def _pooled(tower: Any, processor: Any, pictures: Sequence[Picture]) -> torch.Tensor:
    """The pooled output [n, d] of a vision model."""
    found = []
    for start in range(0, len(pictures), BATCH):
        images = [Image.fromarray(p) for p in pictures[start : start + BATCH]]
        with torch.no_grad():
            found.append(tower(**processor(images, return_tensors="pt")).pooler_output)
    return torch.cat(found)


def _array(vectors: torch.Tensor) -> Features:
    features: Features = vectors.numpy()
    return features
