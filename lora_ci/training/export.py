"""An adapter that was trained → the files that are kept of it."""

from __future__ import annotations

from dataclasses import replace

from lora_ci.core.artifact import Artifact
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import StepContext, StepSpec
from lora_ci.diffusion.families import Family
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.write import Format, write_adapter

MEDIA_TYPE = "application/vnd.safetensors"
FILES = (
    ("adapter.safetensors", Format.DIFFUSERS),
    ("adapter-kohya.safetensors", Format.KOHYA),
)


def keep_adapter(
    adapter: Adapter, family: Family, spec: StepSpec, context: StepContext
) -> tuple[Artifact, ...]:
    """Writes the adapter for diffusers and for kohya's tools, and puts both into the store.

    Raises:
        InfrastructureError: a file would not do what the adapter does.
    """
    trigger = str(spec.params["trigger"])
    metadata = {
        # Of a trainer's own words, only its figures: descriptions may name paths.
        **{key: value for key, value in adapter.metadata.items() if key.startswith("ss_")},
        "modelspec.architecture": f"{family.architecture}/lora",
        # Not the LoRA's name: several of them, and others tomorrow, share a training and its bytes.
        "modelspec.title": trigger,
        "modelspec.trigger_phrase": trigger,
    }
    return keep_files(replace(adapter, family=family.name, metadata=metadata), context)


def keep_files(adapter: Adapter, context: StepContext) -> tuple[Artifact, ...]:
    """The files with the metadata that the adapter has. Raises as `keep_adapter`."""
    artifacts = []
    for name, kind in FILES:
        write_adapter(adapter, context.workdir / name, kind)
        artifacts.append(context.keep(name, context.workdir / name, MEDIA_TYPE))
    return tuple(artifacts)


def dora_findings(adapter: Adapter) -> tuple[Finding, ...]:
    """A warning where the file for kohya's tools is not the same adapter in all of them."""
    if all(layer.magnitude is None for layer in adapter.layers.values()):
        return ()
    kohya = FILES[1][0]
    return (
        Finding(
            rule="train.dora-kohya",
            severity=Severity.WARNING,
            message=f"`{kohya}` holds DoRA sizes, which tools read differently: ComfyUI comes near "
            "the trained adapter, A1111 and diffusers show another effect",
            hint=f"use `{FILES[0][0]}` in diffusers; for those tools set `train.method: lora`",
        ),
    )
