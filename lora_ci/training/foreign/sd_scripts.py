"""sd-scripts: `train_network.py` and `sdxl_train_network.py`, by a file of options and one of data.

Source: https://github.com/kohya-ss/sd-scripts, its argument parsers and docs/config_README-en.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from lora_ci.core.errors import InputError
from lora_ci.training.foreign.install import Install, precision
from lora_ci.training.foreign.job import NAME, Job, Pictures
from lora_ci.training.foreign.launch import Launch, Options, Value
from lora_ci.training.schedules import peak_rate, peak_text_rate

SCRIPTS = {
    "sd1": "train_network.py",
    "sd2": "train_network.py",
    "sdxl": "sdxl_train_network.py",
}
# Sides of buckets are multiples of these; the scripts refuse others.
BUCKET_STEPS = {"sd1": 64, "sd2": 64, "sdxl": 32}
OPTIMIZERS = {
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "prodigy": "Prodigy",
    "schedule-free-adamw": "AdamWScheduleFree",
    "adafactor": "Adafactor",
}
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
STATE = re.compile(rf"{NAME}-step(\d{{8}})-state")
BAR = "steps:"
BUCKET_SIDES = 2


def launch(job: Job, install: Install) -> Launch:
    """Writes the two files; the command line that trains by them.

    Raises:
        InputError: sd-scripts cannot train this.
    """
    family = job.base.family.name
    script = SCRIPTS.get(family)
    if script is None:
        raise InputError(
            f"sd-scripts wants {family} as single files, and the base model is a diffusers folder",
            hint="next: set train.backend to native, ai-toolkit or command",
        )
    state = newest_state(job.output, job.steps)
    options = {**training_options(job, install), **job.settings.backend_arguments}
    if state is not None:
        options["resume"] = str(state)
    data = job.workdir / "dataset.toml"
    data.write_text(render_toml(dataset_options(job)), "utf-8")
    config = job.workdir / "training.toml"
    config.write_text(render_toml({**options, "dataset_config": str(data)}), "utf-8")
    starter: tuple[str, ...] = (str(install.python),)
    if job.processes > 1:
        shared = ("--multi_gpu", "--num_processes", str(job.processes), "--num_machines", "1")
        starter += ("-m", "accelerate.commands.launch", *shared)
    return Launch(
        command=(*starter, script, "--config_file", str(config)),
        folder=install.folder,
        result=job.output / f"{NAME}.safetensors",
        bar=BAR,
        resumed_from=state,
    )


def newest_state(output: Path, steps: int) -> Path | None:
    """The newest state of a killed attempt that has steps left; the scripts refuse a last one."""
    found = {
        int(match[1]): path
        for path in output.iterdir()
        if path.is_dir() and (match := STATE.fullmatch(path.name))
    }
    return max(((n, path) for n, path in found.items() if n < steps), default=(0, None))[1]


def training_options(job: Job, install: Install) -> Options:
    """The options of the script, by their names."""
    settings, base = job.settings, job.base
    options: Options = {
        "pretrained_model_name_or_path": str(base.folder),
        "output_dir": str(job.output),
        "output_name": NAME,
        "save_model_as": "safetensors",
        "save_precision": "float",
        "save_state": True,
        "save_every_n_steps": settings.checkpoint_every,
        "save_last_n_steps": settings.checkpoint_every,
        "save_last_n_steps_state": settings.checkpoint_every,
        "max_train_steps": job.steps,
        "seed": settings.seed,
        "mixed_precision": PRECISIONS[precision(settings.precision, install)],
        "sdpa": True,
        "cache_latents": settings.crop != "random",
        "max_data_loader_n_workers": 2,
        "persistent_data_loader_workers": True,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_grad_norm": settings.max_grad_norm,
        "noise_offset": settings.noise_offset,
        "prior_loss_weight": settings.prior_weight,
        "torch_compile": settings.compile,
        "v2": base.family.name == "sd2",
        "v_parameterization": base.v_prediction,
        "zero_terminal_snr": base.zero_terminal_snr,
        "no_half_vae": base.family.name == "sdxl",
        **network_options(job),
        **optimizer_options(job),
    }
    if settings.min_snr_gamma is not None:
        options["min_snr_gamma"] = settings.min_snr_gamma
    if settings.validation_share:
        options |= {
            "validation_split": settings.validation_share,
            "validation_seed": settings.seed,
            "validate_every_n_steps": settings.validate_every,
        }
    return options


def network_options(job: Job) -> Options:
    """The adapter: `networks.lora` teaches attention and feed-forward layers alike."""
    settings = job.settings
    options: Options = {
        "network_module": "networks.lora",
        "network_dim": settings.rank,
        "network_alpha": job.alpha,
        "network_train_unet_only": not settings.text_encoder,
    }
    if "convolution" in settings.modules:
        options["network_args"] = (f"conv_dim={settings.rank}", f"conv_alpha={job.alpha:g}")
    return options


def optimizer_options(job: Job) -> Options:
    """The optimizer and its schedule."""
    settings = job.settings
    arguments = [f"weight_decay={settings.weight_decay!r}"]
    if settings.optimizer == "adafactor":
        arguments += ["relative_step=False", "scale_parameter=False", "warmup_init=False"]
    options: Options = {
        "optimizer_type": OPTIMIZERS[settings.optimizer],
        "learning_rate": peak_rate(settings),
        "unet_lr": peak_rate(settings),
    }
    if settings.text_encoder:
        options["text_encoder_lr"] = (peak_text_rate(settings),)
    if settings.optimizer == "schedule-free-adamw":
        arguments.append(f"warmup_steps={settings.warmup_steps}")
    else:
        options |= schedule_options(job)
    options["optimizer_args"] = tuple(arguments)
    return options


def schedule_options(job: Job) -> Options:
    """The learning rate's course. Each process takes a step of it at every optimizer step."""
    settings = job.settings
    warmup = settings.warmup_steps * job.processes
    if settings.schedule == "constant":
        # Plain `constant` refuses a warm-up.
        name = "constant_with_warmup" if warmup else "constant"
    else:
        name = settings.schedule.replace("-", "_")
    options: Options = {"lr_scheduler": name, "lr_warmup_steps": warmup}
    if settings.schedule == "cosine-with-restarts":
        options["lr_scheduler_num_cycles"] = settings.restarts
    return options


