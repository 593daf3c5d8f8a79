"""An embedder is an input like others: a folder or file in the repository, a model of the hub."""

from pathlib import Path

import pytest

from lora_ci.app.folder_source import read_source
from lora_ci.app.gather import HUB
from lora_ci.app.git_source import open_git_source
from lora_ci.core.event import Event, EventKind
from lora_ci.diffusion.families import SD1
from lora_ci.plan.fingerprints import optimize_fingerprint, qa_fingerprint
from tests.builders import RepoBuilder

HEX = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    qa: {embedder: "EMBEDDER"}
"""
BASE = {"model_index.json": b"{}", **{f"{part}/config.json": b"{}" for part in SD1.parts}}


@pytest.fixture
def repo(tmp_path: Path) -> RepoBuilder:
    repo = RepoBuilder(tmp_path)
    repo.dvc_add("models/sd", BASE)
    repo.dvc_add("datasets/mei", {"a.png": b"picture"})
    repo.dvc_add("models/clip", {"config.json": b"{}", "model.safetensors": b"weights"})
    repo.write("models/e.onnx", "an ONNX model")
    return repo


def seen(repo: RepoBuilder, embedder: str):
    repo.write(".lora-ci.yml", CONFIG.replace("EMBEDDER", embedder))
    head = repo.commit()
    source = open_git_source(repo.root)
    gathered = source.gather(Event(kind=EventKind.PUSH, repo="r", head=head))
    return source, gathered.config.loras["mei"], gathered.facts["mei"]


@pytest.mark.parametrize(
    ("embedder", "files"),
    [
        ("path:models/clip", {"config.json": b"{}", "model.safetensors": b"weights"}),
        ("onnx:models/e.onnx", {"e.onnx": b"an ONNX model"}),
        ("torchscript:models/e.onnx", {"e.onnx": b"an ONNX model"}),
    ],
)
def test_folders_and_files_are_laid_out(repo, tmp_path, embedder, files):
    source, _, facts = seen(repo, embedder)
    assert not facts.findings
    source.lay_out(facts.embedder, tmp_path / "out")
    laid = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert laid == files


@pytest.mark.parametrize("embedder", ["classic:", "exec:python /opt/embed.py"])
def test_others_are_no_input(repo, embedder):
    _, _, facts = seen(repo, embedder)
    assert facts.embedder is None
    assert not facts.findings


def test_one_that_is_not_there_is_told_at_its_line(repo):
    _, _, facts = seen(repo, "onnx:models/gone.onnx")
    (finding,) = facts.findings
    assert finding.rule == "inputs.embedder"
    assert "models/gone.onnx" in finding.message
    assert (finding.file, finding.line) == (".lora-ci.yml", 6)


@pytest.mark.parametrize(
    ("embedder", "words"),
    [
        ("path:datasets/mei", "no model in transformers format: no config.json"),
        ("path:models/pickled", "has no weights as safetensors"),
        ("onnx:models/clip", "has 2 files; expected one"),
    ],
)
def test_what_cannot_be_one_is_told_before_anything_trains(repo, embedder, words):
    repo.dvc_add("models/pickled", {"config.json": b"{}", "pytorch_model.bin": b"a pickle"})
    _, _, facts = seen(repo, embedder)
    (finding,) = facts.findings
    assert words in finding.message
    assert finding.line == 6


def test_a_model_of_the_hub_is_its_commit(repo):
    spec = f"hf:google/siglip2-base-patch16-224@{HEX}"
    _, lora, facts = seen(repo, spec)
    assert facts.embedder.tracked_by == HUB
    assert facts.embedder.content_id == spec
    other = seen(repo, spec[:-1] + "8")[1:]
    for fingerprint in (
        lambda lora, facts: qa_fingerprint(lora, facts, "a" * 64, None),
        lambda lora, facts: optimize_fingerprint(lora, facts, "a" * 64),
    ):
        assert "embedder" in fingerprint(lora, facts).changed_parts(fingerprint(*other).parts)


def test_plain_folders_hold_files_too(tmp_path):
    for name, data in {f"models/sd/{k}": v for k, v in BASE.items()}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "models" / "e.onnx").write_bytes(b"an ONNX model")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"picture")
    config = tmp_path / ".lora-ci.yml"
    config.write_text(CONFIG.replace("EMBEDDER", "onnx:models/e.onnx"))
    source = read_source(config, tmp_path / "pictures", lora=None, state=tmp_path / "state")
    gathered = source.gather(source.event())
    facts = gathered.facts["mei"]
    assert not facts.findings
    source.lay_out(facts.embedder, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "e.onnx": b"an ONNX model"
    }
