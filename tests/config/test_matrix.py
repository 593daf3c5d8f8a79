"""A matrix makes one LoRA for each combination."""

import pytest

from lora_ci.config.load import load_config
from tests.config.told import SMALL, errors

MATRIX = SMALL + b"    matrix:\n"


def names(text: bytes, files=None) -> list[str]:
    return list(load_config(text, read=(files or {}).get).loras)


def test_names_and_values_are_those_of_the_combination_in_whatever_order_it_is_written():
    text = MATRIX + b"      train.rank: [8, 16]\n      train.learning_rate: [1e-4, 5e-5]\n"
    loras = load_config(text).loras
    assert list(loras) == [
        "mei.rank-8.learning_rate-1e-4",
        "mei.rank-8.learning_rate-5e-5",
        "mei.rank-16.learning_rate-1e-4",
        "mei.rank-16.learning_rate-5e-5",
    ]
    last = loras["mei.rank-16.learning_rate-5e-5"]
    assert (last.train.rank, last.train.learning_rate, last.trigger) == (16, 5e-5, "mei")
    assert last.variant == {"train.rank": 16, "train.learning_rate": 5e-5}
    swapped = MATRIX + b"      train.learning_rate: [1e-4, 5e-5]\n      train.rank: [8, 16]\n"
    assert load_config(swapped).loras == loras


def test_a_matrix_is_laid_over_files_and_knows_its_places():
    text = SMALL + b"    train: t.toml\n    matrix: {train.rank: [8, 16]}\n"
    config = load_config(text, read={"t.toml": b"rank = 4\nseed = 5\n"}.get)
    assert [lora.train.seed for lora in config.loras.values()] == [5, 5]
    where = config.where("loras.mei.rank-16.train.rank")
    assert (where.file, where.line, where.column) == (".lora-ci.yml", 7, 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"train.resolution: [256]\n      qa.resolution: [256]\n", "mei.train.resolution-256.qa.r"),
        (b"base_model: [models/a, models/B]\n", "mei.base_model-models-a"),
        (b"train.alpha: [16, 0.5]\n", "mei.alpha-16"),
        (b"train.min_snr_gamma: [null, 5]\n", "mei.min_snr_gamma-none"),
        (b"train.flip: [true, false]\n", "mei.flip-true"),
        (b"qa.prompts: [[a], [b]]\n", "mei.prompts-"),
        (b"trigger: [\xc3\xa4, \xc3\xb6]\n", "mei."),
        (b"qa.negative_prompt: ['" + b"x" * 80 + b"', y]\n", "mei."),
    ],
)
def test_names_are_valid_and_unique(text, expected):
    found = names(MATRIX + b"      " + text)
    assert found[0].startswith(expected)
    assert all(len(name) <= 64 for name in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"train.rnk: [8]", "7:7 `train.rnk` is nothing that a matrix can vary"),
        (b"dataset: [a, b]", "7:7 `dataset` is nothing that a matrix can vary"),
        (b"deploy.license: [MIT]", "7:7 `deploy.license` is nothing"),
        (b"train.rank: []", "7:19 `loras.mei.matrix.train.rank` is []: expected a list"),
        (b"train.rank: 8", "7:19 `loras.mei.matrix.train.rank` is 8: expected a list"),
        (b"train.rank: [8, x]", '7:23 `loras.mei.matrix.train.rank` is "x": expected a'),
        (b"train.rank: [8, 8]", "7:23 `loras.mei.matrix.train.rank` has 8 twice"),
        (b"train.seed: [%b]" % b", ".join(b"%d" % i for i in range(257)), "7:19 `loras.mei.matrix"),
        (b"train.rank: [.inf]", "7:20 "),
        (
            b"train.seed: [%b]\n      qa.seeds: [1, 2, 3, 4, 5, 6, 7, 8]"
            % b", ".join(b"%d" % i for i in range(33)),
            "6:5 ",
        ),
    ],
)
def test_what_a_matrix_cannot_do_is_told_at_its_place(text, told):
    assert errors(MATRIX + b"      " + text + b"\n")[0].startswith(f".lora-ci.yml:{told}")


def test_a_variant_may_not_take_the_name_of_another_lora():
    text = b"version: 1\ndefaults: {dataset: d, base_model: m}\nloras:\n"
    text += b"  a: {matrix: {train.rank: [8]}}\n  a.rank-8: {}\n"
    assert "makes another LoRA `a.rank-8`" in errors(text)[0]
