"""Texts, one call of the denoiser, latents and pictures are those of each family's pipeline."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.conditioning import cat, encode_texts, sizes_of
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.latents import decode_latents, encode_pictures
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.memory import Memory
from lora_ci.diffusion.outline import base_shapes
from lora_ci.diffusion.request import PictureRequest
from tests.diffusion.pipelines import distance, open_pipeline, pipeline_picture
from tests.tiny_flux import build_tiny_flux
from tests.tiny_parts import TEXT_TOKENS
from tests.tiny_sd import SD2_WIDTH, build_tiny_sd
from tests.tiny_sdxl import build_tiny_sdxl

pytestmark = pytest.mark.slow

FAMILIES = ("sd1", "sd2", "sdxl", "flux")
TEXTS = ["a flat cat", "a flat dog, which is longer than fits"]
LEVELS = 2
REQUEST = PictureRequest(
    prompt="a flat cat", negative_prompt="dog", seed=3, steps=3, guidance=4.0, width=16, height=24
)


@pytest.fixture(scope="session")
def folders(tmp_path_factory, tiny_sd, tiny_sdxl, tiny_flux):
    sd2 = build_tiny_sd(tmp_path_factory.mktemp("tiny-sd2"), text_width=SD2_WIDTH)
    return {"sd1": tiny_sd, "sd2": sd2, "sdxl": tiny_sdxl, "flux": tiny_flux}


@pytest.fixture(params=FAMILIES)
def both(request, folders):
    """A base model as we read it, and the pipeline of its family."""
    folder = folders[request.param]
    model = load_base(folder)
    assert model.family.name == request.param
    return model, open_pipeline(folder, request.param)


def encoded_by(pipe, family):
    """Tokens and pooled texts of the pipeline."""
    if family == "flux":
        tokens, pooled, _ = pipe.encode_prompt(TEXTS, max_sequence_length=TEXT_TOKENS)
    elif family == "sdxl":
        tokens, _, pooled, _ = pipe.encode_prompt(TEXTS, do_classifier_free_guidance=False)
    else:
        tokens, _ = pipe.encode_prompt(TEXTS, "cpu", 1, do_classifier_free_guidance=False)
        pooled = None
    return tokens, pooled


def test_texts_and_predictions(both):
    model, pipe = both
    family = model.family.name
    with torch.no_grad():
        ours = encode_texts(model, TEXTS)
        tokens, pooled = encoded_by(pipe, family)
    torch.testing.assert_close(ours.tokens, tokens, atol=1e-6, rtol=0)
    assert (ours.pooled is None) == (pooled is None)
    if pooled is not None:
        torch.testing.assert_close(ours.pooled, pooled, atol=1e-6, rtol=0)
    ours = replace(ours, sizes=sizes_of((16, 24), (0, 2), (16, 24)).expand(2, -1))
    noisy = torch.randn(2, model.family.latent_channels, 8, 12)
    times = torch.tensor([0.25, 0.75]) if family == "flux" else torch.tensor([10, 700])
    with torch.no_grad():
        found = denoise(model, noisy, times, ours, guidance=3.5)
        asked = predicted_by(pipe, family, noisy, times, ours)
    torch.testing.assert_close(found, asked, atol=1e-5, rtol=0)


def predicted_by(pipe, family, noisy, times, told):
    """One call as the pipeline makes it."""
    if family == "flux":
        b, c, h, w = noisy.shape
        packed = pipe._pack_latents(noisy, b, c, h, w)
        out = pipe.transformer(
            hidden_states=packed,
            timestep=times,
            guidance=torch.full((b,), 3.5),
            pooled_projections=told.pooled,
            encoder_hidden_states=told.tokens,
            txt_ids=torch.zeros(told.tokens.shape[1], 3),
            img_ids=pipe._prepare_latent_image_ids(b, h // 2, w // 2, "cpu", torch.float32),
        ).sample
        scale = pipe.vae_scale_factor
        return pipe._unpack_latents(out, h * scale, w * scale, scale)
    more = {}
    if family == "sdxl":
        more["added_cond_kwargs"] = {"text_embeds": told.pooled, "time_ids": told.sizes}
    return pipe.unet(noisy, times, encoder_hidden_states=told.tokens, **more).sample


def test_latents_and_back(both):
    model, pipe = both
    pixels = torch.rand(2, 3, 16, 24) * 2 - 1
    latents = encode_pictures(model, pixels)
    config = pipe.vae.config
    with torch.no_grad():
        raw = pipe.vae.encode(pixels).latent_dist.mode()
        asked = (raw - (config.shift_factor or 0)) * config.scaling_factor
        torch.testing.assert_close(latents, asked)
        torch.testing.assert_close(decode_latents(model, latents), pipe.vae.decode(raw).sample)


def test_sizes_stay_exact_in_half_precision(folders):
    told = encode_texts(load_base(folders["sdxl"]), TEXTS)
    told = replace(told, sizes=sizes_of((1023, 1237), (0, 3), (1024, 1024)).expand(2, -1))
    half = told.to("cpu", torch.bfloat16)
    assert half.tokens.dtype == half.pooled.dtype == torch.bfloat16
    assert torch.equal(half.sizes, told.sizes)


def test_texts_do_not_depend_on_their_batch(both):
    model, _ = both
    together = encode_texts(model, TEXTS)
    alone = cat([encode_texts(model, [text]) for text in TEXTS])
    torch.testing.assert_close(together.tokens, alone.tokens, atol=1e-5, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures(both, guidance):
    model, pipe = both
    request = replace(REQUEST, guidance=guidance)
    if model.family.name == "sdxl":
        request = replace(request, guidance_rescale=0.5)
    ours = DiffusersGenerator(model).generate([request])[0]
    assert ours.shape == (24, 16, 3)
    assert ours.std() > 5
    assert distance(ours, pipeline_picture(pipe, request)) <= 1


def test_an_empty_negative_prompt_is_a_text(tiny_sdxl):
    """SDXL's pipeline takes zeros where none is given at all, and so differs."""
    request = replace(REQUEST, negative_prompt="")
    pipe = open_pipeline(tiny_sdxl, "sdxl")
    ours = DiffusersGenerator(load_base(tiny_sdxl)).generate([request])[0]
    assert distance(ours, pipeline_picture(pipe, request)) <= 1


