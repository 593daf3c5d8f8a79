"""The layers that an imported config teaches are those of kohya's `networks.lora`.

Source of the rule: `LoRANetwork` in `networks/lora.py` of kohya-ss/sd-scripts: every linear layer
and every convolution in modules of some classes; convolutions larger than 1 × 1 have `conv_dim`.
"""

import pytest

from lora_ci.config.load import load_config
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import load_base
from lora_ci.training.adapter import teach
from tests.config.told import SMALL

PLAIN = {"Transformer2DModel"}
WITH_CONVOLUTIONS = PLAIN | {"ResnetBlock2D", "Downsample2D", "Upsample2D"}
TRAIN = b'network_module = "networks.lora"\nnetwork_train_unet_only = true\nnetwork_dim = 4\n'


def settings(more: bytes) -> TrainSettings:
    text = SMALL + b"    train: t.toml\n"
    return load_config(text, read={"t.toml": TRAIN + more}.get).loras["mei"].train


def kohyas(unet, classes: set[str], rank: int, wide: int) -> dict[str, tuple[int, float]]:
    """Rank and alpha of each layer, by its path."""
    found = {}
    for name, module in unet.named_modules():
        if type(module).__name__ not in classes:
            continue
        for inner, layer in module.named_modules():
            kind = type(layer).__name__
            if kind in ("Linear", "Conv2d"):
                is_wide = kind == "Conv2d" and layer.kernel_size != (1, 1)
                found[f"unet.{name}.{inner}"] = (wide, 2.0) if is_wide else (rank, 1.0)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "classes"),
    [(b"", PLAIN), (b'network_args = ["conv_dim=3", "conv_alpha=2"]\n', WITH_CONVOLUTIONS)],
)
def test_the_same_layers_have_the_same_ranks(tiny_sd, more, classes):
    model = load_base(tiny_sd)
    wanted = kohyas(model.denoiser, classes, rank=4, wide=3)
    assert wanted
    assert dict(teach(model, settings(more)).shapes) == wanted
