"""Our way through a LoRA beside a linear layer, against peft's own."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from tests.training.own_layers import with_own_layers

pytestmark = pytest.mark.slow


class Block(torch.nn.Module):
    """Two linear layers, one without bias, and a convolution."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(12, 20, bias=False)
        self.second = torch.nn.Linear(20, 6)
        self.third = torch.nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.third(self.second(self.first(x).tanh())[:, None]).square().sum()


def taught():
    """A block with layers that are not 0 any more; alpha / rank is 1.5."""
    torch.manual_seed(1)
    block = Block()
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second", "third"])
    inject_adapter_in_model(config, block, "lora")
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(".lora." in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return block


def gradients(block, x):
    """The output, and the gradients by name; of the input too."""
    x = x.clone().requires_grad_()
    out = block(x)
    out.backward()
    return out, {name: p.grad for name, p in block.named_parameters() if p.requires_grad} | {
        "x": x.grad
    }


@pytest.mark.parametrize("half", [False, True])
def test_it_computes_what_peft_computes(half):
    theirs = taught()
    if half:
        for module in ("first", "second", "third"):
            getattr(theirs, module).base_layer.bfloat16()
    ours = with_own_layers(theirs)
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        (one, ours_by_name), (other, theirs_by_name) = gradients(ours, x), gradients(theirs, x)
    near = {"rtol": 0.05, "atol": 0.05} if half else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(one, other, **near)
    assert ours_by_name.keys() == theirs_by_name.keys()
    assert len(ours_by_name) == 7
    for name, gradient in ours_by_name.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, theirs_by_name[name], **near)
