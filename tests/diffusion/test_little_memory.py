"""Memory that runs out makes pictures slower, not other ones; what is too much is told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lora_ci.core.errors import ExitCode
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.memory import Memory, OutOfMemory, is_out_of_memory, memory_told
from lora_ci.diffusion.request import PictureRequest
from lora_ci.ruler.held_out import held_out_losses
from lora_ci.ruler.references import Reference
from tests.diffusion.pipelines import distance

pytestmark = pytest.mark.slow

LEVELS = 2
REQUESTS = [
    PictureRequest(prompt=p, seed=s, steps=3, guidance=3.0, width=16, height=16)
    for p in ("cat", "dog")
    for s in (0, 1, 2)
]
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory"),
]


def test_lack_of_memory_is_known_by_its_words():
    assert all(map(is_out_of_memory, ERRORS))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(
        RuntimeError("could not create a primitive descriptor for a convolution")
    )
    assert not is_out_of_memory(ValueError("out of memory"))


class Narrow:
    """A call that takes `most` rows, and says in some library's way that more are too many."""

    def __init__(self, call, most, error):
        self.call, self.most, self.error = call, most, error
        self.refused, self.taken = 0, []

    def __call__(self, first, *args, **kwargs):
        if len(first) > self.most:
            self.refused += 1
            raise self.error
        self.taken.append(len(first))
        return self.call(first, *args, **kwargs)


@pytest.fixture
def model(tiny_sd):
    return load_base(tiny_sd)


def narrow(monkeypatch, part, name, most, error=ERRORS[0]):
    call = Narrow(getattr(part, name), most, error)
    monkeypatch.setattr(part, name, call)
    return call


@pytest.mark.parametrize(
    ("error", "most", "rows"), [(ERRORS[0], 5, 3), (ERRORS[1], 1, 1), (ERRORS[2], 5, 3)]
)
def test_the_denoiser_takes_fewer_rows_and_keeps_to_it(monkeypatch, model, error, most, rows):
    wanted = DiffusersGenerator(model).generate(REQUESTS)
    call = narrow(monkeypatch, model.denoiser, "forward", most, error)
    memory = Memory()
    assert memory.findings() == ()
    made = DiffusersGenerator(model, memory=memory).generate(REQUESTS)
    assert max(map(distance, made, wanted)) <= LEVELS
    # Six pictures are twelve rows: 12 → 6 → 3, or on to 1; never tried again, nor what was done.
    assert (memory.denoiser_rows, call.refused) == (rows, {3: 2, 1: 4}[rows])
    assert sum(call.taken) == 12 * 3
    again = DiffusersGenerator(model, memory=memory).generate(REQUESTS)
    assert call.refused == {3: 2, 1: 4}[rows]
    assert max(map(distance, again, wanted)) <= LEVELS
    (finding,) = memory.findings()
    assert f"{rows} rows of the denoiser" in finding.message


def test_the_vae_takes_fewer_rows(monkeypatch, model):
    wanted = DiffusersGenerator(model).generate(REQUESTS)
    call = narrow(monkeypatch, model.vae, "decode", 1)
    memory = Memory()
    made = DiffusersGenerator(model, memory=memory).generate(REQUESTS)
    assert max(map(distance, made, wanted)) <= LEVELS
    assert (memory.vae_rows, memory.denoiser_rows) == (1, 16)
    assert call.taken == [1] * 6


class Gpu:
    """A VAE that a GPU has no room for, and a CPU has."""

    def __init__(self, *, cpu_fits):
        self.device, self.cpu_fits = torch.device("cuda"), cpu_fits

    def to(self, device):
        self.device = torch.device(device)

    def decode(self, rows):
        if self.device.type == "cuda" or not self.cpu_fits:
            raise ERRORS[0]
        return rows + 1


@pytest.mark.parametrize("fits", [True, False])
def test_a_vae_goes_to_the_cpu_at_last(fits):
    vae = Gpu(cpu_fits=fits)
    model = SimpleNamespace(vae=vae, device=torch.device("cpu"))
    memory, rows = Memory(), torch.arange(3.0)[:, None]
    if not fits:
        with pytest.raises(OutOfMemory, match="the VAE"):
            memory.coded(model, 3, lambda part: vae.decode(rows[part]))
        return
    made = memory.coded(model, 3, lambda part: vae.decode(rows[part]))
    assert torch.equal(made, rows + 1)
    assert memory.vae_on_cpu
    assert "the VAE on the CPU" in memory.findings()[0].message


def test_one_row_that_is_too_much_is_the_machines_fault(monkeypatch, model):
    narrow(monkeypatch, model.denoiser, "forward", 0)
    with pytest.raises(OutOfMemory, match="one picture at a time") as told:
        DiffusersGenerator(model).generate(REQUESTS)
    assert told.value.exit_code is ExitCode.INFRASTRUCTURE
    assert "qa.resolution" in told.value.findings[0].hint
    assert is_out_of_memory(told.value)


def test_a_bug_is_no_lack_of_memory(monkeypatch, model):
    call = narrow(monkeypatch, model.denoiser, "forward", 0, RuntimeError("shapes do not fit"))
    memory = Memory()
    with pytest.raises(RuntimeError, match="shapes"):
        DiffusersGenerator(model, memory=memory).generate(REQUESTS)
    assert (call.refused, memory.ran_out) == (1, False)
    with pytest.raises(RuntimeError, match="shapes"), memory_told("it"):
        raise RuntimeError("shapes do not fit")


def test_text_encoders_that_do_not_fit_are_told(monkeypatch, model):
    narrow(monkeypatch, model.text_encoders["text_encoder"], "forward", 0, MemoryError())
    with pytest.raises(OutOfMemory, match="the text encoders"):
        DiffusersGenerator(model).generate(REQUESTS)


def test_losses_are_the_same_in_little_memory(monkeypatch, model):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    references = [Reference(name="a.png", picture=picture, caption="a cat")]
    wanted = held_out_losses(model, references, "mei", Memory())
    call, memory = narrow(monkeypatch, model.denoiser, "forward", 3), Memory()
    assert held_out_losses(model, references, "mei", memory) == pytest.approx(wanted, rel=1e-5)
    assert (memory.denoiser_rows, call.taken) == (2, [2, 2, 2, 2])


@pytest.mark.parametrize("spoiled", [torch.nan, torch.inf])
def test_a_picture_that_is_no_number_is_black_and_alone_in_it(monkeypatch, model, spoiled):
    wanted = DiffusersGenerator(model).generate(REQUESTS)
    forward = model.denoiser.forward

    def broken(noisy, times, *args, **kwargs):
        out = forward(noisy, times, *args, **kwargs)
        # The second picture's row, with guidance and without.
        out.sample[1, :, 0, 0] = spoiled
        return out

    monkeypatch.setattr(model.denoiser, "forward", broken)
    made = DiffusersGenerator(model).generate(REQUESTS)
    assert not made[1].any()
    rest = [i for i in range(len(REQUESTS)) if i != 1]
    assert max(distance(made[i], wanted[i]) for i in rest) <= LEVELS
    plain = DiffusersGenerator(model).generate([replace(r, guidance=1.0) for r in REQUESTS])
    assert [not picture.any() for picture in plain] == [i == 1 for i in range(len(REQUESTS))]
