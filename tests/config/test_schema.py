"""The JSON Schema says what the loader says, and is what editors and check-jsonschema read."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from lora_ci.config.document import parse_yaml
from lora_ci.config.load import load_config
from lora_ci.config.schema import config_schema, render_schema
from lora_ci.core.errors import UsageError
from tests.config.told import SMALL

SHIPPED = Path(__file__).parents[2] / ".lora-ci.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(config_schema())
HUB = "{hub: a/b, revision: 451f4fe16113bff5a5d2269ed5ad43b0592e9a14}"

GOOD = [
    "",
    "    trigger: mei",
    "    type: character",
    "    train:",
    "    train: {rank: 8, learning_rate: 1e-4, min_snr_gamma: null}",
    "    validate: {blur: error}",
    "    qa: {gates: {identity: '>= 0.7', leakage: '<1'}, prompts: [a], seeds: 1}",
    "    optimize: {weights: [1, 0.5]}",
    "    deploy: {targets: [a, /b], channels: [latest], on: never, license: MIT}",
    "    resources: {gpus: 0, vram_gib: 24, timeout_hours: 0.5}",
    "    needs: []",
    "    matrix: {train.rank: [8, 16], qa.weight: [1]}",
    "    matrix: {}",
    "    prepare: {captioner: x}",
    "    prepare:",
    "defaults:",
    "defaults: {train: {seed: 1}}",
    "policy: {max_gpu_hours_per_run: 1, forks: validate, approvers: [a]}",
    "policy:",
    "paths: ['**/*.dvc']",
    "paths: []",
    "notify: ['a://b', {url: 'a://b', on: [failed]}]",
    "runners: {a: {gpus: 1, vram_gib: 8, labels: [x]}, b: {}, c: }",
    "runners:",
]
BAD = [
    "    trigger: ''",
    "    trigger: 5",
    "    trigger:",
    "    type: person",
    "    train: []",
    "    train: 5",
    "    train: {rank: '8'}",
    "    train: {rank: 8.5}",
    "    train: {rank: null}",
    "    train: {rang: 8}",
    "    train: {optimizer: sgd}",
    "    train: {flip: 1}",
    "    validate: {min_images: 0}",
    "    qa: {gates: {identity: 0.7}}",
    "    qa: {gates: {identity: '0.7'}}",
    "    qa: {prompts: a}",
    "    optimize: {weights: [a]}",
    "    optimize: {weights: [-0.5]}",
    "    optimize: {weights: [1.6]}",
    "    deploy: {store: a}",
    "    deploy: {on: push}",
    "    resources: {gpus: -1}",
    "    resources: {timeout_hours: 0}",
    "    needs: mei",
    "    needs: [1]",
    "    matrix: {train.rang: [8]}",
    "    matrix: {train.rank: []}",
    "    matrix: {train.rank: 8}",
    "    matrix: []",
    "    prepare: {captoner: x}",
    "    policy: {}",
    "    datset: a",
    "defaults: []",
    "defaults: {train: {rank: 0}}",
    "defaults: {nothing: 1}",
    "policy: {forks: all}",
    "policy: {max_gpu_hours_per_run: -1}",
    "policy: {budget: 1}",
    "paths: a",
    "paths: [1]",
    "paths: ['']",
    "paths:",
    "notify: [a]",
    "notify: [{on: [failed]}]",
    "notify: [{url: 'a://b', on: [never]}]",
    "notify:",
    "runners: {a: {gpu: 1}}",
    "runners: []",
    "surprise: 1",
]
WHOLE = [
    ("version: 1\nloras: {a: {dataset: d, base_model: m}}\n", True),
    ("version: 2\nloras: {a: {dataset: d, base_model: m}}\n", False),
    ("version: '1'\nloras: {a: {dataset: d, base_model: m}}\n", False),
    ("loras: {a: {dataset: d, base_model: m}}\n", False),
    ("version: 1\n", False),
    ("version: 1\nloras: {}\n", False),
    ("version: 1\nloras: {A: {dataset: d, base_model: m}}\n", False),
    ("version: 1\nloras: {a: {dataset: [d, {path: e, repeats: 2}], base_model: m}}\n", True),
    ("version: 1\nloras: {a: {dataset: {path: e}, base_model: m}}\n", True),
    ("version: 1\nloras: {a: {dataset: [], base_model: m}}\n", False),
    ("version: 1\nloras: {a: {dataset: '', base_model: m}}\n", False),
    ("version: 1\nloras: {a: {dataset: [1], base_model: m}}\n", False),
    ("version: 1\nloras: {a: {dataset: {path: e, repeats: 0}, base_model: m}}\n", False),
    ("version: 1\nloras: {a: {dataset: {repeats: 2}, base_model: m}}\n", False),
    (f"version: 1\nloras: {{a: {{dataset: d, base_model: {HUB}}}}}\n", True),
    ("version: 1\nloras: {a: {dataset: d, base_model: {hub: a/b, revision: main}}}\n", False),
    ("version: 1\nloras: {a: {dataset: d, base_model: {hub: a/b}}}\n", False),
    ("version: 1\nloras: {a: {dataset: d, base_model: ''}}\n", False),
    ("version: 1\nloras: {a: {dataset: d, base_model: [m]}}\n", False),
    ("version: 1\ndefaults: {dataset: d, base_model: m}\nloras: {a: }\n", True),
    ("version: 1\nloras: [a]\n", False),
]
CASES = [
    *((SMALL.decode() + text + "\n", True) for text in GOOD),
    *((SMALL.decode() + text + "\n", False) for text in BAD),
    *WHOLE,
]


@pytest.mark.parametrize(("text", "good"), CASES)
def test_loader_and_schema_agree(text, good):
    valid = VALIDATOR.is_valid(parse_yaml(text.encode(), "f").plain())
    try:
        load_config(text.encode())
    except UsageError as error:
        accepted, told = False, [finding.message for finding in error.findings]
    else:
        accepted, told = True, []
    assert (accepted, valid) == (good, good), told


def test_the_shipped_schema_is_in_step():
    assert SHIPPED.read_text() == render_schema(), "next: make schema"
    jsonschema.Draft202012Validator.check_schema(config_schema())


def test_every_key_is_described_and_its_examples_are_right():
    def keys(schema):
        for name, inner in schema.get("properties", {}).items():
            yield name, inner
        for inner in schema.get("$defs", {}).values():
            yield from keys(inner)

    schema = config_schema()
    for name, inner in keys(schema):
        assert inner.get("description"), name
        for example in inner.get("examples", ()):
            whole = {**inner, "$defs": schema["$defs"]}
            jsonschema.Draft202012Validator(whole).validate(example)


def test_check_jsonschema_reads_it(tmp_path):
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text("\n".join([SMALL.decode(), *GOOD[1:3], GOOD[5]]))
    bad.write_text(SMALL.decode() + BAD[9])
    for file, code in ((good, 0), (bad, 1)):
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", SHIPPED, file]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout
