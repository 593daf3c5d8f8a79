"""What a judgement measures with is told at its line where it could not be opened or allowed."""

import pytest

from lora_ci.config.load import load_config
from tests.config.told import SMALL, findings

HEX = "0123456789abcdef0123456789abcdef01234567"
LINE = 6


def qa(text: str) -> bytes:
    return SMALL + f"    qa: {{{text}}}\n".encode()


@pytest.mark.parametrize(
    "text",
    [
        'embedder: "classic:"',
        'embedder: "path:models/clip"',
        f'embedder: "hf:google/siglip2-base-patch16-224@{HEX}"',
        'embedder: "onnx:models/e.onnx", embedder_license: MIT, license_policy: commercial',
        "embedder: \"exec:python '/opt/my tools/embed.py' --fast\"",
        'embedder: "path:models/clip", license_policy: commercial',
        'safety: "exec:python /opt/scan.py"',
    ],
)
def test_an_embedder_that_may_be_there_is_taken(text: str):
    assert not load_config(qa(text)).notes


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("embedder: clip", "`clip` is no embedder", "expected `classic:`"),
        ('embedder: "clap:models/x"', "is no embedder", "`torchscript:<file>`"),
        ('embedder: "classic:x"', "is no embedder", "write `classic:`"),
        ('embedder: "path:"', "names nothing", "`path:<folder>`"),
        ('embedder: "onnx: "', "names nothing", "`onnx:<file>`"),
        ('embedder: "path:../clip"', "leads out of the repository", "relative path"),
        ('embedder: "onnx:/etc/e.onnx"', "leads out of the repository", "relative path"),
        ('embedder: "hf:clip"', "names no model", "`hf:<owner>/<name>@<commit>`"),
        ('embedder: "hf:openai/clip"', "no full commit id", "git ls-remote"),
        ('embedder: "hf:openai/clip@main"', "no full commit id", "`hf:openai/clip@<commit>`"),
        (f'embedder: "hf:openai/clip@{HEX[:12]}"', "no full commit id", "git ls-remote"),
        ('embedder: "exec:python \'x"', "is no command line: no closing quotation", "shell"),
        ("embedder: \"exec:''\"", "names no program", "exec:python"),
        ("safety: scan.py", "expected `exec:<command>`", "such as"),
        ('safety: "exec:"', "names nothing", "expected"),
        (
            'embedder: "onnx:e.onnx", license_policy: commercial',
            "refuses the embedder: its license is not known",
            "`embedder_license`",
        ),
        (
            'embedder: "path:m", embedder_license: CC-BY-NC-4.0, license_policy: commercial',
            "`CC-BY-NC-4.0` is not among",
            "another embedder",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_at_its_line(text: str, words: str, hint: str):
    (found,) = findings(qa(text))
    assert words in found.message
    assert found.hint
    assert hint in found.hint
    assert found.line == LINE


def test_a_license_of_what_is_ours_has_no_effect():
    (note,) = load_config(qa('embedder: "classic:", embedder_license: MIT')).notes
    assert "no effect" in note.message


@pytest.mark.parametrize("key", ["prompts", "flexibility_prompts", "base_prompts"])
def test_more_prompts_than_anybody_could_wait_for_are_refused_at_their_line(key: str):
    many = ", ".join(f"mei {number}" for number in range(10_000))
    (found,) = findings(qa(f"{key}: [{many}]"))
    assert found.line == LINE
    assert "500" in found.message
    assert key in found.message
    assert not load_config(qa(f"{key}: [{', '.join(many.split(', ')[:500])}]")).notes
