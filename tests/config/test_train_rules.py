"""One budget a training, the nearest; what has no effect and what cannot be is told at its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.config.train_rules import BUDGETS
from tests.config.told import SMALL, errors

DEFAULTS = b"""\
version: 1
defaults:
  dataset: datasets/mei
  base_model: models/sd
  train: {images_seen: 4000}
loras:
  mei:
    train: %b
"""


def budget_of(text: bytes, name: str = "mei", files: dict[str, bytes] | None = None) -> list:
    train = load_config(text, read=(files or {}).get).loras[name].train
    return [getattr(train, key) for key in BUDGETS]


def train(text: bytes, files: dict[str, bytes] | None = None) -> list[str]:
    return errors(SMALL + b"    train: " + text + b"\n", files)


def notes(text: bytes) -> list[str]:
    config = load_config(SMALL + b"    train: " + text + b"\n")
    assert all(note.location() == ".lora-ci.yml:6:" + str(note.column) for note in config.notes)
    return [note.message for note in config.notes]


def test_the_nearest_budget_counts():
    assert budget_of(DEFAULTS % b"{}") == [4000, None, None]
    assert budget_of(DEFAULTS % b"{epochs: 10}") == [None, 10, None]
    assert budget_of(DEFAULTS % b"{images_seen: 10}") == [10, None, None]
    assert budget_of(DEFAULTS % b"{images_seen: null, steps: 3}") == [None, None, 3]
    assert budget_of(DEFAULTS % b"t.toml", files={"t.toml": b"steps = 3\n"}) == [None, None, 3]
    matrix = DEFAULTS % b"{epochs: 10}\n    matrix: {train.steps: [5]}"
    assert budget_of(matrix, "mei.steps-5") == [None, None, 5]


def test_a_matrix_of_epochs_stands_above_the_images_of_the_lora_itself():
    text = SMALL + b"    train: {images_seen: 4000}\n    matrix: {train.epochs: [10, 20]}\n"
    assert budget_of(text, "mei.epochs-20") == [None, 20, None]


def test_two_budgets_at_one_level_are_an_error():
    (found,) = train(b"{epochs: 10, steps: 3}")
    assert found == ".lora-ci.yml:6:25 `steps` beside `epochs`: a training has one budget"
    assert (
        "`steps` beside `images_seen`" in train(b"t.toml", {"t.toml": b"images_seen=1\nsteps=2"})[0]
    )
    twice = DEFAULTS.replace(b"4000", b"4000, epochs: 1") % b"{steps: 3}"
    assert errors(twice)[0].startswith(".lora-ci.yml:5:30 `epochs` beside")
    axes = SMALL + b"    matrix: {train.epochs: [1], train.steps: [2]}\n"
    assert "a training has one budget" in errors(axes)[0]


@given(st.dictionaries(st.sampled_from(BUDGETS), st.integers(1, 99) | st.none(), max_size=3))
def test_whatever_is_given_at_most_one_budget_is_left(given_budgets):
    inner = ", ".join(f"{key}: {value or 'null'}" for key, value in given_budgets.items())
    text = DEFAULTS % b"{%b}" % inner.encode()
    if sum(value is not None for value in given_budgets.values()) > 1:
        assert "one budget" in errors(text)[0]
    else:
        assert sum(value is not None for value in budget_of(text)) <= 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{ranks: {'': 8}}", "6:21 `ranks` has an empty key"),
        (b"{alphas: {'': 8}}", "6:22 `alphas` has an empty key"),
        (b"{ranks: {attn2: 0}}", "6:28 `loras.mei.train.ranks.attn2` is 0: expected a whole"),
        (b"{modules: []}", "6:22 `loras.mei.train.modules` is []"),
        (b"{modules: [to q]}", "6:23 `modules`: `to q` is neither a group"),
        (b"{modules: [to_q, to_q]}", "6:29 `modules`: `to_q` stands twice"),
        (b"{modules: [feed_forward]}", "6:23 `modules`: `feed_forward` is the name of no module"),
        (b"{bucket_step: 60}", "6:26 `bucket_step` is 60: expected a multiple of 8"),
        (b"{regularization: ../women}", "6:29 `../women` leads out of the repository"),
        (b"{regularization: datasets/mei/}", "6:29 `regularization`: `datasets/mei/` is the"),
        (b"{schedule: cosin}", '6:23 `loras.mei.train.schedule` is "cosin"'),
    ],
)
def test_what_no_training_could_follow_is_an_error_at_its_line(text, told):
    assert train(text)[0].startswith(f".lora-ci.yml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{optimizer: prodigy, learning_rate: 1}", "`learning_rate` has no effect with prodigy"),
        (b"{text_encoder_learning_rate: 1e-4}", "without `text_encoder: true`"),
        (b"{optimizer: schedule-free-adamw, schedule: linear}", "with schedule-free-adamw"),
        (b"{restarts: 3}", "without `schedule: cosine-with-restarts`"),
        (b"{keep_tags: 3}", "without `shuffle_captions: true`"),
        (b"{prior_weight: 0.5}", "without `regularization`"),
        (b"{buckets: false, bucket_step: 32}", "with `buckets: false`"),
        (b"{buckets: true, resolution: 96}", "below a `resolution` of twice the `bucket_step`"),
        (b"{validate_every: 10}", "without `validation_share`"),
        (b"{sample_prompts: [a]}", "without `sample_every`"),
    ],
)
def test_what_has_no_effect_is_noted_at_its_line(text, told):
    (note,) = notes(text)
    assert told in note


@pytest.mark.parametrize(
    "text",
    [
        b"{optimizer: prodigy}",
        b"{schedule: cosine-with-restarts, restarts: 3}",
        b"{shuffle_captions: true, keep_tags: 2}",
        b"{regularization: datasets/women, prior_weight: 0.5}",
        b"{resolution: 96}",
        b"{optimizer: prodigy}\n    matrix: {train.learning_rate: [1e-4, 1e-5]}",
        b"{learning_rate: 1e-5}\n    matrix: {train.optimizer: [adamw, prodigy]}",
    ],
)
def test_what_has_an_effect_somewhere_is_not_noted(text):
    assert notes(text) == []


def test_defaults_are_for_others_too():
    text = DEFAULTS.replace(b"images_seen: 4000", b"learning_rate: 1e-3") % b"{optimizer: prodigy}"
    assert load_config(text).notes == ()


@pytest.mark.parametrize("gamma", [b"0", b"-1", b"-0.5"])
def test_a_gamma_that_would_learn_nothing_or_unlearn_is_an_error(gamma: bytes):
    assert "expected a number > 0.0" in train(b"{min_snr_gamma: %b}" % gamma)[0]
    assert load_config(SMALL + b"    train: {min_snr_gamma: null}\n").loras["mei"]
