"""What every scanner of pictures must hold."""

import numpy as np
import pytest

from lora_ci.core.errors import InputError
from lora_ci.ruler.safety import flagged, open_scanner
from tests import tiny_scanners as tiny
from tests.tiny_embedders import write_program

PROGRAM = """
import json, sys
import numpy as np
from PIL import Image

for line in sys.stdin:
    pictures = [np.asarray(Image.open(p)) / 255 for p in json.loads(line)["pictures"]]
    scores = [dict(zip(("dark", "red", "green"), p.mean(axis=(0, 1)).tolist())) for p in pictures]
    print(json.dumps({"scores": scores}), flush=True)
"""
KINDS = {
    "exec": lambda place: open_scanner(write_program(place, PROGRAM)),
    "onnx": lambda place: open_scanner("onnx:m", tiny.write_onnx_scanner(place)),
    "classifier": lambda place: open_scanner("path:m", tiny.write_classifier(place)),
    "checker": lambda place: open_scanner("path:m", tiny.write_checker(place)),
}
SLOW = ("classifier", "checker")


@pytest.fixture(
    params=[pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS],
    scope="module",
)
def scanner(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp("scanner"))


@pytest.fixture(scope="module")
def pictures():
    source = np.random.default_rng(3)
    sizes = [(32, 32), (64, 48), (40, 200), (8, 8), (33, 57)] * 9
    return [source.integers(0, source.integers(2, 256), (*s, 3), np.uint8) for s in sizes]


def test_each_picture_gets_scores_from_0_to_1_in_order(scanner, pictures):
    found = scanner.scan(pictures)
    assert len(found) == len(pictures)
    for scores in found:
        assert all(0 <= score <= 1 for score in scores.values())
        assert scanner.labels is None or set(scores) == set(scanner.labels)
    assert len({tuple(scores.values()) for scores in found}) > len(pictures) // 2


def test_a_picture_scores_alike_alone_and_among_others(scanner, pictures):
    together = scanner.scan(pictures)
    (alone,) = scanner.scan(pictures[20:21])
    assert alone == pytest.approx(dict(together[20]), abs=1e-5)


def test_none_are_taken(scanner):
    assert list(scanner.scan([])) == []


@pytest.mark.slow
def test_the_checker_flags_what_diffusers_own_flags(tmp_path, pictures):
    scanner = open_scanner("path:m", tiny.write_checker(tmp_path))
    given = scanner.processor(list(pictures), return_tensors="pt").pixel_values
    seen = set()
    for limit in np.arange(0.3, 0.9, 0.1):
        scanner.model.concept_embeds_weights.data.fill_(float(limit))
        shown = np.ones((len(pictures), 2, 2, 3))
        _, theirs = scanner.model(clip_input=given, images=shown)
        ours = [bool(flagged(scores, {})) for scores in scanner.scan(pictures)]
        assert ours == list(theirs)
        seen |= {sum(ours)}
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"labels": "dark"}, "does not say its `labels`"),
        ({"labels": '["a", "a", "b"]'}, "does not say its `labels`"),
        ({"labels": '["a", "b"]'}, r"answered float32 \[1, 3\]; expected floats \[1, 2\]"),
        ({"activation": "tanh"}, "`activation` is `tanh`"),
        ({"std": "[0.1, 1, 1]"}, "not from 0 to 1"),
        ({"mean": "nothing"}, "`mean`"),
    ],
)
def test_an_onnx_file_that_does_not_say_what_it_says_is_refused(tmp_path, told, words):
    bright = np.full((32, 32, 3), 200, np.uint8)
    with pytest.raises(InputError, match=words):
        open_scanner("onnx:m", tiny.write_onnx_scanner(tmp_path, **told)).scan([bright])


def test_what_an_onnx_file_says_becomes_shares(tmp_path):
    bright = np.full((32, 32, 3), (0, 102, 204), np.uint8)
    files = {a: tiny.write_onnx_scanner(tmp_path / a, activation=a) for a in ("softmax", "sigmoid")}
    (soft,) = open_scanner("onnx:m", files["softmax"]).scan([bright])
    assert sum(soft.values()) == pytest.approx(1)
    (one,) = open_scanner("onnx:m", files["sigmoid"]).scan([bright])
    assert one["dark"] == pytest.approx(0.5)
    assert one["green"] == pytest.approx(1 / (1 + np.exp(-0.8)), abs=1e-4)


@pytest.mark.parametrize("spec", ["classic:", "torchscript:m.pt", "onnx:m", "hf:a/b@" + "0" * 40])
def test_what_is_no_scanner_is_refused(spec):
    with pytest.raises(InputError):
        open_scanner(spec)


@pytest.mark.slow
def test_another_model_in_transformers_format_is_refused(tmp_path):
    from tests.tiny_embedders import write_dinov2

    with pytest.raises(InputError, match="is a Dinov2Model; expected"):
        open_scanner("path:m", write_dinov2(tmp_path))
