"""What a trainer of others is told: values from the spec, pictures laid out in plain folders.

Trainers differ in which captions they find and how they count folders. So each gets the pictures
below folders of ours, `<repeats>/<number>.<suffix>` with a `.txt` beside, as links to the dataset.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import StepContext, StepSpec
from lora_ci.diffusion.families import Family
from lora_ci.diffusion.load import read_family
from lora_ci.diffusion.parts import read_config
from lora_ci.training.data import Sample, read_samples

# The name of what is trained, in files and progress bars: it is in no LoRA's hands.
NAME = "adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """A folder of pictures, each with its caption in a `.txt`, that count `repeats` times."""

    folder: Path
    images: int
    repeats: int = 1
    regularization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a trainer must know of a base model: its folder, family and what it predicts."""

    folder: Path
    family: Family
    v_prediction: bool
    zero_terminal_snr: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training by a trainer of others.

    `images` are one epoch's, each as often as it counts, without regularization. `output` is where
    the result is expected; what a killed attempt left there is kept.
    """

    settings: TrainSettings
    title: str
    trigger: str
    base: Base
    pictures: tuple[Pictures, ...]
    images: int
    gpus: int
    workdir: Path
    output: Path

    @property
    def steps(self) -> int:
        """The budget in optimizer steps; regularization images double an epoch, as everywhere."""
        doubled = any(part.regularization for part in self.pictures)
        return self.settings.total_steps(self.images * (1 + doubled))

    @property
    def processes(self) -> int:
        """How many processes share a step, one a GPU."""
        return max(1, self.gpus)

    @property
    def alpha(self) -> float:
        """Alpha of plain LoRA: rank stabilized by √rank is the same with another alpha.

        Source: rsLoRA, Kalajdzievski 2023, https://arxiv.org/abs/2312.03732, section 3.
        """
        if self.settings.rank_stabilized:
            return self.settings.alpha * math.sqrt(self.settings.rank)
        return self.settings.alpha

    def images_a_pass(self, processes: int) -> int:
        """Images of one forward pass in each of `processes`.

        Raises:
            InputError: the batch cannot be split so.
        """
        settings = self.settings
        parts = processes * settings.gradient_accumulation
        if settings.batch_size % parts:
            raise InputError(
                f"batch_size {settings.batch_size} cannot be split into {processes} GPUs × "
                f"{settings.gradient_accumulation} parts of gradient_accumulation",
                hint=f"next: set train.batch_size to a multiple of {parts}",
            )
        return settings.batch_size // parts

    def kept_tags(self) -> int:
        """How many first parts of a caption stay where they are."""
        return max(1, self.settings.keep_tags) if self.settings.shuffle_captions else 0


def read_job(spec: StepSpec, context: StepContext, settings: TrainSettings) -> Job:
    """The job of a spec, its pictures laid out in the step's folder.

    Raises:
        InputError: no picture, or a base model of no known family.
    """
    trigger = str(spec.params["trigger"])
    dataset = context.input_path("dataset")
    repeats = msgspec.convert(spec.params.get("repeats", {}), dict[str, int])
    samples = read_samples(dataset, trigger, repeats)
    regularization: list[Sample] = []
    if "regularization" in spec.inputs:
        regularization = read_samples(context.input_path("regularization"), trigger="")
    captions = _Captions(trigger, settings.shuffle_captions, max(1, settings.keep_tags))
    output = context.workdir / "output"
    output.mkdir(parents=True, exist_ok=True)
    return Job(
        settings=settings,
        title=spec.lora,
        trigger=trigger,
        base=read_base(context.input_path("base_model")),
        pictures=_lay_out(context.workdir / "pictures", samples, regularization, captions),
        images=sum(sample.repeats for sample in samples),
        gpus=spec.resources.gpus,
        workdir=context.workdir,
        output=output,
    )


def read_base(folder: Path) -> Base:
    """What the configs of a base model say. Raises InputError for one of no known family."""
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    return Base(
        folder=folder.resolve(),
        family=read_family(folder),
        v_prediction=scheduler.get("prediction_type") == "v_prediction",
        zero_terminal_snr=scheduler.get("rescale_betas_zero_snr") is True,
    )


def _lay_out(
    folder: Path,
    samples: list[Sample],
    regularization: list[Sample],
    captions: _Captions,
) -> tuple[Pictures, ...]:
    """Links all pictures below `folder`, made anew: what an earlier attempt left may be half."""
    shutil.rmtree(folder, ignore_errors=True)
    made = []
    for repeats in sorted({sample.repeats for sample in samples}):
        mine = [sample for sample in samples if sample.repeats == repeats]
        place = folder / f"{repeats}"
        _link(place, mine, captions)
        made.append(Pictures(folder=place, images=len(mine), repeats=repeats))
    if regularization:
        place = folder / "regularization"
        _link(place, regularization, captions)
        made.append(Pictures(folder=place, images=len(regularization), regularization=True))
    return tuple(made)


def _link(folder: Path, samples: list[Sample], captions: _Captions) -> None:
    folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        path = folder / f"{number:06d}{sample.path.suffix.lower()}"
        try:
            path.symlink_to(sample.path.resolve())
        except OSError as error:
            message = f"{folder}: no link to a picture can be made: {os.strerror(error.errno or 0)}"
            raise InfrastructureError(message, hint="next: use a disk that has links") from error
        # An empty file is an error to sd-scripts, so there always is a line.
        path.with_suffix(".txt").write_text(captions.line(sample.caption) + "\n", "utf-8")


@dataclass(frozen=True, slots=True)
class _Captions:
    """How captions are written for a trainer."""

    trigger: str
    shuffled: bool
    kept: int

    def line(self, caption: str) -> str:
        """The caption in one line, as trainers read only the first; the trigger stays in front."""
        parts = [part.strip() for part in " ".join(caption.split()).split(",")]
        if self.shuffled and not any(self.trigger in part for part in parts[: self.kept]):
            parts.sort(key=lambda part: self.trigger not in part)
        return ", ".join(parts)
