"""What GPUs this machine has, and who holds their memory. Source: NVML, by `nvidia-ml-py`.

A MIG slice is a GPU of its own, and a GPU that is cut into slices is none. Source: NVIDIA's
Multi-Instance GPU User Guide, "CUDA Device Enumeration".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.machine import Gpu, Machine
from lora_ci.execution.local import MARK

GIB = 2**30
NO_LIBRARY = "nvidia-ml-py is not installed"
NO_DRIVER = "no NVIDIA driver"
NO_WORD = "the driver does not tell what is needed to give each step its GPUs"


def find_machine(
    name: str,
    *,
    slots: int = 1,
    visible: str | None = None,
    nvml: Any = None,
    mark_of: Callable[[int], str] | None = None,
) -> Machine:
    """This machine and its GPUs; none, and why, where there is no driver.

    `visible` is the value of CUDA_VISIBLE_DEVICES: what it leaves out is not ours. Raises
    InfrastructureError for a driver that is there and does not answer: its GPUs may be back soon.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return Machine(name=name, slots=slots, note=NO_LIBRARY, cpu_only=True)
    lost: list[str] = []
    try:
        nvml.nvmlInit()
        try:
            gpus = tuple(_read(nvml, mark_of or _mark_of_process, lost))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED):
            return Machine(name=name, slots=slots, note=NO_DRIVER, cpu_only=True)
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return Machine(name=name, slots=slots, note=NO_WORD, cpu_only=True)
        hint = "next: nvidia-smi; reboot after a driver update"
        raise InfrastructureError(f"the NVIDIA driver: {error}", hint=hint) from error
    ours = tuple(_visible(gpus, visible))
    note = "; ".join(lost) or ("" if ours else "no GPU, or none in CUDA_VISIBLE_DEVICES")
    return Machine(name=name, gpus=ours, slots=slots, note=note, cpu_only=not (ours or lost))


def _read(nvml: Any, mark_of: Callable[[int], str], lost: list[str]) -> Iterator[Gpu]:
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            if _is_cut(nvml, device):
                yield from _slices(nvml, device, index, mark_of)
            else:
                yield _gpu(nvml, device, index, mark_of)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
                raise
            # One that fell off the bus takes none of the others with it.
            lost.append(f"GPU {index}: {error}")


def _is_cut(nvml: Any, device: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return False
        raise


def _slices(nvml: Any, device: Any, index: int, mark_of: Callable[[int], str]) -> Iterator[Gpu]:
    instances = set()
    for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, place)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_NOT_FOUND:
                continue
            raise
        instance = nvml.nvmlDeviceGetGpuInstanceId(part)
        # Compute instances of one GPU instance share its memory: one of them is enough.
        if instance not in instances:
            instances.add(instance)
            yield _gpu(nvml, part, index, mark_of, whole=device)


def _gpu(
    nvml: Any, device: Any, index: int, mark_of: Callable[[int], str], *, whole: Any = None
) -> Gpu:
    total, free = _memory(nvml, device)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(device if whole is None else whole)
    held: dict[str, float] = {}
    for process in _processes(nvml, device):
        mark = mark_of(process.pid)
        if mark and process.usedGpuMemory:
            held[mark] = held.get(mark, 0.0) + process.usedGpuMemory / GIB
    return Gpu(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(device)),
        name=_text(nvml.nvmlDeviceGetName(device)),
        total_gib=total / GIB,
        free_gib=free / GIB,
        capability=f"{major}.{minor}",
        mig="" if whole is None else _text(nvml.nvmlDeviceGetUUID(whole)),
        held_gib=held,
    )


def _memory(nvml: Any, device: Any) -> tuple[int, int]:
    """Total and free bytes. A GPU without memory of its own has the machine's (GB10, Jetson)."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        found = {words[0]: int(words[1]) * 1024 for words in lines}
        return found["MemTotal:"], found["MemAvailable:"]
    return int(memory.total), int(memory.free)


def _processes(nvml: Any, device: Any) -> list[Any]:
    """Who computes there. In a container nobody is seen, and under WSL that is not told."""
    try:
        return list(nvml.nvmlDeviceGetComputeRunningProcesses(device))
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return []
        raise


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _mark_of_process(pid: int) -> str:
    """The attempt that a process belongs to; empty for those of others, and of other users."""
    wanted = f"{MARK}=".encode()
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    marks = (v.removeprefix(wanted) for v in variables if v.startswith(wanted))
    return next(marks, b"").decode(errors="replace")


def _visible(gpus: tuple[Gpu, ...], given: str | None) -> Iterator[Gpu]:
    """What CUDA_VISIBLE_DEVICES lets through: indices, or beginnings of UUIDs, up to a wrong one.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    if given is None:
        yield from gpus
        return
    for word in (part.strip() for part in given.split(",")):
        named = [
            gpu
            for gpu in gpus
            if (word.isdecimal() and not gpu.mig and gpu.index == int(word))
            or (word.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(word))
        ]
        if len(named) != 1:
            return
        yield named[0]
