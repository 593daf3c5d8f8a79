"""Shapes from configs alone are those of the loaded model, whose weights may be damaged or huge."""

import pytest

from lora_ci.core.errors import InputError
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.outline import base_shapes
from tests.tiny_flux import build_tiny_flux
from tests.tiny_sd import build_tiny_sd
from tests.tiny_sdxl import build_tiny_sdxl

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("build", [build_tiny_sd, build_tiny_sdxl, build_tiny_flux])
def test_shapes_from_configs_are_those_of_the_weights(tmp_path, build):
    folder = build(tmp_path / "base")
    shapes = load_base(folder).shapes()
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(b"")
    assert base_shapes(folder) == shapes


def test_a_config_that_builds_no_model_is_told(tmp_path):
    folder = build_tiny_sd(tmp_path / "base")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"CrossAttnDownBlock2D"', '"NoSuchBlock"'))
    with pytest.raises(InputError, match="NoSuchBlock"):
        base_shapes(folder)
