"""Texts of a config that a terminal or a log would obey."""

import json

import pytest

from lora_ci.config.load import load_config
from tests.config.told import SMALL, findings

HOSTILE = ["a\n::error::pwn", "\x1b[2J", "a\0b", "\x9b31m", "\u202egnp", "a\u2028b", "a\n"]
PLACES = [
    "    trigger: {}",
    "    qa: {{references: {}}}",
    "    deploy: {{targets: [{}]}}",
    "    deploy: {{channels: [a, {}]}}",
    "    needs: [{}]",
    "    train: {}",
    "policy: {{approvers: [{}]}}",
    "paths: [{}]",
    "runners: {{{}: {{gpus: 1}}}}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_holds_what_is_obeyed(text):
    for place in PLACES:
        found = findings(SMALL + place.format(json.dumps(text)).encode() + b"\n")
        assert ("config.control", 6) in {(f.rule, f.line) for f in found}, place


@pytest.mark.parametrize("key", ["dataset", "base_model"])
def test_nor_do_the_inputs(key):
    text = SMALL.replace(f"{key}: ".encode(), f'{key}: "a\\n::error::pwn" #'.encode())
    (finding,) = findings(text)
    assert (finding.rule, finding.line) == ("config.control", 4 + (key == "base_model"))
    assert finding.message == "`a�::error::pwn` has a control character, U+000A"


def test_nor_do_files_of_sections_and_kohyas():
    files = {
        "qa.toml": b'references = "a\\n::error::pwn"\n',
        "d.toml": b'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a\\u001b[2J"\n',
    }
    (finding,) = findings(SMALL + b"    qa: qa.toml\n", files)
    assert (finding.rule, finding.file, finding.line) == ("config.control", "qa.toml", 1)
    (finding,) = findings(SMALL.replace(b"datasets/mei", b"d.toml"), files)
    assert (finding.rule, finding.file, finding.line) == ("config.control", "d.toml", 3)


def test_prompts_may_have_several_lines_and_names_any_letters():
    text = SMALL + '    trigger: "mei 👩\u200d🎨\u3000é"\n'.encode()
    lora = load_config(
        text + b"    qa:\n      prompts:\n        - |\n          a {trigger}\n"
    ).loras
    assert lora["mei"].qa.prompts == ("a {trigger}\n",)
    (finding,) = findings(SMALL + b'    qa: {prompts: ["a\\e[2J"]}\n')
    assert finding.rule == "config.control"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (b"#" * 1_000_001, "next: ls -l .lora-ci.yml; "),
        (b"a: \xff", "write it anew as UTF-8; next: iconv -f ISO-8859-1"),
        ("a: b".encode("utf-16"), "write it anew as UTF-8; next: iconv -f UTF-16"),
        (b"a: [", "see that line"),
        (b"[" * 40, "see that line"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_to_do_about_the_file(text, hint):
    (finding,) = findings(text)
    assert (finding.hint or "").startswith(hint)
