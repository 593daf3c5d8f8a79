"""What is done when memory runs out while pictures are made: less at once, the same pictures.

A call of the denoiser or the VAE that does not fit is made again with half of the rows, down to
one; a VAE that does not fit even so goes to the CPU. Tiles are no way out: each would have its own
normalization, and the picture would be another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.load import BaseModel

# How libraries say that memory is out, where they have no class of error for it.
WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
# All that oneDNN says of it on a CPU; what it cannot do at all it says at length.
ONEDNN = "could not create a primitive"
HINT = "next: set a smaller qa.resolution, or end other programs that use the memory"


class OutOfMemory(InfrastructureError):  # noqa: N818 - as torch calls its own
    """Nothing is left to try."""

    rule = "pictures.out-of-memory"


def is_out_of_memory(error: BaseException) -> bool:
    """True where an allocation failed, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError | OutOfMemory):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (words == ONEDNN or any(w in words for w in WORDS))


@contextmanager
def memory_told(doing: str) -> Iterator[None]:
    """Says in one line of memory that ran out what it ran out for.

    Raises:
        OutOfMemory: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"memory ran out: {doing} does not fit", hint=HINT) from error


@dataclass(slots=True, kw_only=True)
class Memory:
    """How many rows a part computes at once. What did not fit once is not tried again.

    One is shared by all that work with a base. A picture with guidance is two rows of the
    denoiser.
    """

    denoiser_rows: int = 16
    vae_rows: int = 8
    vae_on_cpu: bool = False
    ran_out: bool = False

    def denoised(
        self, model: BaseModel, rows: int, compute: Callable[[slice], torch.Tensor]
    ) -> torch.Tensor:
        """What `compute` gives for all rows of a batch, some at a time.

        Raises:
            OutOfMemory: one row does not fit.
        """
        with memory_told("the base model"):
            _ = model.denoiser
        done: list[torch.Tensor] = []
        start = 0
        while start < rows:
            part = slice(start, min(start + self.denoiser_rows, rows))
            if self._tried(model, compute, part, done):
                start = part.stop
            elif part.stop - part.start == 1:
                raise OutOfMemory("memory ran out: one picture at a time is too much", hint=HINT)
            else:
                self.denoiser_rows = (part.stop - part.start + 1) // 2
        return torch.cat(done)

    def coded(
        self, model: BaseModel, rows: int, compute: Callable[[slice], torch.Tensor]
    ) -> torch.Tensor:
        """The same for the VAE, which goes to the CPU where one row does not fit elsewhere.

        Raises:
            OutOfMemory: one row does not fit there either.
        """
        with memory_told("the VAE"):
            _ = model.vae
        done: list[torch.Tensor] = []
        start = 0
        while start < rows:
            part = slice(start, min(start + self.vae_rows, rows))
            if self._tried(model, compute, part, done):
                start = part.stop
            elif part.stop - part.start > 1:
                self.vae_rows = (part.stop - part.start + 1) // 2
            elif model.vae.device.type != "cpu":
                model.vae.to("cpu")
                self.vae_on_cpu = True
            else:
                raise OutOfMemory("memory ran out: the VAE cannot take one picture", hint=HINT)
        return torch.cat([pixels.to(done[0].device) for pixels in done])

    def findings(self) -> tuple[Finding, ...]:
        """A warning where memory ran out; () where all fitted."""
        if not self.ran_out:
            return ()
        ways = [f"{self.denoiser_rows} rows of the denoiser at once", f"{self.vae_rows} of the VAE"]
        ways += ["the VAE on the CPU"] if self.vae_on_cpu else []
        finding = Finding(
            rule="pictures.less-memory",
            severity=Severity.WARNING,
            message=f"memory ran out: pictures were made with {', '.join(ways)}",
            hint="they are the same, only slower",
        )
        return (finding,)

    def _tried(
        self,
        model: BaseModel,
        compute: Callable[[slice], torch.Tensor],
        part: slice,
        done: list[torch.Tensor],
    ) -> bool:
        """False where it did not fit; the rows of `part` are in `done` otherwise."""
        try:
            done.append(compute(part))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return True
        # Only here is the error gone, and with it the tensors that its frames held.
        self.ran_out = True
        give_back(model.device)
        return False


def give_back(device: torch.device) -> None:
    """Gives what torch keeps of a device's memory back to it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
