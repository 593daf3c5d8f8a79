"""What scans a dataset is an input; of a foreign push it is the default branch's."""

from pathlib import Path

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.core.errors import UsageError
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.diffusion.families import SD1
from lora_ci.plan.fingerprints import validate_fingerprint
from tests.builders import RepoBuilder

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    validate: {yara: rules, content: "onnx:models/nsfw.onnx"}
"""
BASE = {"model_index.json": b"{}", **{f"{part}/config.json": b"{}" for part in SD1.parts}}


@pytest.fixture
def repo(tmp_path):
    """On `main`, rules and a model; on `work`, others."""
    made = RepoBuilder(tmp_path)
    made.dvc_add("models/sd", BASE)
    made.dvc_add("datasets/mei", {"a.png": b"picture"})
    made.write("rules/a.yar", "strict")
    made.write("models/nsfw.onnx", "strict")
    made.write(".lora-ci.yml", CONFIG)
    made.commit()
    made.git("switch", "-q", "-c", "work")
    made.write("rules/a.yar", "lax")
    made.write("models/nsfw.onnx", "lax")
    made.dvc_add("datasets/mei", {"a.png": b"other picture"})
    made.commit()
    return made


def gathered(repo, trust, approvals=()):
    source = open_git_source(repo.root, "main")
    head = repo.git("rev-parse", "work")
    event = Event(kind=EventKind.PUSH, repo="r", head=head, trust=trust, approvals=approvals)
    return source, source.gather(event)


@pytest.mark.parametrize(
    ("trust", "approvals", "text"),
    [
        (Trust.TRUSTED, (), "lax"),
        (Trust.UNTRUSTED, (), "strict"),
        (Trust.UNTRUSTED, ("ann",), "strict"),
    ],
)
def test_a_foreign_push_is_not_scanned_by_what_it_brings(repo, tmp_path, trust, approvals, text):
    source, found = gathered(repo, trust, approvals)
    facts = found.facts["mei"]
    assert not facts.findings
    for number, name in enumerate(("scanner", "rules")):
        source.lay_out(getattr(facts, name), tmp_path / str(number))
        (file,) = (tmp_path / str(number)).iterdir()
        assert file.read_text() == text
    source.lay_out(facts.dataset, tmp_path / "set")
    assert (tmp_path / "set" / "a.png").read_bytes() == b"other picture"


def test_other_rules_validate_again(repo):
    prints = []
    for trust in (Trust.TRUSTED, Trust.UNTRUSTED):
        _, found = gathered(repo, trust)
        prints.append(validate_fingerprint(found.config.loras["mei"], found.facts["mei"]))
    assert set(prints[0].changed_parts(prints[1].parts)) == {"scanner", "rules"}


@pytest.mark.parametrize(
    ("validate", "words"),
    [
        ("{yara: ../rules}", "../rules"),
        ('{content: "classic:"}', "`classic:` scans nothing"),
        ('{content: "torchscript:m.pt"}', "scans nothing"),
        ("{content: nsfw}", "is no embedder"),
        ('{content: "hf:a/b@main"}', "full commit"),
        ("{content_limits: {nsfw: 2}}", "nsfw"),
        ("{reviewed: [abc]}", "reviewed"),
    ],
)
def test_what_cannot_scan_is_told_at_its_line(repo, validate, words):
    old = '{yara: rules, content: "onnx:models/nsfw.onnx"}'
    repo.write(".lora-ci.yml", CONFIG.replace(old, validate))
    repo.commit()
    with pytest.raises(UsageError) as caught:
        gathered(repo, Trust.TRUSTED)
    told = [f for f in caught.value.findings if words in f.message]
    assert told, caught.value.findings
    assert told[0].line == 6


def test_the_example_of_the_docs_is_a_config(repo):
    text = Path("docs/dataset-safety.md").read_text().split("```yaml\n")[1].split("```")[0]
    repo.write(".lora-ci.yml", f"version: 1\ndefaults: {{base_model: models/sd}}\n{text}")
    repo.commit()
    _, found = gathered(repo, Trust.TRUSTED)
    assert not found.facts["mei"].findings
    settings = found.config.loras["mei"].validate
    assert (settings.antivirus, settings.scanner) == ("required", "onnx:models/nsfw.onnx")
