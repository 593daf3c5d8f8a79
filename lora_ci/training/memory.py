"""What is done when memory runs out: slower steps with the same result, one rung after another."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.memory import give_back, is_out_of_memory

# How a GPU says that it failed.
LOST = ("CUDA error", "NCCL error", "cuDNN error", "HIP error", "MPS error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A way to compute a batch: `rows` of it at once, activations kept or computed twice."""

    rows: int
    checkpointing: bool

    def next(self) -> Rung | None:
        """The way that needs less memory; None where there is none."""
        if not self.checkpointing:
            return replace(self, checkpointing=True)
        return replace(self, rows=(self.rows + 1) // 2) if self.rows > 1 else None

    def least(self, other: Rung) -> Rung:
        """The one that needs no more memory than either."""
        return Rung(
            rows=min(self.rows, other.rows), checkpointing=self.checkpointing or other.checkpointing
        )

    def parts(self, rows: int) -> list[slice]:
        """A batch of so many rows in parts that are computed one after the other."""
        return [slice(i, min(i + self.rows, rows)) for i in range(0, rows, self.rows)]


def climb(rung: Rung, device: torch.device) -> Rung:
    """The next rung, with what the device had cached given back.

    Raises:
        InfrastructureError: there is none.
    """
    give_back(device)
    following = rung.next()
    if following is None:
        raise no_memory("one image at a time with gradient checkpointing is still too much")
    return following


def no_memory(why: str) -> InfrastructureError:
    """Memory ran out, and nothing is left to try."""
    message = f"training ran out of memory: {why}"
    hint = "next: set a smaller train.resolution, train.rank or fewer train.modules, or end other "
    hint += "programs on the machine"
    return InfrastructureError(message, rule="train.out-of-memory", hint=hint)


@contextmanager
def machine_at_fault() -> Iterator[None]:
    """Says of memory that ran out, and of a GPU that is lost, that they are no bug of ours.

    Raises:
        InfrastructureError: one of them.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise no_memory((str(error) or "no more is left").splitlines()[0]) from error
        if any(words in str(error) for words in LOST):
            raise _device_lost(error) from error
        raise


def _device_lost(error: BaseException) -> InfrastructureError:
    message = f"the GPU failed: {str(error).splitlines()[0]}"
    hint = "next: nvidia-smi, dmesg; the same command goes on from the newest checkpoint"
    return InfrastructureError(message, rule="train.device-lost", hint=hint)


def less_memory(first: Rung, last: Rung, batch: int) -> tuple[Finding, ...]:
    """What happened between two rungs, and the settings with which it happens no more."""
    if last == first:
        return ()
    wanted = ["gradient_checkpointing: true"]
    if last.rows < batch:
        wanted.append(f"gradient_accumulation: {-(-batch // last.rows)}")
    finding = Finding(
        rule="train.less-memory",
        severity=Severity.WARNING,
        message=f"memory ran out: went on with {' and '.join(wanted)}",
        hint="the result is the same; set it under `train` to save the failed attempts",
    )
    return (finding,)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that was in use at once, in MB: the device's, or the process's own.

    Source: proc(5), `VmHWM`; ru_maxrss counts what the parent had before the process started.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    try:
        told = Path("/proc/self/status").read_text("ascii", "replace").partition("VmHWM:")[2]
        return int(told.split()[0]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):
        # macOS, which counts in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
