"""The config: what is read, and how every error of a file is told at once, with its line."""

import pytest

from lora_ci.config.load import load_config
from lora_ci.config.model import HubModel, Source
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Severity
from lora_ci.core.settings import TrainSettings
from tests.config.told import SMALL, errors, findings

HUB = "stable-diffusion-v1-5/stable-diffusion-v1-5"
COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"


def mei(text: bytes, files: dict[str, bytes] | None = None):
    return load_config(SMALL + text, read=(files or {}).get).loras["mei"]


def test_the_smallest_config_is_four_facts():
    lora = mei(b"")
    assert (lora.dataset, lora.base_model) == ((Source(path="datasets/mei"),), "models/sd")
    assert (lora.trigger, lora.train) == ("mei", TrainSettings())


def test_defaults_are_merged_all_the_way_down_and_values_know_their_line():
    config = load_config(b"""\
version: 1
defaults:
  base_model: models/sd
  train: {rank: 8, learning_rate: 1e-3}
loras:
  mei:
    dataset: datasets/mei
    train: {rank: 32}
""")
    lora = config.loras["mei"]
    assert (lora.train.rank, lora.train.learning_rate) == (32, 0.001)
    assert config.where("loras.mei.train.rank").line == 8
    assert config.where("loras.mei.train.learning_rate").line == 4
    assert config.where("loras.mei.train.seed").line == 8


def test_a_lora_may_have_nothing_of_its_own():
    text = b"version: 1\ndefaults: {dataset: d, base_model: m}\nloras: {a: , b: {train: }}\n"
    config = load_config(text)
    assert [lora.trigger for lora in config.loras.values()] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", b"# comment\nrank = 7\n"),
        ("a.yml", b"# comment\nrank: 7\n"),
        ("a.yaml", b"# comment\nrank: 7\n"),
    ],
)
def test_a_section_may_stand_in_a_file(name, text):
    config = load_config(SMALL + f"    train: {name}\n".encode(), read={name: text}.get)
    assert config.loras["mei"].train.rank == 7
    where = config.where("loras.mei.train.rank")
    assert (where.file, where.line) == (name, 2)


def test_values_inside_the_tables_of_a_toml_file_know_their_line():
    text = b'seeds = 2\n[gates]\nseeds = ">= 1"\nidentity = "about"\n'
    assert errors(SMALL + b"    qa: qa.toml\n", {"qa.toml": text}) == [
        'qa.toml:4:12 gate `identity: about`: expected such as ">= 0.7"'
    ]


@pytest.mark.parametrize(
    ("written", "sources"),
    [
        ("datasets/a/", [("datasets/a", 1)]),
        ("{path: a, repeats: 3}", [("a", 3)]),
        ("[a, {path: ./b, repeats: 10}]", [("a", 1), ("b", 10)]),
        ("[a/b, a/c, a-b]", [("a/b", 1), ("a/c", 1), ("a-b", 1)]),
    ],
)
def test_a_dataset_has_one_source_or_several(written, sources):
    text = SMALL.replace(b"datasets/mei", written.encode())
    found = load_config(text).loras["mei"].dataset
    assert [(source.path, source.repeats) for source in found] == sources


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[]", "4:14 `loras.mei.dataset` is an empty list"),
        ("[a, a]", "4:18 `a` stands twice"),
        ("[a, a/b/c]", "4:18 `a/b/c` lies in `a`"),
        ("[a/b/c, a-b, a]", "4:27 `a/b/c` lies in `a`"),
        (
            "[a, {path: b, repeats: 0}]",
            "4:37 `loras.mei.dataset.repeats` is 0: expected",
        ),
        ("{repeats: 2}", "4:5 `loras.mei.dataset` has no `path`"),
        ("../a", "4:14 `../a` leads out of the repository"),
        ("[[a]]", "4:15 `loras.mei.dataset` is"),
        ("{path: a, repeat: 2}", "4:24 `repeat` is no key of loras.mei.dataset"),
        ("5", "4:14 `loras.mei.dataset` is 5"),
        ("kohya.toml", "4:14 kohya.toml is not in this commit"),
    ],
)
def test_a_wrong_dataset_is_told_at_its_place(written, told):
    (found,) = errors(SMALL.replace(b"datasets/mei", written.encode()))
    assert found.startswith(f".lora-ci.yml:{told}")


