"""What every embedder must hold."""

from pathlib import Path

import numpy as np
import pytest

from lora_ci.core.errors import InputError
from lora_ci.ruler.embedder import TextEmbedder, open_embedder
from lora_ci.ruler.references import read_references

WORLD = Path("examples/emoji")
SPECS = [("classic:", None), ("path:clip", WORLD / "clip")]


@pytest.fixture(params=SPECS, ids=[s[0] for s in SPECS], scope="module")
def embedder(request):
    return open_embedder(*request.param)


@pytest.fixture(scope="module")
def pictures():
    return [r.picture for r in read_references(WORLD / "pictures" / "fluent3d-references", 64)]


def test_vectors_have_length_one_and_repeat(embedder, pictures):
    features = embedder.embed_pictures(pictures)
    assert features.shape[0] == len(pictures)
    assert features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.allclose(features, embedder.embed_pictures(pictures), atol=1e-6)


def test_a_picture_is_the_same_alone_and_in_a_batch(embedder, pictures):
    together = embedder.embed_pictures(pictures)
    assert np.allclose(embedder.embed_pictures(pictures[4:5])[0], together[4], atol=1e-5)


def test_a_slightly_changed_picture_is_nearest_to_itself(embedder, pictures):
    changed = [np.clip(p.astype(int) + 6, 0, 255).astype(np.uint8) for p in pictures]
    cosines = embedder.embed_pictures(changed) @ embedder.embed_pictures(pictures).T
    assert (cosines.argmax(axis=1) == np.arange(len(pictures))).mean() > 0.9


def test_any_size_is_taken(embedder):
    source = np.random.default_rng(0)
    sizes = [(16, 16), (64, 48), (200, 300)]
    made = [source.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    assert embedder.embed_pictures(made).shape[0] == 3


def test_texts_meet_their_pictures(embedder, pictures):
    if not isinstance(embedder, TextEmbedder):
        pytest.skip("knows no texts")
    names = ["red heart", "crab", "avocado", "soccer ball"]
    captions = [r.caption for r in read_references(WORLD / "pictures/fluent3d-references", 64)]
    own = [pictures[captions.index(f"a glossy emoji of {name}, fluent3d")] for name in names]
    cosines = embedder.embed_texts(names) @ embedder.embed_pictures(own).T
    assert (cosines.argmax(axis=1) == np.arange(4)).sum() >= 3


@pytest.mark.parametrize(
    ("spec", "folder"), [("hf:some/model", None), ("path:x", Path("tests")), ("clip", None)]
)
def test_what_cannot_be_opened_is_refused(spec, folder):
    with pytest.raises(InputError):
        open_embedder(spec, folder)
