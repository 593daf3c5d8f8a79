"""Why a trainer failed, told from how it ended and what it printed last."""

from __future__ import annotations

import re
import signal

from lora_ci.core.errors import InfrastructureError, InputError, LoraCIError
from lora_ci.training.foreign.process import Ended

SHOWN = 3
LESS_MEMORY = (
    "next: raise train.gradient_accumulation, set train.gradient_checkpointing: true, "
    "or lower train.resolution"
)
# What a machine lacks, by the words that libraries tell it with.
LACKS = (
    (
        re.compile(r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.I),
        ("train.out-of-memory", "the GPU's memory is too small for the trainer", LESS_MEMORY),
    ),
    (
        re.compile(r"^MemoryError|Cannot allocate memory|can't allocate memory", re.I),
        ("train.out-of-memory", "the machine's memory is too small for the trainer", LESS_MEMORY),
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded", re.I),
        (
            "machine.disk-full",
            "the trainer found no room on the disk",
            "next: make room (df -h); the same command goes on where it stopped",
        ),
    ),
    (
        re.compile(r"ModuleNotFoundError|No module named"),
        (
            "train.not-installed",
            "the trainer lacks a Python package",
            "next: install what the trainer requires into its own environment",
        ),
    ),
    (
        re.compile(r"CUDA error|NVIDIA driver|no CUDA-capable device|No CUDA GPUs", re.I),
        ("train.gpu", "the GPU failed the trainer", "next: lora-ci doctor"),
    ),
    (
        re.compile(r"huggingface\.co|LocalEntryNotFoundError|OfflineModeIsEnabled"),
        (
            "train.not-downloaded",
            "the trainer wants a file of the Hugging Face hub that is not on this machine",
            "next: start the trainer once by hand where it may download, with the same HF_HOME",
        ),
    ),
)


def failure(backend: str, ended: Ended) -> LoraCIError:
    """The error of a trainer that did not end well: whose fault it is, and its last words."""
    last = list(ended.watched.tail)
    said = f"; last: {' | '.join(last[-SHOWN:])}" if last else "; it printed nothing"
    where = f"after step {ended.watched.done} of {ended.watched.total}"
    # The cause is the last such line: earlier ones may be warnings that were survived.
    for line in reversed(last):
        for pattern, (rule, message, hint) in LACKS:
            if pattern.search(line):
                told = f"{message} ({backend}, {where}): {line}"
                return InfrastructureError(told, rule=rule, hint=hint)
    if ended.code < 0:
        message = f"{backend} was killed by {_name(-ended.code)} {where}{said}"
        hint = "was it the kernel, out of memory? next: look at dmesg, then run again"
        return InfrastructureError(message, rule="train.killed", hint=hint)
    message = f"{backend} ended with exit code {ended.code} {where}{said}"
    return InputError(message, rule="train.failed", hint=f"next: less {ended.log}")


def no_result(backend: str, ended: Ended, missing: str) -> InputError:
    """A trainer that says that it is done and left no adapter."""
    last = list(ended.watched.tail)[-SHOWN:]
    said = f"; last: {' | '.join(last)}" if last else "; it printed nothing"
    message = f"{backend} ended well and left no adapter: {missing}{said}"
    hint = f"next: less {ended.log}"
    return InputError(message, rule="train.no-result", hint=hint)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