def test_a_base_model_on_the_hub_stands_at_a_commit():
    text = SMALL.replace(b"models/sd", f"{{hub: {HUB}, revision: {COMMIT}}}".encode())
    assert load_config(text).loras["mei"].base_model == HubModel(hub=HUB, revision=COMMIT)


@pytest.mark.parametrize(
    ("written", "told", "hint"),
    [
        (f"{{hub: {HUB}, revision: main}}", "expected a full commit id", "next: git ls-remote"),
        (f"{{hub: {HUB}, revision: 451f4fe}}", "expected a full commit id", "next: git ls-remote"),
        (f"{HUB}@{COMMIT}", "expected a folder, or a mapping", f"write {{hub: {HUB}, revision:"),
        (f"{{hub: {HUB}}}", "has no `revision`", None),
        (f"{{hub: sd, revision: {COMMIT}}}", "expected owner/name", None),
        ("/models/sd", "leads out of the repository", "use a relative path"),
    ],
)
def test_a_base_model_that_could_move_is_refused(written, told, hint):
    (found,) = findings(SMALL.replace(b"models/sd", written.encode()))
    assert told in found.message
    assert (found.hint or "").startswith(hint or "")


def test_all_errors_of_all_files_come_at_once():
    text = b"""\
version: 2
loras:
  Mei:
    datset: a
    train: {rank: 0, learning_rate: fast}
    qa: {gates: {identity: "about 0.7"}, references: ../../etc}
    validate: v.toml
"""
    found = errors(text, {"v.toml": b"blur = 'much'\nmin_imags = 3\n"})
    assert found == [
        ".lora-ci.yml:1:10 version 2 is not known to this lora-ci; it reads 1",
        ".lora-ci.yml:3:3 `Mei` is no LoRA name",
        ".lora-ci.yml:3:3 `loras.Mei` has no `dataset`",
        ".lora-ci.yml:3:3 `loras.Mei` has no `base_model`",
        ".lora-ci.yml:4:5 `datset` is no key of loras.Mei",
        ".lora-ci.yml:5:19 `loras.Mei.train.rank` is 0: expected a whole number >= 1",
        '.lora-ci.yml:5:37 `loras.Mei.train.learning_rate` is "fast": '
        "expected a number, got a text",
        '.lora-ci.yml:6:28 gate `identity: about 0.7`: expected such as ">= 0.7"',
        ".lora-ci.yml:6:54 `../../etc` leads out of the repository",
        'v.toml:1:8 `loras.Mei.validate.blur` is "much": expected `error`, `warning`, `info`',
        "v.toml:2:1 `min_imags` is no key of loras.Mei.validate",
    ]


def test_a_gate_on_what_nothing_measures_is_told_before_anything_is_trained():
    text = b"""\
version: 1
loras:
  mei: {dataset: a, base_model: m, qa: {gates: {identiy: ">= 0.7", leakage: "<= 0.1"}}}
"""
    config = load_config(text)
    (note,) = config.notes
    assert (note.message, note.line) == (
        "gate `identiy`: nothing measures that, so it will never hold", 3
    )  # fmt: skip
    assert note.hint == "did you mean `identity`?"


def test_an_error_in_defaults_is_told_once_and_even_if_no_lora_keeps_it():
    text = b"""\
version: 1
defaults: {base_model: m, train: {rank: 0}}
loras:
  a: {dataset: a, train: {rank: 1}}
  b: {dataset: b, train: {rank: 1}}
"""
    assert errors(text) == [
        ".lora-ci.yml:2:41 `defaults.train.rank` is 0: expected a whole number >= 1"
    ]
    assert len(errors(text.replace(b", train: {rank: 1}", b""))) == 1


def test_no_more_than_a_hundred_errors_are_told():
    lines = "".join(f"    k{i}: 1\n" for i in range(500))
    found = errors(SMALL + lines.encode())
    assert len(found) == 101
    assert found[-1].endswith("… and 400 more")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("trian: {}", "did you mean `train`?"),
        ("deploy: {store: s}", "did you mean `targets`?"),
        ("deploy: {channel: s}", "did you mean `channels`?"),
        ("train: {network_dim: 8}", "did you mean `rank`?"),
        ("type: charakter", "did you mean `character`?"),
        ("policy: {}", "write `policy:` at the top of the file"),
        ("notify: []", "write `notify:` at the top of the file"),
        ("needs: [mai]", "did you mean `mei`?"),
    ],
)
def test_what_was_meant_is_told(text, hint):
    (found,) = findings(SMALL + f"    {text}\n".encode())
    assert found.hint == hint


