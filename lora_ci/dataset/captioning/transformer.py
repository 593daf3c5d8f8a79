"""Models in the transformers folder format that say what a picture shows: GIT, BLIP-2, LLaVA.

Weights are read from safetensors alone, and no code that a folder brings is run. The likeliest word
is taken each time, so that the same picture gets the same caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from lora_ci.core.errors import InputError
from lora_ci.diffusion.quiet import quiet_transformers
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.onnx_model import first_line
from lora_ci.ruler.weights import load_whole

MOST_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransformerCaptioner:
    """`prompt` is what a model that is spoken with is asked; None for one that is not."""

    spec: str
    model: Any
    processor: Any
    prompt: str | None

    def caption(self, pictures: Sequence[Picture]) -> Sequence[str]:
        if not pictures:
            return ()
        images = [Image.fromarray(picture) for picture in pictures]
        try:
            with quiet_transformers(), torch.inference_mode():
                given, begun = self._given(images)
                made = self.model.generate(
                    **given.to(self.model.device, self.model.dtype),
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=MOST_TOKENS,
                )
            texts = self.processor.batch_decode(made[:, begun:], skip_special_tokens=True)
        except Exception as error:
            message = f"captioner `{self.spec}` fails on a picture: {first_line(error)}"
            raise InputError(message, rule="captioner.fails") from error
        return [text.strip() for text in texts]

    def _given(self, images: list[Image.Image]) -> tuple[Any, int]:
        """What the model is given, and how many tokens of its answer repeat the question."""
        if self.prompt is None:
            return self.processor(images=images, return_tensors="pt"), 0
        asked = [{"type": "image"}, {"type": "text", "text": self.prompt}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True
        )
        given = self.processor(
            images=images, text=[chat] * len(images), padding=True, return_tensors="pt"
        )
        return given, given["input_ids"].shape[1]


def load_captioner(folder: Path, spec: str, prompt: str | None) -> TransformerCaptioner:
    """The model in a folder, from local files only. Raises InputError where there is none."""
    try:
        with quiet_transformers():
            return _load(folder, spec, prompt)
    except Exception as error:
        message = f"captioner `{spec}`: its model cannot be loaded: {first_line(error)}"
        hint = "known are models of `AutoModelForImageTextToText`, such as GIT, BLIP-2 and LLaVA"
        raise InputError(message, rule="captioner.file", hint=hint) from error


def _load(folder: Path, spec: str, prompt: str | None) -> TransformerCaptioner:
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model = load_whole(transformers.AutoModelForImageTextToText, folder, dtype)
    model = model.to("cuda" if on_gpu else "cpu")
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    # Torchvision's, which is taken where that is installed, scales pictures in another way.
    processor.image_processor = transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, backend="pil"
    )
    # What is generated goes on at the right end, which must not be padding.
    processor.tokenizer.padding_side = "left"
    return TransformerCaptioner(spec=spec, model=model, processor=processor, prompt=prompt)
