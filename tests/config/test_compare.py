"""What a change of the config changes: resolved values, by the file that sets them."""

import pytest

from lora_ci.config.compare import changed_keys
from lora_ci.config.load import load_config

FIRST = """\
version: 1
defaults: {base_model: m, train: {seed: 3}}
loras:
  mei: {dataset: a, train: {rank: 8, learning_rate: 1e-4}, qa: {gates: {identity: ">= 0.7"}}}
  ukiyo: {dataset: b, train: t.toml}
"""
FILES = {"t.toml": b"rank = 4\n"}


def changed(text, files=None):
    old = load_config(FIRST.encode(), read=FILES.get)
    new = load_config(text.encode(), read={**FILES, **(files or {})}.get)
    return changed_keys(old, new)


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n" + FIRST,
        FIRST.replace("1e-4", "0.0001"),
        FIRST.replace("{rank: 8, learning_rate: 1e-4}", "{learning_rate: 1e-4, rank: 8, seed: 3}"),
        FIRST.replace("version: 1\n", "") + "version: 1\n",
        FIRST.replace("rank: 8,", "rank: 8, alpha: 16,"),
        FIRST.replace("dataset: a", "dataset: [{path: ./a}]"),
        FIRST.replace("  mei: {dataset: a, ", "  mei: {trigger: mei, dataset: a, "),
    ],
)
def test_how_it_is_written_changes_nothing(text):
    assert changed(text) == {}


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        (FIRST.replace("rank: 8", "rank: 9"), {}, {".lora-ci.yml": ("loras.mei.train.rank",)}),
        (FIRST, {"t.toml": b"rank = 5\n"}, {"t.toml": ("loras.ukiyo.train.rank",)}),
        (FIRST, {"t.toml": b"\n"}, {"t.toml": ("loras.ukiyo.train.rank",)}),
        (
            FIRST.replace("seed: 3", "seed: 4"),
            {"t.toml": b"rank = 4\nseed = 1\n"},
            {".lora-ci.yml": ("loras.mei.train.seed",), "t.toml": ("loras.ukiyo.train.seed",)},
        ),
        (
            FIRST.replace('{identity: ">= 0.7"}', '{leakage: "<= 1"}'),
            {},
            {".lora-ci.yml": ("loras.mei.qa.gates.identity", "loras.mei.qa.gates.leakage")},
        ),
        (FIRST.replace("ukiyo", "uki"), {}, {".lora-ci.yml": ("loras.uki", "loras.ukiyo")}),
        (FIRST + "policy: {forks: nothing}\n", {}, {".lora-ci.yml": ("policy.forks",)}),
        (FIRST + "paths: [a]\n", {}, {".lora-ci.yml": ("paths",)}),
        (
            FIRST.replace("dataset: b", "dataset: [b, c]").replace(
                "base_model: m", "base_model: n"
            ),
            {},
            {
                ".lora-ci.yml": (
                    "loras.mei.base_model",
                    "loras.ukiyo.base_model",
                    "loras.ukiyo.dataset",
                )
            },
        ),
    ],
)
def test_what_changed_is_told_by_the_file_that_sets_it(text, files, expected):
    assert changed(text, files) == expected


def test_all_of_a_first_config_is_new():
    found = changed_keys(None, load_config(FIRST.encode(), read=FILES.get))[".lora-ci.yml"]
    assert {"loras.mei", "loras.ukiyo"} <= set(found)