@pytest.mark.parametrize(
    ("version", "told", "hint"),
    [
        ("2", "not known to this lora-ci", "next: pip install --upgrade lora-ci"),
        ("0", "expected `version: 1`", None),
        ("true", "expected `version: 1`", None),
        ("one", "expected `version: 1`", None),
        ("'1'", "expected `version: 1`", None),
    ],
)
def test_another_version_says_what_to_do(version, told, hint):
    (found,) = findings(SMALL.replace(b"version: 1", f"version: {version}".encode()))
    assert told in found.message
    assert found.hint == hint


def test_policy_and_paths_hold_for_the_repository():
    config = load_config(SMALL + b"policy: {forks: nothing}\npaths: ['datasets/**', '*.yml']\n")
    assert (config.policy.forks, config.paths) == ("nothing", ("datasets/**", "*.yml"))
    (found,) = errors(SMALL + b"policy: {forks: maybe}\n")
    assert "expected `nothing`, `validate`, `approve`" in found
    assert "leads out" in errors(SMALL + b"paths: [a, ../b]\n")[0]


def test_a_license_must_be_one_that_the_policy_allows():
    policy = b"policy: {licenses: [MIT]}\n"
    assert "allows `MIT`" in errors(SMALL + b"    deploy: {license: GPL-3.0}\n" + policy)[0]
    assert "has no `license`" in errors(SMALL + b"    deploy: {targets: [r]}\n" + policy)[0]
    load_config(SMALL + b"    deploy: {license: MIT}\n" + policy)


def test_keys_without_effect_are_told():
    config = load_config(
        SMALL
        + b"    prepare: {captioner: blip-2}\n"
        + b"notify: ['mailto://a@b.c', {url: 'slack://x', on: [failed]}]\n"
        + b"runners: {big: {gpus: 2}}\n"
    )
    told = [(note.severity, note.line, note.message) for note in config.notes]
    assert sorted(told) == [
        (Severity.WARNING, 6, "`prepare` has no effect in this version"),
        (Severity.WARNING, 7, "`notify` has no effect in this version"),
        (Severity.WARNING, 8, "`runners` has no effect in this version"),
    ]


@pytest.mark.parametrize(
    "text", ["notify: [here]", "notify: [{on: [failed]}]", "runners: {a: {gpu: 1}}"]
)
def test_keys_without_effect_are_checked_all_the_same(text):
    assert errors(SMALL + text.encode())


def test_a_secret_in_a_notify_url_is_not_repeated():
    (found,) = findings(SMALL + b"notify: [{url: s3cret}]\n")
    assert "s3cret" not in f"{found.message}{found.hint}"


NEEDS = b"version: 1\ndefaults: {dataset: d, base_model: m}\nloras:\n"


def test_a_circle_of_needs_is_told_as_one():
    text = (
        NEEDS + b"  a: {needs: [b]}\n  b: {needs: [c]}\n  c: {needs: [a]}\n  d: {needs: [d, a]}\n"
    )
    assert errors(text) == [
        ".lora-ci.yml:6:15 LoRAs need each other in a circle: a → b → c → a",
        ".lora-ci.yml:7:15 `d` needs itself",
    ]


def test_needs_of_a_matrix_are_needs_of_all_its_variants():
    text = (
        NEEDS
        + b"  a: {matrix: {train.rank: [4, 8]}}\n  b: {needs: [a]}\n  c: {needs: [a.rank-8]}\n"
    )
    loras = load_config(text).loras
    assert loras["b"].needs == ("a.rank-4", "a.rank-8")
    assert loras["c"].needs == ("a.rank-8",)


def test_the_file_that_holds_the_error_is_named():
    with pytest.raises(UsageError) as caught:
        load_config(SMALL + b"    train: t.toml\n", read={"t.toml": b"rank = [1,\n"}.get)
    (found,) = caught.value.findings
    assert found.location().startswith("t.toml:")
    assert found.message.startswith("not TOML: ")
