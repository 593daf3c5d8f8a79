"""ai-toolkit: `run.py` with one file of options, JSON as YAML reads `1e-05` as a text.

Source: https://github.com/ostris/ai-toolkit, toolkit/config_modules.py and config/examples/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lora_ci.core.errors import InputError
from lora_ci.core.settings import TrainSettings
from lora_ci.training.foreign.install import Install, precision
from lora_ci.training.foreign.job import NAME, Job, Pictures
from lora_ci.training.foreign.launch import Launch, Options
from lora_ci.training.schedules import peak_rate, peak_text_rate

OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "prodigy": "prodigy",
    "adafactor": "adafactor",
}
# Parts of module names, by group; ai-toolkit teaches modules whose names contain one of them.
ATTENTION = ("to_q", "to_k", "to_v", "to_out")
FLUX_ATTENTION = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
FEED_FORWARD = ("ff.net", "ff_net")
FLUX_FEED_FORWARD = (*FEED_FORWARD, "ff_context", "proj_mlp", "proj_out")
CONVOLUTION = ("conv1", "conv2", "conv_shortcut")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def launch(job: Job, install: Install) -> Launch:
    """Writes the file; the command line that trains by it. What lies in the output goes on.

    Raises:
        InputError: ai-toolkit cannot train this.
    """
    check(job)
    config = job.workdir / "training.json"
    # What looks like a variable of the environment would be replaced, or missed.
    text = json.dumps(options(job, install), indent=1).replace("${", "\\u0024{")
    config.write_text(text, "utf-8")
    return Launch(
        command=(str(install.python), "run.py", str(config)),
        folder=install.folder,
        result=job.output / NAME / f"{NAME}.safetensors",
        bar=f"{NAME}:",
    )


def check(job: Job) -> None:
    """Refuses what depends on the base model. Raises InputError."""
    if job.processes > 1:
        raise InputError(
            "ai-toolkit trains on one GPU",
            hint="next: set resources.gpus to 1, or train.backend to native",
        )
    if job.base.family.name == "flux" and job.alpha != job.settings.rank:
        raise InputError(
            f"alpha {job.alpha:g} with rank {job.settings.rank}: ai-toolkit trains FLUX with an "
            "alpha that is the rank",
            hint=f"next: set train.alpha to {job.settings.rank} and scale train.learning_rate",
        )


def options(job: Job, install: Install) -> Options:
    """The whole file."""
    settings, base = job.settings, job.base
    further = settings.backend_arguments
    process: Options = {
        "type": "sd_trainer",
        "training_folder": str(job.output),
        "training_seed": settings.seed,
        "device": "cuda:0" if install.gpu else "cpu",
        "network": {**network_options(job), **section(further, "network")},
        "save": {
            "dtype": "float32",
            "save_every": settings.checkpoint_every,
            "max_step_saves_to_keep": 2,
            **section(further, "save"),
        },
        "datasets": tuple(
            {**dataset_options(job, part), **section(further, "datasets")} for part in job.pictures
        ),
        "train": {**train_options(job, install), **section(further, "train")},
        "model": {
            "name_or_path": str(base.folder),
            "arch": base.family.name,
            "is_v_pred": base.v_prediction,
            "compile": settings.compile,
            **section(further, "model"),
        },
    }
    return {
        "job": "extension",
        "config": {"name": NAME, "process": (process,)},
    }


def section(further: Mapping[str, bool | int | float | str], name: str) -> Options:
    """The further options that go into a section: `model.quantize`."""
    return {key.partition(".")[2]: v for key, v in further.items() if key.startswith(f"{name}.")}


def network_options(job: Job) -> Options:
    """The adapter."""
    settings = job.settings
    network: Options = {
        "type": "lora",
        "linear": settings.rank,
        "linear_alpha": job.alpha,
        "network_kwargs": {"only_if_contains": taught(settings, job.base.family.name)},
    }
    if "convolution" in settings.modules:
        network |= {"conv": settings.rank, "conv_alpha": job.alpha}
    return network


def taught(settings: TrainSettings, family: str) -> tuple[str, ...]:
    """Parts of the names of the modules that are taught."""
    flux = family == "flux"
    groups = {
        "attention": FLUX_ATTENTION if flux else ATTENTION,
        "feed-forward": FLUX_FEED_FORWARD if flux else FEED_FORWARD,
        "convolution": CONVOLUTION,
    }
    names = [part for group in settings.modules for part in groups.get(group, (group,))]
    return tuple(names + (list(TEXT_ATTENTION) if settings.text_encoder else []))


def dataset_options(job: Job, part: Pictures) -> Options:
    """One folder of pictures."""
    settings = job.settings
    return {
        "folder_path": str(part.folder),
        "caption_ext": "txt",
        "num_repeats": part.repeats,
        "is_reg": part.regularization,
        "resolution": settings.resolution,
        "buckets": settings.in_buckets,
        "bucket_tolerance": settings.bucket_step,
        "random_crop": settings.crop == "random",
        "flip_x": settings.flip,
        "caption_dropout_rate": settings.caption_dropout,
        "cache_latents": settings.crop != "random",
    }


def train_options(job: Job, install: Install) -> Options:
    """The training itself."""
    settings, flow = job.settings, job.base.family.objective == "flow"
    train: Options = {
        "steps": job.steps,
        "batch_size": job.images_a_pass(1),
        "gradient_accumulation": settings.gradient_accumulation,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "train_unet": True,
        "train_text_encoder": settings.text_encoder,
        "noise_scheduler": "flowmatch" if flow else "ddpm",
        "optimizer": OPTIMIZERS[settings.optimizer],
        "optimizer_params": {"weight_decay": settings.weight_decay},
        "lr": peak_rate(settings),
        "max_grad_norm": settings.max_grad_norm,
        "noise_offset": settings.noise_offset,
        "reg_weight": settings.prior_weight,
        "dtype": precision(settings.precision, install),
        "disable_sampling": True,
        **schedule_options(job),
    }
    if settings.text_encoder:
        train["text_encoder_lr"] = peak_text_rate(settings)
    if settings.min_snr_gamma is not None and not flow:
        train["min_snr_gamma"] = settings.min_snr_gamma
    if settings.ema_decay is not None:
        train["ema_config"] = {"use_ema": True, "ema_decay": settings.ema_decay}
    return train


def schedule_options(job: Job) -> Options:
    """The learning rate's course: PyTorch's schedulers, which take steps as parameters."""
    settings = job.settings
    name, parameters = str(settings.schedule), Options()
    if settings.schedule == "constant" and settings.warmup_steps:
        name, parameters = "constant_with_warmup", {"num_warmup_steps": settings.warmup_steps}
    elif settings.schedule == "linear":
        # PyTorch's own default rises.
        parameters = {"start_factor": 1.0, "end_factor": 0.0}
    return {"lr_scheduler": name, "lr_scheduler_params": parameters}
