"""Pictures made while training, to see the adapter learn. They change nothing of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lora_ci.core.digest import sha256_json
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import OutOfMemory, is_out_of_memory
from lora_ci.diffusion.request import PictureRequest
from lora_ci.training.state import State

FOLDER = "samples"
STEPS = 25


@dataclass(slots=True, kw_only=True, eq=False)
class Sampler:
    """Makes pictures of `prompts` with the model that is trained, into `folder`.

    `generator` keeps the encoded prompts; where `texts` learn too, they are encoded anew. Where
    memory is too little for pictures beside the training, there are none from then on.
    """

    model: BaseModel
    prompts: tuple[str, ...]
    folder: Path
    settings: TrainSettings
    texts: bool
    generator: DiffusersGenerator
    findings: list[Finding] = field(default_factory=list)

    @property
    def every(self) -> int:
        """Steps between two times."""
        return self.settings.sample_every or 1

    def make(self, state: State) -> None:
        """Writes `sample-<step>-<number>.png` for each prompt."""
        if self.findings:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.texts:
            self.generator = _one_by_one(self.model)
        try:
            with state.served():
                requests = [self._request(prompt) for prompt in self.prompts]
                pictures = self.generator.generate(requests)
        except (RuntimeError, MemoryError, OutOfMemory) as error:
            if not is_out_of_memory(error):
                raise
            pictures = []
            self.findings.append(_no_memory(state.step))
        for number, picture in enumerate(pictures):
            path = self.folder / f"sample-{state.step:06d}-{number}.png"
            aside = path.with_name(f".{path.name}")
            Image.fromarray(picture).save(aside, format="PNG")
            aside.replace(path)
        self.model.let_go(*(("vae",) if self.texts else ()))

    def made(self) -> list[Path]:
        """All of the training, also those from before it was interrupted, in their order."""
        return sorted(self.folder.glob("sample-*.png"))

    def _request(self, prompt: str) -> PictureRequest:
        side = self.model.side_step
        pixels = max(side, self.settings.resolution // side * side)
        return PictureRequest(
            prompt=prompt,
            seed=self.settings.seed,
            steps=STEPS,
            guidance=self.model.family.guidance,
            width=pixels,
            height=pixels,
        )


def sampler_of(model: BaseModel, settings: TrainSettings, trigger: str, workdir: Path) -> Sampler:
    """The sampler of a training. Prompts may be others after a stop: they have another folder."""
    prompts = tuple(text.replace("{trigger}", trigger) for text in settings.sample_prompts)
    return Sampler(
        model=model,
        prompts=prompts,
        folder=workdir / FOLDER / sha256_json(prompts)[:16],
        settings=settings,
        texts=settings.text_encoder,
        generator=_one_by_one(model),
    )


def _one_by_one(model: BaseModel) -> DiffusersGenerator:
    """The training needs the memory."""
    return DiffusersGenerator(model, batch_size=1)


def _no_memory(step: int) -> Finding:
    return Finding(
        rule="train.no-samples",
        severity=Severity.WARNING,
        message=f"memory is too little for pictures while training: none from step {step} on",
        hint="the adapter is none the worse; next: drop train.sample_every, QA makes pictures",
    )
