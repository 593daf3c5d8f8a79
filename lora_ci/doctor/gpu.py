"""Checks of the GPU: is there one, does its driver fit PyTorch, has it the memory asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lora_ci.config.model import Config
from lora_ci.core.errors import InfrastructureError, LoraCIError
from lora_ci.doctor.checked import Checked, error, ok, skipped, warning
from lora_ci.doctor.machine import Machine

# Oldest driver for each CUDA. Source: NVIDIA's CUDA Toolkit release notes, table "CUDA Toolkit and
# Minimum Required Driver Version for CUDA Minor Version Compatibility" (Linux).
DRIVERS = {13: (580,), 12: (525, 60, 13), 11: (450, 80, 2)}
QUERY = "--query-gpu=index,name,driver_version,memory.total,memory.free"
NO_DRIVER = "next: install NVIDIA's driver, then try nvidia-smi; in a container: --gpus all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU as nvidia-smi tells it."""

    index: int
    name: str
    driver: str
    total_mib: int
    free_mib: int


def check_driver(machine: Machine, *, needed: bool) -> Checked:
    """The driver answers and is new enough for the CUDA that PyTorch was built for."""
    missing = error if needed else warning
    gpus = find_gpus(machine)
    torch = machine.torch()
    if not gpus:
        if torch is None and not needed:
            return skipped("no GPU and no PyTorch here: a machine that plans and reports")
        return missing("no GPU answers nvidia-smi: steps run on the CPU", NO_DRIVER)
    driver = gpus[0].driver
    found = f"driver {driver}, {len(gpus)} GPU{'s' * (len(gpus) > 1)}"
    if torch is None:
        fix = 'next: pip install "lora-ci[train]"'
        return missing(f"{found}; PyTorch is not installed", fix)
    found += f", PyTorch {torch.version}"
    if torch.cuda is None:
        fix = "next: pip install --force-reinstall torch, of a wheel for CUDA"
        return missing(f"{found}, which is built for the CPU alone", fix)
    found += f" for CUDA {torch.cuda}"
    oldest = DRIVERS.get(int(torch.cuda.partition(".")[0]))
    if oldest is None:
        return warning(f"{found}; which driver that needs is not known here", "see NVIDIA's table")
    if numbers(driver) < oldest:
        wanted = ".".join(map(str, oldest))
        fix = f"next: install driver {wanted} or newer, or a PyTorch for an older CUDA"
        return error(f"{found}, which needs driver {wanted} or newer", fix)
    return ok(found)


def check_memory(machine: Machine, read_config: Callable[[], Config], *, needed: bool) -> Checked:
    """Each GPU has the memory that the config asks for (`resources.vram_gib`)."""
    try:
        config = read_config()
    except LoraCIError:
        return skipped("there is no config that says how much is needed")
    asked = {
        lora.name: lora.resources.vram_gib
        for lora in config.loras.values()
        if lora.resources.gpus and lora.resources.vram_gib
    }
    gpus = find_gpus(machine)
    if not gpus:
        if not asked or not needed:
            return skipped("no GPU here")
        return error(f"no GPU; {max(asked.values()):g} GiB are asked for", NO_DRIVER)
    shown = ", ".join(
        f"GPU {g.index} {g.name} {g.total_mib / 1024:.1f} GiB ({g.free_mib / 1024:.1f} free)"
        for g in gpus
    )
    if not asked:
        return ok(f"{shown}; no LoRA says what it needs (resources.vram_gib)")
    name, most = max(asked.items(), key=lambda item: item[1])
    wanted = f"`{name}` asks for {most:g} GiB"
    enough = [g for g in gpus if g.total_mib / 1024 >= most]
    if not enough:
        fix = f"use a larger GPU, or lower resources.vram_gib of `{name}` if it needs less"
        return (error if needed else warning)(f"{shown}; {wanted}", fix)
    if not any(g.free_mib / 1024 >= most for g in enough):
        return warning(
            f"{shown}; {wanted}, another program has it", "next: nvidia-smi, to see which"
        )
    return ok(f"{shown}; {wanted}")


def find_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """What nvidia-smi lists; none where it is not installed or finds nothing.

    Raises InfrastructureError for a driver that does not answer as it should.
    """
    ran = machine.run("nvidia-smi", QUERY, "--format=csv,noheader,nounits")
    if ran is None or "No devices were found" in ran.out + ran.err:
        return ()
    if ran.code != 0:
        words = (ran.out + ran.err).strip().splitlines() or ["it failed without a word"]
        message = f"nvidia-smi: {words[0][:200]}"
        raise InfrastructureError(message, hint="next: reboot after a driver update; nvidia-smi")
    return tuple(_parse(line) for line in ran.out.splitlines() if line.strip())


def _parse(line: str) -> Gpu:
    fields = [field.strip() for field in line.split(",")]
    try:
        index, name, driver, total, free = fields
        return Gpu(
            index=int(index), name=name, driver=driver, total_mib=int(total), free_mib=int(free)
        )
    except ValueError as unexpected:
        message = f"nvidia-smi says {line[:100]!r}"
        raise InfrastructureError(message, hint="next: nvidia-smi") from unexpected


def numbers(version: str) -> tuple[int, ...]:
    """`580.65.06` → (580, 65, 6)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
