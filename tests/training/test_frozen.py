"""Our way through a UNet that stands still but for its attention, against diffusers' own."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch.utils.flop_counter import FlopCounterMode

from lora_ci.training.attention import Joined, join_attention
from lora_ci.training.frozen import lighten_frozen
from tests.training.own_layers import with_own_layers

pytestmark = pytest.mark.slow
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def taught(targets=ATTENTION):
    """A UNet without attention in its first block, and layers that are not 0 any more."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        # 80 channels of 48 and 32 in groups of 5, 96 in groups of 6: some are of both.
        norm_num_groups=16,
        attention_head_dim=4,
        cross_attention_dim=24,
    ).eval()
    inject_adapter_in_model(
        LoraConfig(r=4, lora_alpha=6, target_modules=list(targets)), unet, "lora"
    )
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(".lora." in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def shortened(unet):
    """The same UNet, all of it our way."""
    ours = with_own_layers(unet)
    join_attention(ours)
    lighten_frozen(ours)
    return ours


def gradients(unet, sides=(8, 8), text_learns=False):
    """The output, and the gradients by name; the text's too."""
    source = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, *sides, generator=source)
    text = torch.randn(3, 5, 24, generator=source).requires_grad_(text_learns)
    out = unet(x, torch.tensor([10, 400, 900]), text).sample
    out.square().sum().backward()
    named = {name: p.grad for name, p in unet.named_parameters() if p.requires_grad}
    for gradient in named.values():
        assert gradient is not None
    return out.detach(), named | ({"text": text.grad} if text_learns else {})


def assert_same(unet, ours, **how):
    one, theirs = gradients(unet, **how)
    other, mine = gradients(ours, **how)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert gradient.abs().max() > 0
        error = (mine[name] - gradient).norm() / gradient.norm()
        assert error < 1e-4, name


@pytest.mark.parametrize("text_learns", [False, True])
# Sides that are odd after a halving are doubled to a size that is told.
@pytest.mark.parametrize("sides", [(8, 8), (12, 8), (10, 6)])
def test_it_computes_what_diffusers_computes(sides, text_learns):
    unet = taught()
    assert_same(unet, shortened(unet), sides=sides, text_learns=text_learns)


def test_it_does_so_where_activations_are_computed_twice():
    unet = taught()
    ours = shortened(unet)
    for each in (unet, ours):
        each.enable_gradient_checkpointing()
        each.train()
    assert_same(unet, ours)


def test_the_parts_are_ours():
    ours = shortened(taught())
    own = {name for name, module in ours.named_modules() if "forward" in vars(module)}
    blocks = {name for name, m in ours.named_modules() if type(m).__name__ == "ResnetBlock2D"}
    assert len(blocks) == 11
    assert blocks | {"up_blocks.0.upsamplers.0", "up_blocks.1.upsamplers.0"} <= own
    processors = ours.attn_processors.values()
    assert {type(processor) for processor in processors} == {Joined}


def test_it_has_less_to_compute():
    unet = taught()
    counts = []
    for each in (unet, shortened(unet)):
        with FlopCounterMode(display=False) as counter:
            gradients(each)
        counts.append(counter.get_total_flops())
    # Upsamplers take 4 products for 9; of the last two blocks half the channels were skipped.
    assert counts[1] < 0.9 * counts[0]


@pytest.mark.parametrize("target", ["conv1", "time_emb_proj", "conv"])
def test_what_learns_in_a_block_leaves_the_block_alone(target):
    unet = taught(targets=(*ATTENTION, target))
    ours = shortened(unet)
    own = {name for name, module in ours.named_modules() if "forward" in vars(module)}
    if target == "conv":
        assert not any("upsamplers" in name for name in own)
    else:
        assert not any(name.endswith(("resnets.0", "resnets.1")) for name in own)
    assert_same(unet, ours)


def test_what_learns_beside_the_blocks_gets_its_gradient():
    """The time's layers: then a gradient is asked of everything."""
    unet = taught(targets=(*ATTENTION, "linear_2"))
    assert_same(unet, shortened(unet))


def test_attention_that_learns_in_part_is_left_alone():
    unet = taught(targets=("to_k", "to_v"))
    ours = shortened(unet)
    assert not any(isinstance(p, Joined) for p in ours.attn_processors.values())
    assert_same(unet, ours)


def test_a_mask_is_refused():
    ours = shortened(taught())
    with pytest.raises(NotImplementedError):
        ours(
            torch.zeros(1, 4, 8, 8),
            1,
            torch.zeros(1, 5, 24),
            encoder_attention_mask=torch.ones(1, 5),
        )
