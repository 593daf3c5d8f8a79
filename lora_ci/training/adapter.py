"""The layers that are taught: put beside the base's weights, and taken off as a value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.convert import to_kohya
from lora_ci.training.attention import join_attention
from lora_ci.training.frozen import lighten_frozen
from lora_ci.training.linear import NAME, LinearWithLora

T = TypeVar("T")
# What a CLIP text encoder's attention is made of.
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What learns: parameters by component and name, sorted; float32.

    `shapes` are (rank, alpha) by module path, `texts` the taught text encoders.
    """

    parameters: Mapping[str, torch.nn.Parameter]
    shapes: Mapping[str, tuple[int, float]]
    texts: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def teach(model: BaseModel, settings: TrainSettings) -> Taught:
    """Puts fresh LoRA or DoRA layers on the denoiser, and on text encoders where asked for.

    They change nothing at first. All randomness is of the seed.

    Raises:
        InputError: a setting names modules that the base has not.
    """
    texts = model.family.taught_texts if settings.text_encoder else ()
    chosen = _chosen(model, settings, texts)
    shapes = _shapes(chosen, settings)
    parameters: dict[str, torch.nn.Parameter] = {}
    # Layers draw from the global source: seeded for them, then put back.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        for component, modules in chosen.items():
            whole = dict(model.models[component].named_modules())
            # In the base's own order, on which the numbers drawn depend.
            for name in (name for name in whole if name in modules):
                layer = _layer(whole[name], *shapes[_path(component, name)], settings)
                above, _, last = name.rpartition(".")
                setattr(whole[above], last, layer)
                parameters |= {
                    f"{component}.{name}.{part}": parameter
                    for part, parameter in layer.named_parameters()
                    if f".{NAME}." in part
                }
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    if model.device.type == "cpu" and model.dtype == torch.float32 and not settings.compile:
        join_attention(model.denoiser)
        lighten_frozen(model.denoiser)
    widths = {
        _path(component, name): min(module.weight.shape[0], module.weight[0].numel())
        for component, modules in chosen.items()
        for name, module in modules.items()
    }
    return Taught(
        parameters=dict(sorted(parameters.items())),
        shapes=shapes,
        texts=texts,
        findings=_too_wide(shapes, widths),
    )


def as_adapter(model: BaseModel, taught: Taught, settings: TrainSettings) -> Adapter:
    """The layers as they are now. rsLoRA's scale alpha / √rank is written as alpha' / rank."""
    layers = {}
    for component in (model.family.denoiser, *taught.texts):
        for name, module in model.models[component].named_modules():
            if NAME not in getattr(module, "lora_A", {}):
                continue
            path = _path(component, name)
            rank, alpha = taught.shapes[path]
            magnitude = None
            if settings.method == "dora":
                magnitude = _copy(module.lora_magnitude_vector[NAME].weight).flatten()
            layers[path] = LoraLayer(
                down=_copy(module.lora_A[NAME].weight),
                up=_copy(module.lora_B[NAME].weight),
                alpha=alpha * math.sqrt(rank) if settings.rank_stabilized else alpha,
                magnitude=magnitude,
            )
    return Adapter(layers=dict(sorted(layers.items())), family=model.family.name)


def need_names(model: BaseModel, settings: TrainSettings) -> None:
    """Tells before the first step what would keep the adapter from being written after the last.

    Raises:
        InputError: layers that a file cannot hold, or modules that the base has not.
    """
    layers = {}
    texts = model.family.taught_texts if settings.text_encoder else ()
    for component, modules in _chosen(model, settings, texts).items():
        for name, module in modules.items():
            rows, inputs, *kernel = module.weight.shape
            layers[_path(component, name)] = LoraLayer(
                down=torch.zeros(1, inputs, *kernel),
                up=torch.zeros(rows, 1, *(1 for _ in kernel)),
                alpha=1.0,
                magnitude=torch.ones(rows) if settings.method == "dora" else None,
            )
    try:
        to_kohya(Adapter(layers=layers, family=model.family.name))
    except InputError as error:
        hint = "next: name other modules, such as attention or feed-forward"
        if settings.method == "dora":
            hint = "next: set train.method: lora, or train.modules: [attention, feed-forward]"
        message = f"`train.modules`: the adapter could not be written: {error}"
        raise InputError(message, hint=hint) from error


