"""A matrix settled: the file says what the best variant said, and all else stays as it was."""

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.config.settle import Unsettled, apply_suggestion, suggest_variant

TOP = "version: 1\nloras:\n"
BLOCK = """\
  # the house
  mei:
    dataset: datasets/mei  # twelve pictures
    base_model: models/sd
    matrix:  # tried in November
      train.rank: [16, 32]
      train.learning_rate: [1e-4, 5e-5]  # small
    # judged strictly
    qa: {seeds: 2}

  leo: {dataset: d, base_model: m, needs: [mei]}  # another
"""


def settled(text: str, pick: int = -1, files: dict[str, bytes] | None = None) -> str:
    """The text after the change to one of its variants, and that it is the variant's."""

    def read(name: str) -> bytes | None:
        return text.encode() if name == ".lora-ci.yml" else (files or {}).get(name)

    config = load_config(text.encode(), read=read)
    variant = [lora for lora in config.loras.values() if lora.variant_of][pick]
    suggestion = suggest_variant(config, variant, read)
    new = apply_suggestion(text, suggestion)
    made = load_config(new.encode(), read=read).loras[variant.variant_of]
    assert (made.train, made.qa, made.base_model) == (variant.train, variant.qa, variant.base_model)
    old_lines, new_lines = text.splitlines(), new.splitlines()
    before = suggestion.first_line - 1
    assert new_lines[:before] == old_lines[:before]
    after = len(old_lines) - suggestion.last_line
    assert not after or new_lines[-after:] == old_lines[-after:]
    return new


def test_the_values_stand_where_the_matrix_stood_as_they_were_written():
    assert settled(TOP + BLOCK) == TOP + BLOCK.replace(
        """\
    matrix:  # tried in November
      train.rank: [16, 32]
      train.learning_rate: [1e-4, 5e-5]  # small
""",
        """\
    train:
      rank: 32
      learning_rate: 5e-5
""",
    )


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("train: {rank: 8}", "train: {rank: 32, learning_rate: 5e-5}"),
        ("train: {rank: 8, seed: 1 }", "train: {rank: 32, seed: 1, learning_rate: 5e-5 }"),
        ("train: {}", "train: {rank: 32, learning_rate: 5e-5}"),
        (
            "train:\n  seed: 1  # lucky\n  # the end\n",
            "train:\n  seed: 1  # lucky\n  rank: 32\n  learning_rate: 5e-5\n  # the end\n",
        ),
        (
            "train:\n    learning_rate: 1  # too much\n    seed: 1\n",
            "train:\n    learning_rate: 5e-5  # too much\n    seed: 1\n    rank: 32\n",
        ),
    ],
)
@pytest.mark.parametrize("above", [True, False])
def test_a_section_that_is_there_is_filled(own, expected, above):
    own, expected = (textwrap.indent(text.rstrip("\n") + "\n", "    ") for text in (own, expected))
    matrix = BLOCK[BLOCK.index("    matrix") : BLOCK.index("    # judged")]
    text = BLOCK.replace(matrix, own + matrix if above else matrix + own)
    assert settled(TOP + text) == TOP + BLOCK.replace(matrix, expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "{dataset: d, matrix: {train.rank: [8, 16]}, base_model: m}",
            "{dataset: d, train: {rank: 16}, base_model: m}",
        ),
        (
            "{dataset: d, train: {rank: 1}, matrix: {train.rank: [8, 16]}, base_model: m}",
            "{dataset: d, train: {rank: 16}, base_model: m}",
        ),
        (
            "{dataset: d, train: {rank: 1}, base_model: m, matrix: {train.rank: [8, 16]}}",
            "{dataset: d, train: {rank: 16}, base_model: m}",
        ),
        (
            "{dataset: d, matrix: {base_model: [m, n], qa.weight: [1, 0.5]}}",
            "{dataset: d, base_model: n, qa: {weight: 0.5}}",
        ),
        (
            "{dataset: d, base_model: m, matrix: {train.optimizer: [adamw, prodigy]}}",
            "{dataset: d, base_model: m, train: {optimizer: prodigy}}",
        ),
    ],
)
def test_a_lora_on_one_line_stays_on_one(written, expected):
    assert settled(f"{TOP}  mei: {written}\n") == f"{TOP}  mei: {expected}\n"


def test_ends_of_lines_stay_what_they_are():
    text = (TOP + BLOCK).replace("\n", "\r\n")
    new = settled(text)
    assert "\r\n      rank: 32\r\n" in new
    assert new.count("\n") == new.count("\r\n")


def test_values_of_any_kind_are_found():
    text = TOP + (
        "  mei:\n    dataset: d\n    base_model: m\n    matrix:\n"
        "      train.min_snr_gamma: [null, 5]\n      qa.prompts: [[a, b], ['c: {trigger}']]\n"
        "      type:\n        - style\n        - character  # the last\n"
        "      train.flip: [false, true]\n      train.rank: [1, 2]"
    )
    new = settled(text)
    assert "prompts: ['c: {trigger}']" in new
    assert "min_snr_gamma: 5" in new
    assert "\n    type: character\n" in new
    assert "flip: true" in new
    assert settled(text, 0).count("null") == 1


@pytest.mark.parametrize(
    ("text", "files", "why"),
    [
        (
            "version: 1\ndefaults: {matrix: {train.rank: [1, 2]}}\n"
            "loras:\n  mei: {dataset: d, base_model: m}\n",
            {},
            "stands in `defaults`",
        ),
        (
            TOP
            + "  mei: {dataset: d, base_model: m, train: t.toml, matrix: {train.rank: [1, 2]}}\n",
            {"t.toml": b"seed = 3\n"},
            "is a file of its own",
        ),
        (
            "version: 1\ndefaults: {train: t.toml}\nloras:\n"
            "  mei: {dataset: d, base_model: m, matrix: {train.rank: [1, 2]}}\n",
            {"t.toml": b"seed = 3\n"},
            "gives some of these settings too",
        ),
        (
            TOP + "  mei:\n    dataset: d\n    base_model: m\n    train:\n"
            "    matrix: {train.rank: [1, 2]}\n",
            {},
            "`train` is empty",
        ),
        (
            TOP + "  mei: {dataset: d, base_model: m, train: {steps: 5}, "
            "matrix: {train.epochs: [1, 2]}}\n",
            {},
            "would not be valid",
        ),
    ],
)
def test_where_more_would_change_nothing_does_and_the_reason_is_told(text, files, why):
    with pytest.raises(Unsettled, match=why):
        settled(text, files=files)


RANKS = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)


@settings(max_examples=30)
@given(
    ranks=RANKS,
    pick=st.integers(0, 3),
    blanks=st.integers(0, 2),
    indent=st.sampled_from([2, 3, 4, 8]),
    seed=st.sampled_from(["", "train: {seed: 3}\n", "train:\n  seed: 3\n"]),
    before=st.booleans(),
)
def test_whatever_the_layout_only_the_matrix_and_the_section_move(
    *, ranks, pick, blanks, indent, seed, before
):
    matrix = f"matrix:\n  train.rank: {ranks}\n" + "\n" * blanks + "# a remark\n"
    own = seed + matrix if before else matrix + seed
    body = "dataset: d\n" + own + "base_model: m\n"
    text = TOP + "  mei:\n" + textwrap.indent(body, " " * (2 + indent)) + "# the end\n"
    new = settled(text, pick % len(ranks))
    assert "# a remark" in new
    assert new.endswith("# the end\n")
    assert "matrix" not in new
