"""Makes pictures as diffusers' pipelines make them, with DDIM or along FLUX's flow.

A picture depends on its request alone: its noise comes from its own seed, so it is the same alone
or in a batch (up to float rounding: at most 2 of 255 levels in any pixel, in float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.attach import Attached, set_weight
from lora_ci.diffusion.conditioning import Conditioning, cat, encode_texts, sizes_of
from lora_ci.diffusion.latents import decode_latents
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import Memory, memory_told
from lora_ci.diffusion.request import Picture, PictureRequest
from lora_ci.diffusion.sampling import Sampling, sample


@dataclass(slots=True)
class DiffusersGenerator:
    """Pictures of a base model, with the attached adapter where one is given.

    Where memory runs out, less is computed at once from then on, as `memory` tells. `texts` are
    encoded prompts, which repeat over seeds and weights.
    """

    model: BaseModel
    attached: Attached | None = None
    batch_size: int = 8
    memory: Memory = field(default_factory=Memory)
    texts: dict[tuple[str, float], Conditioning] = field(default_factory=dict)

    @property
    def teaches_text(self) -> bool:
        """Whether prompts mean something else with the adapter."""
        layers = self.attached.layers if self.attached else set()
        return any(name.startswith("text_encoder") for name in layers)

    def generate(self, requests: Sequence[PictureRequest]) -> list[Picture]:
        """One picture [height, width, 3] a request, in their order.

        One that came out not finite is all black.

        Raises:
            InputError: the base cannot make such pictures.
            OutOfMemory: one picture at a time is too much.
        """
        for request in requests:
            self._check(request)
        # Requests that differ only in words and seed run together.
        order = sorted(range(len(requests)), key=lambda i: (_settings(requests[i]), i))
        pictures: dict[int, Picture] = {}
        for _, same in groupby(order, key=lambda i: _settings(requests[i])):
            group = list(same)
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                with torch.no_grad():
                    made = self._batch([requests[i] for i in batch])
                pictures.update(zip(batch, made, strict=True))
        return [pictures[i] for i in range(len(requests))]

    def _check(self, request: PictureRequest) -> None:
        side = self.model.side_step
        if request.width % side or request.height % side or min(request.width, request.height) < 1:
            raise InputError(
                f"pictures of {request.width}×{request.height}: sides must be multiples of {side}",
                hint=f"next: {max(side, request.width // side * side)} pixels",
            )
        if self.attached is None and self.model.originals:
            # Its pictures would pass for the base's.
            raise InputError("an adapter is attached to the base: give it to the generator")
        if self.attached is None and request.weight not in (0, 1):
            raise InputError(f"weight {request.weight:g} without an attached adapter")

    def _batch(self, requests: list[PictureRequest]) -> list[Picture]:
        first, model = requests[0], self.model
        weight = first.weight if self.attached else 0.0
        if self.attached:
            set_weight(self.attached, weight)
        how = Sampling(
            steps=first.steps,
            guidance=first.guidance,
            memory=self.memory,
            rescale=first.guidance_rescale,
        )
        wanted = self._conditioning([r.prompt for r in requests], weight, first)
        unwanted = None
        if how.needs_negative(model):
            unwanted = self._conditioning([r.negative_prompt for r in requests], weight, first)
        noise = torch.cat([self._noise(r) for r in requests])
        latents = sample(model, noise, wanted, unwanted, how)
        pixels = self.memory.coded(
            model, len(latents), lambda part: decode_latents(model, latents[part])
        )
        finite = pixels.isfinite().flatten(1).all(dim=1)
        levels = (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round()
        levels[~finite] = 0
        return list(levels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy())

    def _conditioning(
        self, prompts: list[str], weight: float, request: PictureRequest
    ) -> Conditioning:
        """With the sizes that SDXL is told: the whole picture, as large as it is."""
        told = cat([self._text(prompt, weight) for prompt in prompts])
        if self.model.family.name != "sdxl":
            return told
        side = request.height, request.width
        sizes = sizes_of(side, (0, 0), side).to(told.tokens.device)
        return replace(told, sizes=sizes.expand(len(prompts), -1))

    def _noise(self, request: PictureRequest) -> torch.Tensor:
        """Latent noise [1, channels, height / 8, width / 8] of the request's own seed."""
        side = self.model.pixels_per_latent
        return torch.randn(
            (
                1,
                self.model.family.latent_channels,
                request.height // side,
                request.width // side,
            ),
            generator=torch.Generator().manual_seed(request.seed),
        ).to(self.model.device)

    def _text(self, prompt: str, weight: float) -> Conditioning:
        """A prompt's conditioning, one row."""
        key = (prompt, weight if self.teaches_text else 0.0)
        if key not in self.texts:
            with memory_told("the text encoders"):
                self.texts[key] = encode_texts(self.model, [prompt])
        return self.texts[key]


def _settings(request: PictureRequest) -> tuple[float, ...]:
    """What the pictures of one batch have in common."""
    return (
        request.weight,
        request.steps,
        request.guidance,
        request.guidance_rescale,
        request.width,
        request.height,
    )
