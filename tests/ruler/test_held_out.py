"""The held-out loss of every family: the same again, a number a picture, moved by captions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.memory import Memory
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.ruler.held_out import held_out_losses
from lora_ci.ruler.references import read_references
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow


@pytest.fixture
def folders(tiny_sd, tiny_sdxl, tiny_flux):
    return {"sd1": tiny_sd, "sdxl": tiny_sdxl, "flux": tiny_flux}


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_losses_are_the_pictures_own(tmp_path, folders, family):
    model = load_base(folders[family])
    references = read_references(write_dataset(tmp_path / "references", images=3), 16)
    losses = held_out_losses(model, references, "mei", Memory())
    assert losses.shape == (3,)
    assert np.isfinite(losses).all()
    assert (losses > 0).all()
    assert np.array_equal(losses, held_out_losses(model, references, "mei", Memory()))
    # The first picture's noise does not depend on what follows.
    assert held_out_losses(model, references[:1], "mei", Memory())[0] == losses[0]
    mute = [replace(reference, caption=None) for reference in references]
    assert not np.array_equal(losses, held_out_losses(model, mute, "mei", Memory()))
    value = ("attn2.to_v", "attn.to_v")
    name, shape = next((n, s) for n, s in model.shapes().items() if n.endswith(value))
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(1, shape[1], generator=draw), torch.randn(shape[0], 1, generator=draw)
    layer = LoraLayer(down=down, up=up, alpha=1.0)
    attached = attach(model, Adapter(layers={name: layer}, family=family))
    assert not np.array_equal(losses, held_out_losses(model, references, "mei", Memory()))
    detach(attached)
    assert np.array_equal(losses, held_out_losses(model, references, "mei", Memory()))


def test_flux_is_asked_for_the_way_from_picture_to_noise(tmp_path, tiny_flux):
    """With a denoiser that says nothing, the loss is the mean square of noise minus latents."""
    model = load_base(tiny_flux)
    Image.new("RGB", (16, 16), (90, 160, 30)).save(tmp_path / "a.png")
    references = read_references(tmp_path, 16)
    for parameter in model.denoiser.proj_out.parameters():
        torch.nn.init.zeros_(parameter)
    loss = held_out_losses(model, references, "mei", Memory())[0]
    pixels = torch.from_numpy(references[0].picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        x = model.vae.encode(pixels).latent_dist.mode()
    x = (x - model.vae.config.shift_factor) * model.vae.config.scaling_factor
    noise = torch.randn(8, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    assert loss == pytest.approx(float((noise - x).square().mean()), rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_half_precision_gives_about_the_same_loss(tmp_path, folders, family, dtype):
    references = read_references(write_dataset(tmp_path / "references", images=2), 16)
    exact, half = (
        held_out_losses(load_base(folders[family], floats), references, "mei", Memory())
        for floats in ("float32", dtype)
    )
    assert not np.array_equal(exact, half)
    # FLUX is told its times in the denoiser's own floats, as its pipeline tells them.
    assert half == pytest.approx(exact, rel=0.08 if family == "flux" else 0.01)
