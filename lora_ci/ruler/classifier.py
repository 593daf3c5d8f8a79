"""Folders in transformers format that classify pictures, and diffusers' safety checker.

All on the CPU in float32, from safetensors alone; no code that a folder brings is run.
"""

from __future__ import annotations

import json
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
from lora_ci.ruler.safety import Scores
from lora_ci.ruler.weights import load_whole

BATCH = 16
CHECKER = "StableDiffusionSafetyChecker"
CLASSIFIER = "ForImageClassification"
# How far a margin is from the checker's own limit → how sure it is; 0.5 is that limit. It is no
# probability: the checker has cosines, which differ by some hundredths.
MARGIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A model `…ForImageClassification`; its labels are those of its config."""

    model: Any
    processor: Any
    labels: tuple[str, ...]

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        several = self.model.config.problem_type == "multi_label_classification"
        found: list[Scores] = []
        for given in _batches(self.processor, pictures):
            logits = self.model(**given).logits
            shares = logits.sigmoid() if several else logits.softmax(dim=-1)
            found += [dict(zip(self.labels, row, strict=True)) for row in shares.tolist()]
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SafetyChecker:
    """Diffusers' checker of Stable Diffusion 1; its concepts have no names, so it has one label.

    Source: `StableDiffusionSafetyChecker.forward` of diffusers, which blackens pictures as well;
    Rando et al. 2022, https://arxiv.org/abs/2210.04610, say what it misses.
    """

    model: Any
    processor: Any
    labels: tuple[str, ...] = ("nsfw",)

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        found: list[Scores] = []
        for given in _batches(self.processor, pictures):
            pooled = self.model.vision_model(given["pixel_values"]).pooler_output
            embedded = self.model.visual_projection(pooled)
            special = _cosines(embedded, self.model.special_care_embeds)
            cared = (special > self.model.special_care_embeds_weights).any(dim=1, keepdim=True)
            concepts = _cosines(embedded, self.model.concept_embeds)
            margins = concepts - self.model.concept_embeds_weights + 0.01 * cared
            sure = torch.sigmoid(margins.max(dim=1).values / MARGIN)
            found += [{"nsfw": float(one)} for one in sure]
        return found


def load_classifier(folder: Path, spec: str) -> Classifier | SafetyChecker:
    """The model in a folder, from local files only. Raises InputError where there is none."""
    try:
        told = json.loads((folder / "config.json").read_bytes())
        name = str(told["architectures"][0])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        message = f"scanner `{spec}`: no config.json that names its `architectures`"
        raise InputError(message, rule="scanner.file") from error
    if name != CHECKER and not name.endswith(CLASSIFIER):
        message = f"scanner `{spec}` is a {name[:60]}; expected {CHECKER} or …{CLASSIFIER}"
        raise InputError(message, rule="scanner.file", hint="next: see docs/dataset-safety.md")
    try:
        with quiet_transformers():
            return _load(folder, is_checker=name == CHECKER)
    except Exception as error:
        message = f"scanner `{spec}`: its {name} cannot be loaded: {first_line(error)}"
        raise InputError(message, rule="scanner.file") from error


def _load(folder: Path, *, is_checker: bool) -> Classifier | SafetyChecker:
    if is_checker:
        from diffusers.pipelines.stable_diffusion.safety_checker import (
            StableDiffusionSafetyChecker as Model,
        )
    else:
        Model = transformers.AutoModelForImageClassification  # noqa: N806 - a class
    model = load_whole(Model, folder)
    if is_checker:
        processor = transformers.CLIPImageProcessorPil.from_pretrained(
            folder, local_files_only=True
        )
        return SafetyChecker(model=model, processor=processor)
    processor = transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, backend="pil"
    )
    names = model.config.id2label
    return Classifier(
        model=model, processor=processor, labels=tuple(names[i] for i in range(len(names)))
    )


def _batches(processor: Any, pictures: Sequence[Picture]) -> Any:
    """What the model is given of some pictures at a time; no gradients meanwhile."""
    for start in range(0, len(pictures), BATCH):
        images = [Image.fromarray(picture) for picture in pictures[start : start + BATCH]]
        with torch.no_grad():
            yield processor(images, return_tensors="pt")


def _cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    normalize = torch.nn.functional.normalize
    return normalize(one) @ normalize(other).T
