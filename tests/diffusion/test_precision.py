"""Where a base computes and in which floats, by what the machine has."""

import pytest
import torch

from lora_ci.diffusion.precision import best_device, dtype_name


@pytest.mark.parametrize(
    ("precision", "device", "bf16", "name"),
    [
        ("auto", "cpu", True, "float32"),
        ("auto", "mps", True, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda:1", False, "float16"),
        ("fp32", "cuda", True, "float32"),
        ("bf16", "cpu", False, "bfloat16"),
        ("fp16", "cuda", True, "float16"),
    ],
)
def test_auto_is_what_the_machine_has(monkeypatch, precision, device, bf16, name):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    assert dtype_name(precision, device) == name
    assert dtype_name(precision, torch.device(device)) == name


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_fastest_device_is_taken(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == device
