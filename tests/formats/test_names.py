"""Names lead from a module to a file's key and back, for every family."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lora_ci.core.errors import InputError
from lora_ci.formats.bfl import MODULES, original_of, parts_of
from lora_ci.formats.family import FLUX, SD1, SD2, SDXL, declared_family, detect_family
from lora_ci.formats.keys import kohya_module, split_key
from lora_ci.formats.read import read_adapter
from lora_ci.formats.sgm import from_sgm, to_sgm
from tests.formats.made import Q

ATTENTION = "transformer_blocks.1.attn2.to_out.0"


@pytest.mark.parametrize(
    ("path", "original"),
    [
        (f"down_blocks.1.attentions.0.{ATTENTION}", f"input_blocks.4.1.{ATTENTION}"),
        (f"down_blocks.2.attentions.1.{ATTENTION}", f"input_blocks.8.1.{ATTENTION}"),
        (f"mid_block.attentions.0.{ATTENTION}", f"middle_block.1.{ATTENTION}"),
        (f"up_blocks.0.attentions.2.{ATTENTION}", f"output_blocks.2.1.{ATTENTION}"),
        (f"up_blocks.1.attentions.0.{ATTENTION}", f"output_blocks.3.1.{ATTENTION}"),
        ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
        ("down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection"),
        ("up_blocks.2.resnets.2.time_emb_proj", "output_blocks.8.0.emb_layers.1"),
        ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("conv_in", "input_blocks.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ],
)
def test_sdxl_modules_have_the_original_numbers(path, original):
    assert to_sgm(path) == original
    assert from_sgm(original) == path
    key = kohya_module(f"unet.{path}", SDXL)
    assert key == f"lora_unet_{original.replace('.', '_')}"
    assert split_key(f"{key}.alpha", "x") == (f"unet.{path}", "alpha")


@pytest.mark.parametrize(
    "path",
    [
        "down_blocks.0.attentions.2.proj_in",  # SDXL has two layers a block
        "down_blocks.0.resnets.0.norm1",
        "down_blocks.0.upsamplers.0.conv",
        "mid_block.attentions.1.proj_in",
        "mid_block.resnets.0.norm1",
        "somewhere.else",
    ],
)
def test_what_sdxl_lacks_has_no_name(path):
    assert to_sgm(path) is None
    assert kohya_module(f"unet.{path}", SDXL) is None


@given(
    st.sampled_from(["input_blocks", "output_blocks", "middle_block"]),
    st.lists(st.integers(0, 12).map(str), min_size=1, max_size=3),
    st.sampled_from(["op", "conv", "proj_in", "in_layers.2", "x", "emb_layers.1.y", ""]),
)
@example("input_blocks", ["0", "0"], "op")
@example("input_blocks", ["3", "1"], "op")
def test_an_original_name_leads_back_to_itself_or_nowhere(root, numbers, rest):
    path = ".".join([root, *numbers, rest])
    found = from_sgm(path)
    assert found is None or to_sgm(found) in (path, path.replace(".1.conv", ".2.conv"))


@pytest.mark.parametrize("original", MODULES)
def test_flux_modules_lead_to_their_parts_and_back(original):
    path = original.replace("{n}", "7")
    parts = parts_of(path)
    assert parts
    assert [original_of(part) for part in parts] == [(path, i) for i in range(len(parts))]
    key = kohya_module(f"bfl.{path}", FLUX)
    assert split_key(f"{key}.lora_up.weight", "x") == (f"bfl.{path}", "up")


def test_text_encoders_are_known_by_number():
    first = "text_encoder.encoder.layers.3.self_attn.q_proj"
    second = "text_encoder_2.encoder.layers.3.mlp.fc1"
    t5 = "text_encoder_2.encoder.block.3.layer.1.DenseReluDense.wi_0"
    for module, family, key in (
        (first, SD1, "lora_te_text_model_encoder_layers_3_self_attn_q_proj"),
        (first, SDXL, "lora_te1_text_model_encoder_layers_3_self_attn_q_proj"),
        (second, SDXL, "lora_te2_text_model_encoder_layers_3_mlp_fc1"),
        ("text_encoder_2.text_projection", SDXL, "lora_te2_text_projection"),
        (t5, FLUX, "lora_te3_encoder_block_3_layer_1_DenseReluDense_wi_0"),
    ):
        assert kohya_module(module, family) == key
        assert split_key(f"{key}.alpha", "x") == (module, "alpha")


@pytest.mark.parametrize(
    ("key", "module", "part"),
    [
        (f"{Q}.lora.down.weight", Q, "down"),
        (f"{Q}.lora_B.weight", Q, "up"),
        (
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "up",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_k_lora.down.weight",
            "text_encoder.encoder.layers.0.self_attn.k_proj",
            "down",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.up.weight",
            "text_encoder.encoder.layers.0.mlp.fc1",
            "up",
        ),
        (
            "lora_transformer_single_transformer_blocks_4_attn_to_q.lora_up.weight",
            "transformer.single_transformer_blocks.4.attn.to_q",
            "up",
        ),
        # Some tools write SDXL under diffusers' names; they are as clear.
        (
            "lora_unet_down_blocks_2_attentions_1_proj_in.alpha",
            "unet.down_blocks.2.attentions.1.proj_in",
            "alpha",
        ),
    ],
)
def test_older_and_other_spellings_are_read(key, module, part):
    assert split_key(key, "x") == (module, part)


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight",  # SD 3
        "lora_unet_input_blocks_4_1.lora_up.weight",
        "lora_unet_input_blocks_4_5_proj_in.lora_up.weight",
        "lora_unet_double_blocks_0_img_attn_norm.lora_up.weight",
        "lora_unet_double_blocks_9999_img_attn_qkv.lora_up.weight",
        "lora_te1_somewhere.lora_up.weight",
        "lora_unet__.lora_up.weight",
        "base_model.model.down_blocks.0.x.lora_A.weight",
        "unet",
        "",
    ],
)
def test_names_of_no_known_model_are_refused(key):
    with pytest.raises(InputError):
        split_key(key, "x")


@given(st.text(max_size=60), st.sampled_from(["", "lora_unet_", "lora_te2_", "unet.", "bfl."]))
def test_any_key_is_split_or_refused(text, prefix):
    try:
        module, part = split_key(prefix + text, "x")
    except InputError:
        return
    assert module.partition(".")[2]
    assert part


@pytest.mark.parametrize(
    ("modules", "metadata", "family"),
    [
        ({Q: 320}, {}, SD1),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": 768}, {}, SD1),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": 1024}, {}, SD2),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v": 2048}, {}, SDXL),
        ({"unet.mid_block.attentions.0.transformer_blocks.4.attn1.to_q": 64}, {}, SDXL),
        ({Q: 16, "text_encoder_2.encoder.layers.0.mlp.fc1": 16}, {}, SDXL),
        ({"transformer.single_transformer_blocks.0.proj_mlp": 16}, {}, FLUX),
        ({Q: 16}, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, SDXL),
        ({Q: 16}, {"ss_base_model_version": "sd_v2_v"}, SD2),
        # What it holds counts more than what it says.
        (
            {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": 768},
            {"ss_base_model_version": "sdxl_base_v1-0"},
            SD1,
        ),
    ],
)
def test_the_family_is_told_by_names_then_widths_then_words(modules, metadata, family):
    assert detect_family(modules, modules, metadata) == family


def test_no_words_declare_no_family():
    assert declared_family({}) is None
    assert declared_family({"modelspec.architecture": "gpt-neo-x"}) is None


def test_sdxl_is_told_by_kohyas_names_alone(tmp_path):
    key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    tensors = {
        f"{key}.lora_down.weight": torch.ones(2, 4),
        f"{key}.lora_up.weight": torch.ones(4, 2),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors")
    assert adapter.family == SDXL
    assert list(adapter.layers) == [Q]
