"""What an embedder gives is looked at before it is used; what is wrong is told with its spec."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.ruler.embedder import unit_vectors
from lora_ci.ruler.opening import open_embedder
from lora_ci.ruler.pixels import pixels_of
from tests.tiny_embedders import SIDE, write_onnx

PICTURES = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (30, 120, 250)]
NAN = float("nan")


def refusal(spec: str, folder: Path | None, **given) -> str:
    with pytest.raises((InputError, InfrastructureError)) as caught:
        open_embedder(spec, folder, **given).embed_pictures(PICTURES)
    assert f"`{spec}`" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "width", "words"),
    [
        ([[1, 2], [3, 4]], None, "it gave 2 vectors; expected 3 vectors"),
        ([1, 2, 3], None, "of shape [3]"),
        (np.ones((3, 2, 2)), None, "of shape [3, 2, 2]"),
        (np.ones((3, 0)), None, "of shape [3, 0]"),
        ([[1, 2], [1], [1, 2]], None, "no numbers in rows of one length"),
        ([["a"], ["b"], ["c"]], None, "no numbers"),
        (None, None, "of shape []"),
        ({"a": 1}, None, "no numbers"),
        ([[1, 2], [NAN, 1], [1, 2]], None, "vector 2 of 3 has NaN or infinity"),
        ([[1, 2], [1, 2], [1, float("inf")]], None, "vector 3 of 3 has NaN or infinity"),
        ([[0, 0], [1, 2], [1, 2]], None, "vector 1 of 3 is all zero"),
        (np.ones((3, 4)), 5, "vectors of 4 values; expected 3 vectors of 5 values"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer, width, words):
    with pytest.raises(InfrastructureError) as caught:
        unit_vectors(answer, 3, width, "onnx:e.onnx")
    assert str(caught.value).startswith("embedder `onnx:e.onnx`: ")
    assert words in str(caught.value)


def test_lengths_do_not_matter():
    found = unit_vectors([[3, 4], [1e-30, 0], [1e30, 1e30]], 3, 2, "exec:x")
    assert np.allclose(found, [[0.6, 0.8], [1, 0], [2**-0.5, 2**-0.5]])
    assert found.dtype == np.float32


def test_an_embedder_that_is_not_there_is_told(tmp_path):
    for spec in ("path:models/clip", "onnx:models/e.onnx", "torchscript:models/e.pt"):
        assert "is not there" in refusal(spec, None)
        assert "is not there" in refusal(spec, tmp_path / "gone")


@pytest.mark.parametrize("spec", ["clip", "hf:some/model", "hf:some/model@main", "path:"])
def test_what_is_no_spec_is_refused(spec):
    refusal(spec, Path("tests"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "no readable config.json"),
        ("{", "no readable config.json"),
        ("[]", "its `model_type` is `None`"),
        ('{"model_type": "vit"}', "its `model_type` is `vit`"),
    ],
)
def test_a_folder_of_another_model_is_refused_before_anything_is_loaded(tmp_path, config, words):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=words) as caught:
        open_embedder("path:models/x", tmp_path)
    assert "`siglip2`" in f"{caught.value} {caught.value.findings[0].hint}"


def test_nan_and_other_shapes_of_an_onnx_model_are_refused(tmp_path):
    nan = write_onnx(tmp_path / "nan", nodes=(("Log", "flat", "log"),))
    assert "NaN or infinity" in refusal("onnx:nan.onnx", nan)
    zero = write_onnx(tmp_path / "zero", nodes=(("Sigmoid", "flat", "s"), ("Floor", "s", "o")))
    assert "vector 1 of 3 is all zero" in refusal("onnx:zero.onnx", zero)
    one = write_onnx(tmp_path / "one", nodes=(("ReduceMax", "flat", "most"),))
    assert "it gave 1 vectors; expected 3" in refusal("onnx:one.onnx", one)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (("n", 1, SIDE, SIDE), "expected one of float32 [n, 3, h, w]"),
        (("n", SIDE, SIDE, 3), "expected one of float32 [n, 3, h, w]"),
    ],
)
def test_an_onnx_model_of_other_inputs_is_refused(tmp_path, shape, words):
    assert words in refusal("onnx:e.onnx", write_onnx(tmp_path, shape=shape))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "e.onnx").write_bytes(b"no model")
    assert "no ONNX model can be loaded" in refusal("onnx:e.onnx", tmp_path)
    (tmp_path / "other.onnx").write_bytes(b"no model")
    assert "has 2 files; expected one" in refusal("onnx:models", tmp_path)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"mean": "0.5"}, "`mean` is `0.5`; expected three numbers"),
        ({"mean": "[0.5, 0.5]"}, "expected three numbers"),
        ({"std": "[0.5, 0, 0.5]"}, "`std` is `[0.5, 0, 0.5]`; expected numbers above 0"),
        ({"size": "large"}, "`size` is `large`; expected pixels"),
        ({"size": "0"}, "expected 1 to 4096 pixels"),
        ({"size": "[32, 99999]"}, "expected 1 to 4096 pixels"),
    ],
)
def test_what_a_file_says_wrong_of_its_input_is_told(tmp_path, told, words):
    folder = write_onnx(tmp_path, shape=("n", 3, "h", "w"), told=told)
    assert words in refusal("onnx:e.onnx", folder)


def test_the_numbers_of_a_picture_are_as_documented():
    x = np.array([30, 120, 250]) / 255
    plain = pixels_of({"mean": "[0, 0, 0]", "std": "[1, 1, 1]"}, (8, 8), "")(PICTURES)
    assert plain.dtype == np.float32
    assert plain.shape == (3, 3, 8, 8)
    assert np.allclose(plain, x[:, None, None, None], atol=1e-6)
    own = pixels_of({"mean": "[0.5, 0.25, 0]", "std": "[0.5, 0.25, 2]"}, (8, 8), "")(PICTURES)
    assert np.allclose(own[:, :, 3, 3].T, [(x - 0.5) / 0.5, (x - 0.25) / 0.25, x / 2], atol=1e-6)
    usual = pixels_of({}, (8, 8), "")(PICTURES)
    assert np.allclose(usual[:, 0, 3, 3], (x - 0.48145466) / 0.26862954, atol=1e-5)


def test_what_is_wider_is_cut_at_both_sides():
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255
    found = pixels_of({"mean": "[0, 0, 0]", "std": "[1, 1, 1]"}, (32, 32), "")([wide])
    assert np.allclose(found[0, :, :, 2:-2], 1, atol=1e-6)


def test_sides_come_from_the_input_or_else_from_the_file(tmp_path):
    picture = [np.random.default_rng(1).integers(0, 256, (50, 50, 3), np.uint8)]
    free = ("n", 3, "h", "w")
    folders = {
        3 * 16: write_onnx(tmp_path / "a", told={"size": "64"}),
        3 * 25: write_onnx(tmp_path / "b", shape=free, told={"size": "40"}),
        3 * 6: write_onnx(tmp_path / "c", shape=free, told={"size": "[16, 24]"}),
        3 * 28 * 28: write_onnx(tmp_path / "d", shape=free),
    }
    for width, folder in folders.items():
        assert embed(folder, picture).shape == (1, width)


def embed(folder: Path, pictures) -> np.ndarray:
    return open_embedder("onnx:tiny.onnx", folder).embed_pictures(pictures)


def test_a_fixed_batch_is_filled_up(tmp_path):
    free = embed(write_onnx(tmp_path / "a"), PICTURES)
    for batch in (1, 2, 5):
        folder = write_onnx(tmp_path / str(batch), shape=(batch, 3, SIDE, SIDE))
        assert np.array_equal(embed(folder, PICTURES), free)


def test_a_model_that_fails_on_a_picture_is_told(tmp_path):
    determinant = (("Det", "flat", "det"),)
    folder = write_onnx(tmp_path, shape=("n", 3, "h", "w"), nodes=determinant)
    assert "fails on a picture" in refusal("onnx:e.onnx", folder)


def test_an_absent_package_says_which_extra_has_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InfrastructureError) as caught:
        open_embedder("onnx:e.onnx", write_onnx(tmp_path)).embed_pictures(PICTURES)
    assert caught.value.findings[0].hint == "next: pip install 'lora-ci[edge]'"


def test_identities_follow_the_content_and_not_the_place(tmp_path):
    one = write_onnx(tmp_path / "one")
    same = open_embedder("onnx:elsewhere/tiny.onnx", write_onnx(tmp_path / "two")).identity
    assert open_embedder("onnx:tiny.onnx", one).identity == same
    other = write_onnx(tmp_path / "three", told={"mean": "[0, 0, 0]"})
    assert open_embedder("onnx:tiny.onnx", other).identity != same
    assert open_embedder("onnx:tiny.onnx", one, content_id="abc").identity.endswith(":abc")
    program = tmp_path / "embed.py"
    program.write_text("1")
    first = open_embedder(f"exec:python {program}", None).identity
    assert open_embedder(f"exec:python {program} --fast", None).identity != first
    program.write_text("2")
    assert open_embedder(f"exec:python {program}", None).identity != first
