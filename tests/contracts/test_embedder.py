"""What every embedder must hold."""

from pathlib import Path

import numpy as np
import pytest

from lora_ci.ruler.opening import open_embedder
from lora_ci.ruler.references import read_references
from tests import tiny_embedders as tiny

CLIP = Path("examples/emoji/clip")
REFERENCES = Path("examples/emoji/pictures/fluent3d-references")
TEXTS = ("path:clip", "path:siglip", "path:siglip2")
SLOW = (*TEXTS, "path:dinov2", "torchscript:tiny.pt")
KINDS = ("classic:", "onnx:tiny.onnx", "exec:", "exec: --file", *SLOW)


def opened(kind: str, place: Path, **given):
    """An embedder of a kind, its files below `place`."""
    name = kind.partition(":")[2].split(".")[0]
    if kind.startswith("exec:"):
        return open_embedder(tiny.write_program(place, arguments=name), None, **given)
    if kind == "path:clip":
        return open_embedder(kind, CLIP, **given)
    if kind.startswith("path:"):
        return open_embedder(kind, getattr(tiny, f"write_{name}")(place / name), **given)
    if kind == "classic:":
        return open_embedder(kind, None, **given)
    write = {"onnx": tiny.write_onnx, "torchscript": tiny.write_torchscript}
    return open_embedder(kind, write[kind.partition(":")[0]](place / name), **given)


@pytest.fixture(
    params=[pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS],
    scope="module",
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def make(kind, tmp_path_factory):
    """Opens it; each time anew, with nothing kept."""
    place = tmp_path_factory.mktemp("embedder")
    return lambda **given: opened(kind, place, **given)


@pytest.fixture(scope="module")
def pictures():
    return [r.picture for r in read_references(REFERENCES, 64)]


def test_vectors_have_length_one_and_repeat(make, pictures):
    features = make().embed_pictures(pictures)
    assert features.shape[0] == len(pictures)
    assert features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.allclose(features, make().embed_pictures(pictures), atol=1e-6)


def test_a_picture_is_the_same_alone_and_in_a_batch_and_order_is_kept(make, pictures):
    together = make().embed_pictures(pictures)
    assert np.allclose(make().embed_pictures(pictures[4:5])[0], together[4], atol=1e-5)
    backwards = make().embed_pictures(pictures[::-1])
    assert np.allclose(backwards[::-1], together, atol=1e-5)
    assert len(np.unique(together.round(4), axis=0)) == len(pictures)


def test_a_slightly_changed_picture_is_nearest_to_itself(make, pictures):
    changed = [np.clip(p.astype(int) + 6, 0, 255).astype(np.uint8) for p in pictures]
    cosines = make().embed_pictures(changed) @ make().embed_pictures(pictures).T
    assert (cosines.argmax(axis=1) == np.arange(len(pictures))).mean() > 0.9


def test_any_size_and_gray_and_one_and_none_are_taken(make):
    source = np.random.default_rng(0)
    sizes = [(16, 16), (64, 48), (200, 300), (33, 57)]
    made = [source.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    gray = np.repeat(source.integers(0, 256, (40, 40, 1), np.uint8), 3, axis=2)
    embedder = make()
    assert embedder.embed_pictures([*made, gray]).shape[0] == 5
    assert embedder.embed_pictures(made[:1]).shape[0] == 1
    assert embedder.embed_pictures([]).shape == (0, 0)


def test_what_is_kept_needs_no_embedder(make, pictures, tmp_path):
    first = make(cache=tmp_path)
    made = first.embed_pictures(pictures[:3])
    second = make(cache=tmp_path)
    second.opener = None  # type: ignore[assignment]
    assert np.array_equal(second.embed_pictures(pictures[:3]), made)
    assert second.identity == first.identity


def test_texts_are_placed_or_it_says_that_it_knows_none(kind, make, tmp_path):
    embedder = make(cache=tmp_path)
    assert embedder.knows_texts == (kind in TEXTS)
    if embedder.knows_texts:
        features = embedder.embed_texts(["a red heart", "crab in the snow", "a red heart"])
        assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
        assert np.array_equal(features[0], features[2])
        assert not np.allclose(features[0], features[1], atol=1e-3)
        assert np.allclose(make().embed_texts(["crab in the snow"])[0], features[1], atol=1e-5)
        again = make(cache=tmp_path)
        again.opener = None  # type: ignore[assignment]
        assert np.array_equal(again.embed_texts(["a red heart"])[0], features[0])


@pytest.mark.slow
def test_texts_meet_their_pictures(pictures):
    embedder = open_embedder("path:clip", CLIP)
    names = ["red heart", "crab", "avocado", "soccer ball"]
    captions = [r.caption for r in read_references(REFERENCES, 64)]
    own = [pictures[captions.index(f"a glossy emoji of {name}, fluent3d")] for name in names]
    cosines = embedder.embed_texts(names) @ embedder.embed_pictures(own).T
    assert (cosines.argmax(axis=1) == np.arange(4)).sum() >= 3
