"""What is no base model is told in one sentence; parts are read when they are used."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from lora_ci.core.errors import InputError
from lora_ci.diffusion.conditioning import encode_texts
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import check_folder, load_base
from lora_ci.diffusion.parts import model_class, read_model

SD = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PARTS = {
    "sd": SD,
    "sdxl": (*SD, "text_encoder_2", "tokenizer_2"),
    "flux": ("transformer", *SD[1:], "text_encoder_2", "tokenizer_2"),
}


@pytest.fixture
def copied(tmp_path, tiny_sd, tiny_sdxl, tiny_flux):
    """A copy of a tiny folder, to be spoiled."""
    folders = {"sd": tiny_sd, "sdxl": tiny_sdxl, "flux": tiny_flux}

    def copy(name):
        return shutil.copytree(folders[name], tmp_path / name)

    return copy


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder, match):
    with pytest.raises(InputError, match=match) as caught:
        load_base(folder)
    assert caught.value.findings[0].hint
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_missed(copied, name):
    folder = copied(name)
    for part in PARTS[name]:
        aside = folder.parent / "aside"
        (folder / part).rename(aside)
        # Without a denoiser or a second encoder it may be of several families: one is named.
        refused(folder, "not a base model in diffusers format")
        aside.rename(folder / part)
    load_base(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_each_part_without_its_files_is_missed(copied, name):
    folder = copied(name)
    for part in PARTS[name]:
        kept = folder.parent / "kept"
        (folder / part).rename(kept)
        (folder / part).mkdir()
        refused(folder, "tokenizer" if part.startswith("tokenizer") else "no readable model config")
        for config in kept.glob("*config.json"):
            shutil.copy(config, folder / part)
        if part != "scheduler":
            match = "no tokenizer" if part.startswith("tokenizer") else "no weights"
            refused(folder, match)
        shutil.rmtree(folder / part)
        kept.rename(folder / part)
    load_base(folder)


@pytest.mark.parametrize(
    ("name", "part", "config", "match"),
    [
        ("flux", "transformer", {"_class_name": "SD3Transformer2DModel"}, "SD3Transformer2DModel"),
        ("flux", "transformer", {"_class_name": "PixArtTransformer2DModel"}, "no known family"),
        ("flux", "transformer", {"in_channels": 384}, "384 channels"),
        ("sd", "unet", {"in_channels": 9}, "9 channels"),
        ("sd", "unet", {"_class_name": "UNet3DConditionModel"}, "UNet3DConditionModel"),
        ("sd", "unet", {"addition_embed_type": "image"}, "image"),
        ("sd", "unet", {"class_embed_type": "projection"}, "no known family"),
        ("sd", "vae", {"_class_name": "VQModel"}, "is a VQModel, expected AutoencoderKL"),
        ("sd", "vae", {"latent_channels": 16}, "16 channels, expected 4"),
        ("flux", "vae", {"latent_channels": 4}, "4 channels, expected 16"),
        ("sd", "vae", {"block_out_channels": None}, "expected 4"),
        ("sdxl", "vae", {"latents_mean": [0.1, 0.2, 0.3, 0.4]}, "mean"),
        ("sd", "text_encoder", {"model_type": "t5"}, "is a t5, expected CLIPTextModel"),
        ("flux", "text_encoder_2", {"model_type": "clip"}, "expected T5EncoderModel"),
    ],
)
def test_another_model_is_no_known_one(copied, name, part, config, match):
    folder = copied(name)
    edit(folder / part / "config.json", **config)
    refused(folder, match)


@pytest.mark.parametrize(
    ("name", "config", "match"),
    [
        ("sd", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "expected one of diffusion"),
        ("flux", {"_class_name": "DDIMScheduler"}, "expected a FlowMatch scheduler"),
        ("sdxl", {"_class_name": "EDMEulerScheduler"}, "is a EDMEulerScheduler"),
        ("sd", {"prediction_type": "sample"}, "predicts sample, expected epsilon"),
    ],
)
def test_another_scheduler_means_another_model(copied, name, config, match):
    folder = copied(name)
    edit(folder / "scheduler" / "scheduler_config.json", **config)
    refused(folder, match)


@pytest.mark.parametrize(
    "kind", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_schedulers_of_the_same_noise_are_taken(copied, kind):
    folder = copied("sdxl")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name=kind)
    assert load_base(folder).scheduler.config.beta_start == 0.00085


def weights_of(folder, part):
    (path,) = (folder / part).glob("*.safetensors")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_damaged_weights_are_told_when_they_are_read(copied, part):
    folder = copied("sdxl")
    path = weights_of(folder, part)
    tensors, whole = load_file(path), path.read_bytes()
    name = next(n for n in tensors if n.endswith("weight"))
    rest = {n: t.clone() for n, t in tensors.items() if n != name}

    def read(match):
        with pytest.raises(InputError, match=match):
            load_base(folder).models[part]

    for spoiled in (torch.nan, torch.inf, -torch.inf):
        bad = tensors[name].clone()
        bad.view(-1)[-1] = spoiled
        save_file(rest | {name: bad}, path)
        read("is not finite")
    save_file(rest, path)
    read("not in the file")
    path.write_bytes(whole[: len(whole) // 2])
    read("cannot be loaded")
    path.write_bytes(whole)
    load_base(folder).models[part]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_a_text_encoder_is_what_transformers_reads(copied, part, dtype, monkeypatch):
    """Also with a name before its weights that it has or has not, and with more than it needs."""

    def slow_reader(*_, **__):
        raise AssertionError("transformers' reader takes a quarter of a second")

    folder = copied("sdxl")
    family, path = check_folder(folder), weights_of(folder, part)
    theirs = model_class(family, part).from_pretrained(folder / part, dtype=dtype).eval()
    words = torch.tensor([[3, 1, 2]])
    expected = theirs(words, output_hidden_states=True).hidden_states
    stored = load_file(path)
    bare = {name.removeprefix("text_model."): tensor for name, tensor in stored.items()}
    prefixed = {
        name if name.startswith("text_projection") else f"text_model.{name}": tensor
        for name, tensor in bare.items()
    }
    more = {"logit_scale": torch.ones(()), "text_model.embeddings.position_ids": torch.arange(9)}
    monkeypatch.setattr(type(theirs), "from_pretrained", slow_reader)
    for written in (stored, bare, prefixed, stored | more):
        save_file(written, path)
        chance = torch.get_rng_state()
        ours = read_model(folder, family, part, dtype)
        assert torch.equal(torch.get_rng_state(), chance)
        assert not ours.training
        assert ours.dtype == dtype
        assert ours.config._attn_implementation == theirs.config._attn_implementation
        weights = ours.state_dict()
        assert weights.keys() == theirs.state_dict().keys()
        assert all(torch.equal(weights[name], w) for name, w in theirs.state_dict().items())
        assert all(map(torch.equal, ours.buffers(), theirs.buffers()))
        made = ours(words, output_hidden_states=True).hidden_states
        assert all(map(torch.equal, made, expected))


@pytest.mark.slow
def test_a_weight_of_another_shape_is_told(copied):
    folder = copied("sdxl")
    path = weights_of(folder, "text_encoder")
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    save_file(tensors | {name: torch.ones(3, 3)}, path)
    with pytest.raises(InputError, match="text_encoder"):
        load_base(folder).models["text_encoder"]


@pytest.mark.slow
def test_compressed_weights_are_for_transformers_to_read(copied, monkeypatch):
    """As plain numbers they would be wrong."""

    def asked(*_, **__):
        raise ValueError("transformers was asked")

    folder = copied("sdxl")
    edit(folder / "text_encoder" / "config.json", quantization_config={"quant_method": "fp8"})
    monkeypatch.setattr(CLIPTextModel, "from_pretrained", asked)
    with pytest.raises(InputError, match="transformers was asked"):
        load_base(folder).models["text_encoder"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["transformer", "text_encoder_2"])
def test_weights_in_several_files(copied, part):
    """As FLUX's are published; one that is missing is told."""
    folder = copied("flux")
    whole = load_base(folder).models[part]
    weights_of(folder, part).unlink()
    whole.save_pretrained(folder / part, max_shard_size="50KB")
    shards = sorted((folder / part).glob("*.safetensors"))
    assert len(shards) > 1
    again = load_base(folder).models[part]
    assert all(map(torch.equal, whole.parameters(), again.parameters()))
    shards[1].unlink()
    with pytest.raises(InputError, match=part):
        load_base(folder).models[part]


