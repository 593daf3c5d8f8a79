"""Models of the hub: fetched once from a real HTTP server, then from the cache."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lora_ci.diffusion.load import load_base
from lora_ci.ruler.safety import open_scanner
from tests.app.fake_hub import COMMIT, FakeHub
from tests.tiny_scanners import write_checker

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"
PROGRAM = """
import json, sys
from lora_ci.app.hub import HUB_KINDS, ensure_hub_model
from lora_ci.core.errors import LoraCIError
kind = HUB_KINDS[sys.argv[2]]
for hub, revision in json.loads(sys.argv[1]):
    try:
        told = [0, str(ensure_hub_model(hub, revision, kind))]
    except LoraCIError as error:
        told = [int(error.exit_code), f"{error} | {error.findings[0].hint}"]
    print(json.dumps(told))
"""


def ensure(
    cache: Path,
    endpoint: str,
    *wanted: tuple[str, str],
    offline: str = "0",
    kind: str = "base_model",
):
    """Exit code and answer of each call, in a process of its own: the library reads its
    settings when it is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(wanted), kind],
        env={**os.environ, "HF_HOME": str(cache), "HF_ENDPOINT": endpoint,
             "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture
def model(tiny_sd, tmp_path) -> Path:
    """The tiny model with what repositories on the hub have beside it."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_sd, folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half of it")
    (folder / "all-in-one.safetensors").write_bytes(b"the same again")
    (folder / "README.md").write_text("a model")
    return folder


def test_a_model_is_fetched_once_and_then_needs_no_network(model, tmp_path):
    hub, cache = FakeHub(model), tmp_path / "cache"
    with hub.serve() as endpoint:
        [(code, folder)] = ensure(cache, endpoint, (hub.name, COMMIT))
    assert code == 0, folder
    assert load_base(Path(folder)).family.name == "sd1"
    fetched = {path.partition(f"/resolve/{COMMIT}/")[2] for path in hub.asked} - {""}
    assert "unet/diffusion_pytorch_model.safetensors" in fetched
    assert not {n for n in fetched if n.endswith((".bin", ".md")) or "fp16" in n or "all-in" in n}
    again = [(0, folder)]
    assert ensure(cache, NOBODY, (hub.name, COMMIT)) == again
    assert ensure(cache, NOBODY, (hub.name, COMMIT), offline="1") == again


def test_what_is_wrong_is_told_with_what_to_do(model, tmp_path):
    shutil.rmtree(model / "vae")
    hub = FakeHub(model)
    with hub.serve() as endpoint:
        gated, absent, commit, partial = ensure(
            tmp_path / "cache", endpoint, (f"{hub.name}-gated", COMMIT), ("team/other", COMMIT),
            (hub.name, "b" * 40), (hub.name, COMMIT),
        )  # fmt: skip
    assert gated[0] == 4
    assert "granted access" in gated[1]
    assert "next: hf auth login" in gated[1]
    assert absent[0] == 1
    assert "base model team/other at aaaaaaaaaaaa: the hub has no such model" in absent[1]
    assert commit[0] == 1
    assert "no such commit" in commit[1]
    assert partial[0] == 1
    assert "no vae/" in partial[1]
    [offline] = ensure(tmp_path / "new", NOBODY, (hub.name, COMMIT), offline="1")
    assert offline[0] == 4
    assert "next: unset HF_HUB_OFFLINE" in offline[1]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_the_network_s_fault(tmp_path):
    [(code, said)] = ensure(tmp_path, NOBODY, ("team/tiny-sd", COMMIT))
    assert code == 4
    assert "the hub cannot be reached" in said


def test_an_embedder_comes_with_its_card_and_without_pickles(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(Path("examples/emoji/clip"), folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"the same again")
    hub, cache = FakeHub(folder, "team/tiny-clip"), tmp_path / "cache"
    with hub.serve() as endpoint:
        [(code, found)] = ensure(cache, endpoint, (hub.name, COMMIT), kind="embedder")
    assert code == 0, found
    fetched = {path.partition(f"/resolve/{COMMIT}/")[2] for path in hub.asked} - {""}
    assert {"model.safetensors", "config.json", "README.md", "tokenizer.json"} <= fetched
    assert not {name for name in fetched if name.endswith((".bin", ".onnx"))}
    again = ensure(cache, NOBODY, (hub.name, COMMIT), offline="1", kind="embedder")
    assert again == [(0, found)]


def test_an_embedder_without_safetensors_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    hub = FakeHub(folder, "team/pickled")
    with hub.serve() as endpoint:
        [(code, said)] = ensure(tmp_path / "cache", endpoint, (hub.name, COMMIT), kind="embedder")
    assert code == 1
    assert "embedder team/pickled at aaaaaaaaaaaa" in said
    assert "no model.safetensors" in said


def test_a_scanner_of_the_hub_can_be_opened(tmp_path):
    hub = FakeHub(write_checker(tmp_path / "model"), "team/checker")
    with hub.serve() as endpoint:
        [(code, found)] = ensure(tmp_path / "cache", endpoint, (hub.name, COMMIT), kind="scanner")
    assert code == 0, found
    scanner = open_scanner(f"hf:{hub.name}@{COMMIT}", Path(found))
    ((label, score),) = scanner.scan([np.full((40, 60, 3), 90, np.uint8)])[0].items()
    assert label == "nsfw"
    assert 0 <= score <= 1