def _chosen(
    model: BaseModel, settings: TrainSettings, texts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The modules that are taught, by component and name."""
    chosen = {model.family.denoiser: _modules_of(model, settings)}
    return chosen | {name: _ending_in(model.models[name], TEXT_ATTENTION) for name in texts}


def _modules_of(model: BaseModel, settings: TrainSettings) -> dict[str, Any]:
    """The denoiser's modules that the settings name, by name."""
    family = model.family
    groups = {
        "attention": family.attention,
        "feed-forward": family.feed_forward,
        "convolution": family.convolution,
    }
    found: dict[str, Any] = {}
    for word in settings.modules:
        named = _ending_in(model.denoiser, groups.get(word, (word,)))
        if not named:
            known = sorted({name.rsplit(".", 1)[-1] for name, _ in _weighted(model.denoiser)})
            raise InputError(
                f"`train.modules`: no module of the base ends in `{word}`",
                hint=f"known: {', '.join(groups)}; or endings such as {', '.join(known)}",
            )
        found |= named
    return dict(sorted(found.items()))


def _weighted(whole: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules that an adapter can teach. What stands alone at the top is no block's."""
    for name, module in whole.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and "." in name:
            yield name, module


def _ending_in(whole: torch.nn.Module, endings: tuple[str, ...]) -> dict[str, Any]:
    dotted = tuple(f".{ending}" for ending in endings)
    return {name: module for name, module in _weighted(whole) if name.endswith(dotted)}


def _path(component: str, name: str) -> str:
    """The adapter path; transformers 4 has `text_model.`, 5 has not."""
    return f"{component}.{name.removeprefix('text_model.')}"


def _shapes(
    chosen: Mapping[str, Mapping[str, Any]], settings: TrainSettings
) -> dict[str, tuple[int, float]]:
    """Rank and alpha of every module. Raises InputError for a key that no path contains."""
    paths = [_path(component, name) for component, names in chosen.items() for name in names]
    for setting, keys in (("ranks", settings.ranks), ("alphas", settings.alphas)):
        unused = [key for key in keys if not any(key in path for path in paths)]
        if unused:
            raise InputError(
                f"`train.{setting}`: no taught module has `{unused[0]}` in its path",
                hint=f"such paths are {', '.join(paths[:SHOWN])}",
            )
    return {
        path: (
            _of_longest_key(settings.ranks, path, settings.rank),
            _of_longest_key(settings.alphas, path, settings.alpha),
        )
        for path in paths
    }


def _of_longest_key(values: Mapping[str, T], path: str, default: T) -> T:
    """The value of the longest key in the path: the order of keys in a config says nothing."""
    keys = [key for key in values if key in path]
    return values[max(keys, key=lambda key: (len(key), key))] if keys else default


def _layer(
    module: torch.nn.Module, rank: int, alpha: float, settings: TrainSettings
) -> torch.nn.Module:
    """What takes a module's place: ours for a LoRA on a linear layer, peft's for all else.

    A compiler joins peft's passes by itself, and sees into them.
    """
    plain = settings.method == "lora" and not settings.compile
    if plain and isinstance(module, torch.nn.Linear):
        scale = alpha / (math.sqrt(rank) if settings.rank_stabilized else rank)
        return LinearWithLora(module, rank, scale)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # peft says int and takes any number
        target_modules=["0"],
        use_dora=settings.method == "dora",
        use_rslora=settings.rank_stabilized,
    )
    return inject_adapter_in_model(config, torch.nn.Sequential(module), NAME)[0]


def _too_wide(
    shapes: Mapping[str, tuple[int, float]], widths: Mapping[str, int]
) -> tuple[Finding, ...]:
    """A rank above the weight's own adds nothing but size."""
    wide = [path for path, (rank, _) in shapes.items() if rank > widths[path]]
    if not wide:
        return ()
    path = min(wide, key=lambda path: (widths[path], path))
    message = f"rank {shapes[path][0]} is above the own rank {widths[path]} of `{path}`"
    more = f" and {len(wide) - 1} more modules" if len(wide) > 1 else ""
    hint = "a lower train.rank, or train.ranks for these modules, teaches as much"
    return (
        Finding(rule="train.rank", severity=Severity.WARNING, message=message + more, hint=hint),
    )


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().to("cpu", copy=True).contiguous()