def test_parts_are_read_when_they_are_used_and_once(tiny_flux):
    model = load_base(tiny_flux)
    assert model.models.kept() == ()
    assert model.side_step == 4
    assert model.resolution == 16
    encode_pictures(model, torch.zeros(1, 3, 8, 8))
    assert model.models.kept() == ("vae",)
    assert model.vae is model.vae
    with torch.no_grad():
        encode_texts(model, ["cat"])
    assert set(model.models.kept()) == {"vae", "text_encoder", "text_encoder_2"}
    first = model.vae
    model.let_go()
    assert model.models.kept() == ()
    assert model.denoiser is not None
    assert model.models.kept() == ("transformer",)
    assert model.vae is not first
    model.let_go("transformer")
    assert model.models.kept() == ("vae",)
    assert set(model.models) == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    with pytest.raises(KeyError):
        model.models["unet"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_vae_stays_exact(tiny_sdxl, dtype):
    model = load_base(tiny_sdxl, dtype)
    assert model.vae.dtype == torch.float32
    half = getattr(torch, dtype)
    assert model.dtype == model.denoiser.dtype == half
    assert all(encoder.dtype == half for encoder in model.text_encoders.values())
    assert encode_pictures(model, torch.zeros(1, 3, 8, 8)).dtype == torch.float32