def dataset_options(job: Job) -> Options:
    """The dataset file: one dataset, a subset for each folder of pictures."""
    settings, family = job.settings, job.base.family.name
    dataset: Options = {
        "resolution": settings.resolution,
        "batch_size": job.images_a_pass(job.processes),
        "enable_bucket": settings.in_buckets,
    }
    if settings.in_buckets:
        step = BUCKET_STEPS[family]
        if settings.bucket_step % step:
            raise InputError(
                f"bucket_step {settings.bucket_step}: sd-scripts has buckets in steps of {step}",
                hint=f"next: set train.bucket_step to a multiple of {step}",
            )
        dataset |= {
            "bucket_reso_steps": settings.bucket_step,
            "min_bucket_reso": max(settings.bucket_step, settings.resolution // BUCKET_SIDES),
            "max_bucket_reso": settings.resolution * BUCKET_SIDES,
        }
    dataset["subsets"] = tuple(subset_options(job, part) for part in job.pictures)
    return {"datasets": (dataset,)}


def subset_options(job: Job, part: Pictures) -> Options:
    """One folder of pictures."""
    settings = job.settings
    return {
        "image_dir": str(part.folder),
        "caption_extension": ".txt",
        "num_repeats": part.repeats,
        "is_reg": part.regularization,
        "flip_aug": settings.flip,
        "random_crop": settings.crop == "random",
        "shuffle_caption": settings.shuffle_captions,
        "keep_tokens": job.kept_tags(),
        "caption_dropout_rate": settings.caption_dropout,
    }


def render_toml(options: Mapping[str, Value]) -> str:
    """TOML of options; tables only in lists of tables. Source: https://toml.io/en/v1.0.0."""
    lines: list[str] = []
    _table(options, "", lines)
    return "\n".join(lines) + "\n"


def _table(options: Mapping[str, Value], path: str, lines: list[str]) -> None:
    tables = {key: value for key, value in options.items() if _is_tables(value)}
    for key, value in options.items():
        if key not in tables:
            lines.append(f"{key} = {_value(value)}")
    for key, value in tables.items():
        for table in value if isinstance(value, tuple) else ():
            if isinstance(table, Mapping):
                lines.append(f"\n[[{path}{key}]]")
                _table(table, f"{path}{key}.", lines)


def _is_tables(value: Value) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Mapping)


def _value(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            raise TypeError(f"no TOML for {type(value)}")


def _text(text: str) -> str:
    """A basic string; what TOML wants escaped is a subset of what JSON escapes, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
