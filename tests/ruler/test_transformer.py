"""Models of transformers give what transformers itself gives, and their folders are not trusted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BitImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Model,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipImageProcessorPil,
    SiglipModel,
)

from lora_ci.core.errors import InputError
from lora_ci.ruler.opening import open_embedder
from lora_ci.ruler.transformer import BATCH, canonical
from tests.tiny_embedders import write_dinov2, write_siglip, write_siglip2

pytestmark = pytest.mark.slow
CLIP = Path("examples/emoji/clip")
SOURCE = np.random.default_rng(3)
PICTURES = [
    SOURCE.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 64), (48, 80), (32, 32))
]


def unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def pooled(found) -> torch.Tensor:
    """Newer versions give an object where older ones gave the features."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def images() -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in PICTURES]


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> Path:
    return write_siglip(tmp_path_factory.mktemp("siglip"))


def test_clip_is_what_transformers_says():
    model = CLIPModel.from_pretrained(CLIP, dtype=torch.float32).eval()
    given = CLIPImageProcessorPil.from_pretrained(CLIP)(images(), return_tensors="pt")
    texts = ["a crab", "a glossy emoji of a red heart, fluent3d"]
    words = CLIPTokenizer.from_pretrained(CLIP)(texts, padding=True, return_tensors="pt")
    embedder = open_embedder("path:clip", CLIP)
    with torch.no_grad():
        expected = unit(pooled(model.get_image_features(**given)))
        assert np.allclose(embedder.embed_pictures(PICTURES), expected, atol=1e-5)
        expected = unit(pooled(model.get_text_features(**words)))
        assert np.allclose(embedder.embed_texts(texts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("write", "model_class", "processor_class"),
    [
        (write_siglip, SiglipModel, SiglipImageProcessorPil),
        (write_siglip2, Siglip2Model, Siglip2ImageProcessorPil),
    ],
)
def test_siglip_is_what_transformers_says(tmp_path, write, model_class, processor_class):
    folder = write(tmp_path)
    model = model_class.from_pretrained(folder).eval()
    given = processor_class.from_pretrained(folder)(images(), return_tensors="pt")
    embedder = open_embedder("path:siglip", folder)
    with torch.no_grad():
        expected = unit(pooled(model.get_image_features(**given)))
        assert np.allclose(embedder.embed_pictures(PICTURES), expected, atol=1e-5)
        # "Crab in the snow": its words, the end, and padding up to all 16 places.
        ids = torch.tensor([[6, 11, 12, 13, 1, *[0] * 11]])
        expected = unit(pooled(model.get_text_features(input_ids=ids)))
        assert np.allclose(embedder.embed_texts(["Crab in the snow"]), expected, atol=1e-5)


def test_dinov2_is_what_transformers_says(tmp_path):
    folder = write_dinov2(tmp_path)
    model = Dinov2Model.from_pretrained(folder).eval()
    given = BitImageProcessorPil.from_pretrained(folder)(images(), return_tensors="pt")
    embedder = open_embedder("path:dino", folder)
    with torch.no_grad():
        expected = unit(model(**given).pooler_output)
    assert np.allclose(embedder.embed_pictures(PICTURES), expected, atol=1e-5)


def test_more_pictures_than_a_batch_come_in_their_order(siglip):
    many = [SOURCE.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(BATCH + 3)]
    found = open_embedder("path:x", siglip).embed_pictures(many)
    assert np.allclose(
        open_embedder("path:x", siglip).embed_pictures(many[-1:]), found[-1:], atol=1e-5
    )


def test_texts_of_the_first_siglip_have_no_punctuation():
    assert canonical("A  Red_heart, it's!", bare=True) == "a red heart its"
    assert canonical("A Red_heart, it's!", bare=False) == "a red_heart, it's!"


def test_long_texts_are_cut_and_keep_their_end(siglip):
    embedder = open_embedder("path:x", siglip)
    long = embedder.embed_texts(["crab " * 40, "crab " * 50, "crab"])
    assert np.array_equal(long[0], long[1])
    assert not np.allclose(long[0], long[2], atol=1e-3)


def copy(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place / "copy"))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_embedder("path:x", folder).embed_pictures(PICTURES)
    assert str(caught.value).startswith("embedder `path:x`: ")
    return str(caught.value)


def test_siglip_without_its_tokenizer_embeds_pictures_alone(siglip, tmp_path):
    folder = copy(siglip, tmp_path)
    (folder / "tokenizer.json").unlink()
    embedder = open_embedder("path:x", folder)
    assert not embedder.knows_texts
    assert embedder.embed_pictures(PICTURES).shape[0] == 3
    with pytest.raises(InputError, match="knows no texts"):
        embedder.embed_texts(["a"])


def test_weights_that_lack_a_part_are_refused(siglip, tmp_path):
    folder = copy(siglip, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["vision_model.embeddings.patch_embedding.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "no vision_model.embeddings.patch_embedding.weight in its weights" in refusal(folder)


@pytest.mark.parametrize("damage", ["gone", "cut", "preprocessor", "pad"])
def test_a_damaged_folder_is_told(siglip, tmp_path, damage):
    folder = copy(siglip, tmp_path)
    weights = folder / "model.safetensors"
    match damage:
        case "gone":
            # A pickle in its place is not read.
            torch.save(load_file(weights), folder / "pytorch_model.bin")
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "preprocessor":
            (folder / "preprocessor_config.json").unlink()
        case "pad":
            (folder / "tokenizer_config.json").write_text("{}")
    assert "siglip model cannot be loaded" in refusal(folder)


def test_code_in_a_folder_is_not_run(siglip, tmp_path):
    folder = copy(siglip, tmp_path)
    mark = tmp_path / "mark"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        path = folder / name
        own = {"AutoModel": "own.Own", "AutoImageProcessor": "own.Own", "AutoConfig": "own.Own"}
        path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": own}))
    found = open_embedder("path:x", folder).embed_pictures(PICTURES)
    assert np.allclose(found, open_embedder("path:x", siglip).embed_pictures(PICTURES), atol=1e-6)
    assert not mark.exists()
