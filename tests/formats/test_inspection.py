"""A file tells what it is without being loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_ci.core.errors import InputError
from lora_ci.formats.convert import Precision
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import Q, flux_attention, random_adapter, small


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("precision", Precision)
def test_what_we_wrote_is_told(tmp_path, kind, dora, precision):
    path = tmp_path / "a.safetensors"
    write_adapter(small(rank=3, dora=dora), path, kind, precision)
    found = inspect_file(path)
    assert found.file == "a.safetensors"
    assert found.format == kind
    assert found.family == "sd1"
    assert found.algorithm == ("DoRA" if dora else "LoRA")
    assert found.layers == {"unet": 2}
    assert found.ranks == {"3": 2}
    assert found.alphas == {"3" if kind is Format.KOHYA else "rank": 2}
    assert precision.value.upper().replace("FP", "F") in found.dtypes
    assert found.size_bytes == path.stat().st_size
    assert found.hash_matches
    assert found.payload_sha256 == found.metadata["sshs_model_hash"]


def test_fused_layers_count_as_the_file_has_them(tmp_path):
    write_adapter(flux_attention(), tmp_path / "a.safetensors", Format.KOHYA)
    found = inspect_file(tmp_path / "a.safetensors")
    assert (found.family, found.layers) == ("flux", {"transformer": 2})
    assert found.ranks == {"6": 1, "8": 1}


def test_changed_tensors_do_not_match_their_digest(tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(small(), path, Format.KOHYA)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert inspect_file(path).hash_matches is False


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_alphas_of_any_type_are_read(tmp_path, dtype):
    key = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {
        f"{key}.lora_down.weight": torch.ones(2, 4),
        f"{key}.lora_up.weight": torch.ones(4, 2),
    }
    save_file(
        {**tensors, f"{key}.alpha": torch.tensor(1.5, dtype=dtype)}, tmp_path / "a.safetensors"
    )
    assert inspect_file(tmp_path / "a.safetensors").alphas == {"1.5": 1}
    save_file({**tensors, f"{key}.alpha": torch.ones(3)}, tmp_path / "b.safetensors")
    assert inspect_file(tmp_path / "b.safetensors").alphas == {"no number": 1}


def test_pefts_own_words_are_told(tmp_path):
    config = {"unet.lora_alpha": 8, "unet.use_rslora": True}
    tensors = {f"{Q}.lora_A.weight": torch.ones(2, 4), f"{Q}.lora_B.weight": torch.ones(4, 2)}
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    save_file(tensors, tmp_path / "a.safetensors", metadata=metadata)
    found = inspect_file(tmp_path / "a.safetensors")
    assert (found.algorithm, found.alphas) == ("rank-stabilized LoRA", {"8": 1})
    assert found.hash_matches is None


def test_what_cannot_be_read_is_not_inspected(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        inspect_file(tmp_path / "none.safetensors")
    write_adapter(random_adapter({Q: (6, 4)}), tmp_path / "a.safetensors", Format.KOHYA)
    tensors = load_file(tmp_path / "a.safetensors")
    name = next(iter(tensors)).split(".")[0]
    save_file({**tensors, f"{name}.hada_w1_a": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="LoHa"):
        inspect_file(tmp_path / "b.safetensors")
