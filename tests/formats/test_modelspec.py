"""What a file says of itself: what ModelSpec asks, kohya's digests, and nothing private."""

import hashlib
import re

import pytest
import safetensors.torch
import torch

from lora_ci.core.errors import InputError
from lora_ci.formats.convert import Precision
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.header import data_bytes, header_bytes
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.layout import read_layout
from lora_ci.formats.modelspec import digests
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import Q, flux_attention, random_adapter, small

REQUIRED = ("sai_model_spec", "architecture", "implementation", "title")
SGM = "https://github.com/Stability-AI/generative-models"


@pytest.mark.parametrize(
    ("adapter", "kind", "architecture", "implementation"),
    [
        (small(), Format.DIFFUSERS, "stable-diffusion-v1/lora", "diffusers"),
        (small(), Format.KOHYA, "stable-diffusion-v1/lora", "diffusers"),
        (small(family="sdxl"), Format.KOHYA, "stable-diffusion-xl-v1-base/lora", SGM),
        (flux_attention(), Format.DIFFUSERS, "flux-1-dev/lora", "diffusers"),
    ],
)
def test_every_file_says_what_modelspec_asks(tmp_path, adapter, kind, architecture, implementation):
    write_adapter(adapter, tmp_path / "a.safetensors", kind)
    metadata = read_layout(tmp_path / "a.safetensors").metadata
    assert all(metadata[f"modelspec.{key}"] for key in REQUIRED)
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.architecture"] == architecture
    assert metadata["modelspec.implementation"] == implementation
    assert "modelspec.date" not in metadata


def test_the_digests_are_those_of_kohyas_tools(tmp_path):
    # As sd-scripts' precalculate_safetensors_hashes: the library's bytes with the ss_ keys alone.
    adapter = random_adapter({Q: (640, 500)}, rank=300, metadata={"modelspec.title": "mei ✿"})
    write_adapter(adapter, tmp_path / "a.safetensors", Format.KOHYA)
    metadata = read_layout(tmp_path / "a.safetensors").metadata
    tensors = safetensors.torch.load_file(tmp_path / "a.safetensors")
    ss = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    theirs = safetensors.torch.save(tensors, ss)
    payload = theirs[8 + int.from_bytes(theirs[:8], "little") :]
    assert len(payload) > 0x110000
    assert metadata["sshs_model_hash"] == hashlib.sha256(payload).hexdigest()
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(payload).hexdigest()}"
    legacy = hashlib.sha256(theirs[0x100000:0x110000]).hexdigest()[:8]
    assert metadata["sshs_legacy_hash"] == legacy
    whole = (tmp_path / "a.safetensors").read_bytes()
    assert hashlib.sha256(whole[read_layout(tmp_path / "a.safetensors").data_start :]).digest() == (
        hashlib.sha256(payload).digest()
    )


def test_the_legacy_digest_reaches_over_the_headers_end():
    data, header = bytes(range(256)) * 8192, b"h" * 0x100010
    legacy = hashlib.sha256((header + data)[0x100000:0x110000]).hexdigest()[:8]
    assert digests(data, header)["sshs_legacy_hash"] == legacy
    assert digests(b"", b"")["sshs_legacy_hash"] == hashlib.sha256(b"").hexdigest()[:8]


def test_only_what_is_listed_leaves(tmp_path):
    adapter = small(
        metadata={
            "modelspec.title": "mei",
            "modelspec.date": "2024-02-03",
            "modelspec.author": "someone",
            "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
            "ss_steps": "300",
            "ss_network_args": '{"conv_dim": "4", "path": "/home/someone/x"}',
            "ss_dataset_dirs": '{"/home/someone/10_mei": 3}',
            "ss_sd_model_name": "secret-base.safetensors",
            "ss_output_name": "someone",
            "ss_learning_rate": "C:\\Users\\someone",
            "sshs_model_hash": "0" * 64,
        }
    )
    write_adapter(adapter, tmp_path / "a.safetensors", Format.DIFFUSERS)
    data = (tmp_path / "a.safetensors").read_bytes()
    metadata = read_layout(tmp_path / "a.safetensors").metadata
    assert b"someone" not in data
    assert b"secret" not in data
    assert metadata["ss_steps"] == "300"
    assert metadata["modelspec.date"] == "2024-02-03"
    # Another family's architecture does not stay.
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert inspect_file(tmp_path / "a.safetensors").hash_matches


def test_a_closer_architecture_of_the_family_stays(tmp_path):
    named = {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}
    key = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    adapter = random_adapter({key: (8, 1024)}, family="sd2", metadata=named)
    write_adapter(adapter, tmp_path / "a.safetensors", Format.DIFFUSERS)
    metadata = read_layout(tmp_path / "a.safetensors").metadata
    assert metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert metadata["ss_base_model_version"] == "sd_v2"


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("kind", Format)
def test_halves_are_half_as_big_and_do_the_same(tmp_path, precision, kind):
    adapter = random_adapter({Q: (64, 64)}, rank=8, dora=True)
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, kind, precision)
    assert all(effect.same for effect in compare_effect(adapter, read_adapter(path)))
    tensors = safetensors.torch.load_file(path)
    header = header_bytes(tensors, read_layout(path).metadata)
    assert path.read_bytes() == header + data_bytes(tensors)
    # The same bytes as the safetensors library's, in the same order.
    theirs = safetensors.torch.save(tensors)
    assert theirs.endswith(data_bytes(tensors))
    sizes = {t.element_size() for k, t in tensors.items() if not k.endswith(".alpha")}
    assert sizes == {4 if precision is Precision.FP32 else 2}


def test_what_a_half_cannot_hold_is_refused(tmp_path):
    adapter = random_adapter({Q: (6, 4)}, alpha=1e6)
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="which fp16 cannot"):
        write_adapter(adapter, path, Format.KOHYA, Precision.FP16)
    assert not path.exists()
    assert not list(tmp_path.iterdir())
    write_adapter(adapter, path, Format.KOHYA, Precision.BF16)
    # Far below what a half can hold is lost, and the gate sees it.
    tiny = random_adapter({Q: (6, 4)}, alpha=1e-9)
    with pytest.raises(Exception, match="changed in the export"):
        write_adapter(tiny, path, Format.KOHYA, Precision.FP16)


def test_a_header_is_the_librarys():
    tensors = {"b": torch.zeros(2, 3), "a": torch.zeros(1, dtype=torch.float16), "ä": torch.ones(1)}
    ours = header_bytes(tensors, {"k": 'v"\n✿'}) + data_bytes(tensors)
    theirs = safetensors.torch.save(tensors, {"k": 'v"\n✿'})
    assert ours == theirs
    assert re.match(rb'.{8}\{"__metadata__"', ours, re.DOTALL)