def test_flux_without_distilled_guidance(tmp_path):
    folder = build_tiny_flux(tmp_path / "schnell", guidance_embeds=False)
    ours = DiffusersGenerator(load_base(folder)).generate([REQUEST])[0]
    theirs = pipeline_picture(open_pipeline(folder, "flux"), REQUEST)
    assert distance(ours, theirs) <= 1


def test_sdxl_that_predicts_v(tmp_path):
    folder = build_tiny_sdxl(tmp_path / "v", prediction="v_prediction")
    ours = DiffusersGenerator(load_base(folder)).generate([REQUEST])[0]
    assert distance(ours, pipeline_picture(open_pipeline(folder, "sdxl"), REQUEST)) <= 1


def test_a_picture_is_the_same_alone_and_in_any_batch(both):
    """Five pictures in batches of 5, 3 + 2, 1; as rows of denoiser and VAE are: 10, 3, 1."""
    model, _ = both
    words = [
        ("cat", "dog", 0),
        ("flat dog", "", 0),
        ("cat", "dog", 7),
        ("", "cat", 7),
        ("a", "", 1),
    ]
    requests = [replace(REQUEST, prompt=p, negative_prompt=n, seed=s) for p, n, s in words]
    together = DiffusersGenerator(model).generate(requests)
    assert distance(together[0], together[1]) > 2
    for batch, rows in ((3, 10), (5, 3), (1, 1)):
        memory = Memory(denoiser_rows=rows, vae_rows=rows)
        generator = DiffusersGenerator(model, batch_size=batch, memory=memory)
        again = generator.generate(requests)
        assert max(map(distance, together, again)) <= LEVELS
    turned = DiffusersGenerator(model).generate(requests[::-1])[::-1]
    assert max(map(distance, together, turned)) <= LEVELS


def test_sides_that_flux_cannot_cut_into_tokens_are_refused(folders):
    with pytest.raises(InputError, match="multiples of 4"):
        DiffusersGenerator(load_base(folders["flux"])).generate([replace(REQUEST, width=18)])


def test_prompts_and_seeds_matter(both):
    model, _ = both
    generator = DiffusersGenerator(model)
    first, other_words, other_seed = generator.generate(
        [REQUEST, replace(REQUEST, prompt="dog"), replace(REQUEST, seed=4)]
    )
    assert distance(first, other_seed) > 10
    assert not np.array_equal(first, other_words)


def test_shapes_without_weights(both):
    model, _ = both
    assert base_shapes(model.folder) == model.shapes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_makes_about_the_same_picture(folders, family, dtype):
    exact = DiffusersGenerator(load_base(folders[family])).generate([REQUEST])[0]
    half = DiffusersGenerator(load_base(folders[family], dtype)).generate([REQUEST])[0]
    other = DiffusersGenerator(load_base(folders[family])).generate([replace(REQUEST, seed=4)])[0]

    def apart(picture):
        return np.abs(picture.astype(int) - exact.astype(int)).mean()

    assert 0 < apart(half) < 0.2 * apart(other)
