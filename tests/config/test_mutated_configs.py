"""Whatever the bytes are: a config, or a UsageError whose findings tell where."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.compare import changed_keys
from lora_ci.config.load import load_config
from lora_ci.config.model import Config
from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import LoraCIError
from lora_ci.core.settings import settings_json
from tests.config.test_kohya import DATASET, TRAIN
from tests.config.test_schema import CASES

WHOLE = b"""\
version: 1
defaults:
  base_model: {hub: a/b, revision: 451f4fe16113bff5a5d2269ed5ad43b0592e9a14}
  train: {rank: 8, learning_rate: 1e-4, min_snr_gamma: null}
loras:
  mei:
    type: character
    dataset: [datasets/mei, {path: datasets/extra, repeats: 10}]
    matrix: {train.rank: [8, 16], qa.weight: [0.8, 1.0]}
    qa: {gates: {identity: ">= 0.7"}, prompts: ["{trigger}"]}
    deploy: {targets: [releases], license: MIT}
  ukiyo:
    dataset: dataset.toml
    train: train.toml
    needs: [mei]
    resources: {gpus: 1}
policy: {forks: validate, licenses: [MIT], max_gpu_hours_per_run: 2}
paths: ["datasets/**"]
notify: ["a://b"]
"""
NASTY = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\t", b"  ", b":", b": ", b"- ", b"? ",
    b"&a ", b"*a", b"!x ", b"<<: ", b"{", b"}", b"[", b"]", b",", b"#", b"'", b'"', b"|\n", b">\n",
    b"%YAML 1.1\n", b"---\n", b"...\n", b"<<<<<<< a\n", b"=======\n", b"null", b"~", b"true",
    b"no", b"-1", b"0", b"1e999", b".nan", b"-.inf", b"9" * 30, b"0x", b"\xc3\xa4", b"\xed\xa0\x80",
    b"../", b"/", b"\\", b"..", b"a.toml", b"train.toml", b"dataset.toml", b"{}", b"[]", b"''",
    b"\xe2\x80\xa8", b"\xc2\x85", b'"""', b"'''", b"[[", b"]]", b"=", b".", b"1979-05-27", b"\r",
]  # fmt: skip


def read_all(text: bytes, train: bytes = TRAIN, dataset: bytes = DATASET) -> Config | None:
    """The config, every value of it looked at; None if it was refused in the right way."""
    files = {"train.toml": train, "dataset.toml": dataset, "a.toml": train}
    try:
        config = load_config(text, read=files.get)
    except LoraCIError as error:
        config, findings = None, error.findings
    if config is None:
        assert 0 < len(findings) <= 101
        assert all(f.file and f.line and f.message and len(f.message) < 1000 for f in findings)
        return None
    for lora in config.loras.values():
        canonical_json(settings_json(lora))
        assert lora.dataset
    changed_keys(None, config)
    return config


def mutate(text: bytes, dice: random.Random) -> bytes:
    """A few cuts, copies, swaps and insertions."""
    data = bytearray(text)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.randint(1, 12))
        match dice.randrange(5):
            case 0:
                del data[at:end]
            case 1:
                data[at:at] = dice.choice(NASTY)
            case 2:
                data[at:end] = dice.choice(NASTY)
            case 3:
                data[at:at] = data[at:end] * dice.randint(1, 3)
            case _:
                other = dice.randrange(len(data) + 1)
                data[other:other] = data[at:end]
    return bytes(data)


def test_the_corpus_itself_is_read():
    assert read_all(WHOLE) is None
    assert read_all(WHOLE, TRAIN.replace(b"batch_size = 2", b"batch_size = 4")) is not None


@pytest.mark.parametrize("seed", range(20))
def test_mutated_configs_end_in_one_of_two_ways(seed):
    dice = random.Random(seed)
    train = TRAIN.replace(b"batch_size = 2", b"batch_size = 4")
    for _ in range(10):
        read_all(mutate(WHOLE, dice), train)
        read_all(WHOLE, mutate(train, dice))
        read_all(WHOLE, train, mutate(DATASET, dice))
        read_all(mutate(dice.choice(CASES)[0].encode(), dice))


@given(st.binary(max_size=300))
def test_any_bytes_end_in_one_of_two_ways(data):
    read_all(data)


@given(st.binary(max_size=100))
def test_any_included_bytes_end_in_one_of_two_ways(data):
    read_all(WHOLE, data, DATASET)
    read_all(WHOLE, TRAIN, data)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
NAMES = """
version loras defaults mei policy paths notify runners dataset base_model trigger type needs matrix
prepare train validate qa optimize deploy resources path repeats hub revision rank gates targets
license train.rank forks licenses url on
"""
KEYS = st.sampled_from(NAMES.split())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(TREES, TREES)
def test_any_tree_of_known_keys_ends_in_one_of_two_ways(lora, rest):
    top = rest if isinstance(rest, dict) else {}
    text = json.dumps({**top, "version": 1, "loras": {"mei": lora}})
    read_all(text.encode())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b"version: 1\nloras:\n" + b"".join(b"  a%d: {}\n" % i for i in range(60_000)),
        b"version: 1\nloras: {a: {" + b"".join(b"k%d: 1, " % i for i in range(60_000)) + b"}}\n",
        b"version: 1\ndefaults: {dataset: d, base_model: m, needs: [a0]}\nloras:\n"
        + b"".join(b"  a%d: {needs: [a%d]}\n" % (i, (i + 1) % 4000) for i in range(4000)),
        b"version: 1\ndefaults: {dataset: d, base_model: m, matrix: {train.seed: [%b]}}\nloras:\n"
        % b", ".join(b"%d" % i for i in range(64))
        + b"".join(b"  a%d: {}\n" % i for i in range(4000)),
        b"version: 1\nloras: {a: {dataset: [" + b"a, " * 200_000 + b"]}}\n",
        b"version: 1\nloras: {a: {matrix: {train.seed: [" + b"1, " * 200_000 + b"]}}}\n",
    ],
    ids=["many loras", "many keys", "long circle", "many variants", "sources", "matrix values"],
)
def test_large_nonsense_is_refused(text):
    assert len(text) <= 1_000_000
    assert read_all(text) is None
