"""What every captioner must hold."""

import re
import sys

import numpy as np
import pytest

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.dataset.captioning.opening import caption_model
from tests import tiny_captioners as tiny
from tests.tiny_embedders import write_program

KINDS = {
    "exec": lambda place: caption_model(write_program(place, tiny.PROGRAM), None),
    "tagger": lambda place: caption_model("onnx:m", tiny.write_tagger(place)),
    "git": lambda place: caption_model("path:m", tiny.write_git(place)),
    "blip-2": lambda place: caption_model("path:m", tiny.write_blip2(place)),
    "llava": lambda place: caption_model("path:m", tiny.write_llava(place)),
}
SLOW = ("git", "blip-2", "llava")


@pytest.fixture(
    params=[pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS],
    scope="module",
)
def captioner(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp("captioner")).opener()


@pytest.fixture(scope="module")
def pictures():
    source = np.random.default_rng(3)
    sizes = [(32, 32), (64, 48), (40, 200), (8, 8), (33, 57), (32, 48)]
    scales = source.integers(2, 256, (len(sizes), 1, 1, 3))
    pairs = zip(sizes, scales, strict=True)
    return [(source.random((*size, 3)) * scale).astype(np.uint8) for size, scale in pairs]


def test_each_picture_gets_a_text_and_the_same_alone_and_among_others(captioner, pictures):
    together = list(captioner.caption(pictures))
    assert len(together) == len(pictures)
    assert all(isinstance(text, str) for text in together)
    assert len(set(together)) > 1
    assert not any(word in text for text in together for word in tiny.SPECIAL)
    for picture, text in zip(pictures[:3], together, strict=False):
        assert list(captioner.caption([picture])) == [text]


def test_none_are_taken(captioner):
    assert list(captioner.caption([])) == []


@pytest.mark.slow
def test_a_model_that_is_spoken_with_is_asked_and_does_not_repeat_the_question(tmp_path, pictures):
    made = {
        asked: caption_model("path:m", tiny.write_llava(tmp_path), asked)
        for asked in ("describe this", "two dogs")
    }
    texts = {asked: model.opener().caption(pictures) for asked, model in made.items()}
    assert texts["describe this"] != texts["two dogs"]
    assert not any("ASSISTANT" in text for some in texts.values() for text in some)
    assert {model.prompt for model in made.values()} == set(made)
    assert len({model.revision for model in made.values()}) == 1


def test_tags_are_those_it_is_sure_of_the_surest_first(tmp_path):
    tagger = caption_model("onnx:m", tiny.write_tagger(tmp_path)).opener()

    def says(*color: int) -> str:
        (text,) = tagger.caption([np.full((32, 32, 3), color, np.uint8)])
        return text

    assert says(0, 120, 250) == "blue_hair, green_(grass)"
    assert says(200, 0, 0) == ""
    assert says(250, 0, 0) == "red_queen"
    # A narrow picture stands on white.
    (text,) = tagger.caption([np.full((320, 32, 3), (60, 0, 30), np.uint8)])
    assert text == "red_queen, blue_hair, green_(grass)"


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("", "expected .1, 0."),
        ("name\nx\n", "no selected_tags.csv with the columns"),
        ("name,category\na,0\n", r"answered \[1, 4\]"),
    ],
)
def test_tags_that_are_not_those_of_the_model_are_refused(tmp_path, tags, words):
    model = caption_model("onnx:m", tiny.write_tagger(tmp_path, tags))
    with pytest.raises(InputError) as caught:
        model.opener().caption([np.zeros((8, 8, 3), np.uint8)])
    (found,) = caught.value.findings
    assert re.search(words, f"{found.message} {found.hint}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"captions": ["a cat"]}', "1 captions for 2 pictures"),
        ('{"captions": ["a cat", 3]}', "2 captions for 2 pictures"),
        ('{"captions": "a cat"}', "no `captions` for 2 pictures"),
        ("{}", "no `captions`"),
    ],
)
def test_a_program_that_answers_something_else_is_refused(tmp_path, answer, words):
    (tmp_path / "p.py").write_text(f"import sys\nfor line in sys.stdin: print({answer!r}, flush=1)")
    model = caption_model(f"exec:{sys.executable} {tmp_path / 'p.py'}", None)
    with pytest.raises(InfrastructureError, match=words):
        model.opener().caption([np.zeros((8, 8, 3), np.uint8)] * 2)


@pytest.mark.parametrize("spec", ["classic:", "torchscript:m.pt", "git", "hf:a/b", "path:", "wd:m"])
def test_what_is_no_captioner_is_refused(spec):
    with pytest.raises(InputError):
        caption_model(spec, None)


def test_an_empty_folder_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(InputError, match=r"no config.json that names its `model_type`"):
        caption_model("path:m", tmp_path)
    with pytest.raises(InputError, match="is not there"):
        caption_model("path:m", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no selected_tags.csv"):
        caption_model("onnx:m", tmp_path).opener()


@pytest.mark.slow
def test_another_model_and_one_without_all_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    from tests.tiny_embedders import write_dinov2

    other = caption_model("path:m", write_dinov2(tmp_path / "dino"))
    with pytest.raises(InputError, match="cannot be loaded"):
        other.opener()
    folder = tiny.write_git(tmp_path / "git")
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "layer.0" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="in its weights"):
        caption_model("path:m", folder).opener()
