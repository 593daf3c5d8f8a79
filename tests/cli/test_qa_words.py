"""What follows `lora-ci qa`: an action, a LoRA or a file; and what no file can be judged with."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_ci.cli.main import main, spelled_out
from lora_ci.cli.qa import ACTIONS
from lora_ci.cli.qa_file import parse_gate
from lora_ci.core.errors import UsageError
from tests.command import Told, assert_one_message, lora_ci

HEAVY = {"torch", "numpy", "PIL", "diffusers", "transformers", "dvc", "sqlalchemy", "flask"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["mei"], ["run", "mei"]),
        (["mei", "zoe", "--json"], ["run", "mei", "zoe", "--json"]),
        (["mei.safetensors"], ["file", "mei.safetensors"]),
        (["MEI.SAFETENSORS", "--base", "b"], ["file", "MEI.SAFETENSORS", "--base", "b"]),
        (["out/mei"], ["file", "out/mei"]),
        (["there"], ["file", "there"]),
        (["folder"], ["run", "folder"]),
        (["compare", "a", "b"], ["compare", "a", "b"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_a_word_is_an_action_or_a_file_or_a_lora(tmp_path, monkeypatch, words, meant):
    monkeypatch.chdir(tmp_path)
    Path("there").touch()
    Path("folder").mkdir()
    assert spelled_out(["qa", *words]) == ["qa", *meant]


def test_an_action_wins_over_a_file_of_its_name_and_other_commands_are_left_alone(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ACTIONS:
        Path(name).touch()
        assert spelled_out(["qa", name]) == ["qa", name]
    assert spelled_out(["run", "qa", "rejudge"]) == ["run", "qa", "rejudge"]
    assert spelled_out(["--version"]) == ["--version"]


def loaded(*commands: str) -> set[str]:
    """Top-level modules that the commands have loaded when they end."""
    code = (
        "import sys; from lora_ci.cli.main import main\n"
        "for words in sys.argv[1:]:\n"
        "    try: main(words.split())\n"
        "    except SystemExit: pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def test_help_and_comparing_load_nothing_heavy():
    assert not loaded("qa --help", "qa file --help", "qa compare a b") & HEAVY


def test_no_help_loads_what_makes_pictures():
    asked = [f"qa {action} --help" for action in ACTIONS]
    assert not loaded(*asked) & {"torch", "diffusers", "transformers"}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_its_help(capsys, action):
    with pytest.raises(SystemExit) as ended:
        main(["qa", action, "--help"])
    assert ended.value.code == 0
    assert f"lora-ci qa {action}" in capsys.readouterr().out


def test_the_help_names_every_action(capsys):
    with pytest.raises(SystemExit):
        main(["qa", "--help"])
    told = capsys.readouterr().out
    assert all(action in told for action in ACTIONS)


def test_without_an_action_the_usage_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["qa"])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert "<action>" in told.err


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("identity >= 0.7", ("identity", ">= 0.7")),
        ("loss.gap<0.1", ("loss.gap", "< 0.1")),
        (" leakage <= -1 ", ("leakage", "<= -1")),
    ],
)
def test_gates(text, gate):
    assert parse_gate(text) == gate


@pytest.mark.parametrize(
    "text", ["", "identity", ">= 0.7", "identity >=", "identity >= x", "identity == 1", "a >= 1 2"]
)
def test_what_is_no_gate(text):
    with pytest.raises(UsageError, match="--gate"):
        parse_gate(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Names alone: nothing of it is ever read."""
    root = tmp_path_factory.mktemp("door")
    for folder in ("base", "empty", "pictures", "models"):
        (root / folder).mkdir()
    (root / "pictures" / "one.png").touch()
    (root / "mei.safetensors").touch()
    lora = "{dataset: d, base_model: b}"
    (root / "config.yml").write_text(f"version: 1\nloras:\n  mei: {lora}\n  zoe: {lora}\n")
    return root


GIVEN = ("mei.safetensors", "--base", "base", "--trigger", "mei")
DOOR = {
    "no adapter": (("no.safetensors", "--base", "base"), ("ADAPTER no.safetensors", "no such")),
    "a folder for an adapter": (("./base", "--base", "base"), ("ADAPTER base", "a folder")),
    "no base": (("mei.safetensors", "--base", "nowhere"), ("--base nowhere", "no such folder")),
    "a file for a base": (
        ("mei.safetensors", "--base", "config.yml"),
        ("--base config.yml", "expected a folder"),
    ),
    "no references": ((*GIVEN, "--references", "nowhere"), ("--references nowhere", "ls .")),
    "empty references": ((*GIVEN, "--references", "empty"), ("--references empty", ".png")),
    "empty dataset": ((*GIVEN, "--dataset", "empty"), ("--dataset empty", "no pictures")),
    "no released one": ((*GIVEN, "--released", "x"), ("--released x", "no such file")),
    "no second one": ((*GIVEN, "--with", "x"), ("--with x", "no such file")),
    "no embedder": ((*GIVEN, "--embedder", "path:no"), ("--embedder path:no", "not there")),
    "not an embedder": ((*GIVEN, "--embedder", "clip"), ("--embedder", "path:<folder>")),
    "no metric": ((*GIVEN, "--gate", "identiti >= 1"), ("`identiti`", "did you mean `identity`")),
    "no gate": ((*GIVEN, "--gate", "identity > much"), ("--gate 'identity > much'", "such as")),
    "an empty prompt": (
        (*GIVEN, "--flexibility-prompt", " "),
        ("--flexibility-prompt: an empty prompt",),
    ),
    "no such test": ((*GIVEN, "--skip", "vibes"), ("--skip", "vibes", "loss-gap")),
    "no seeds": ((*GIVEN, "--seeds", "0"), ("--seeds", ">= 1")),
    "too many steps": ((*GIVEN, "--steps", "5000"), ("--steps", "<= 1000")),
    "a file for the report": ((*GIVEN, "--out", "config.yml"), ("--out config.yml", "File exists")),
    "a file for the cache": ((*GIVEN, "--cache", "config.yml"), ("--cache config.yml",)),
    "a folder for JUnit": ((*GIVEN, "--junit", "base"), ("--junit base",)),
    "no config": ((*GIVEN, "--config", "no.yml"), ("no.yml",)),
    "which LoRA": ((*GIVEN, "--config", "config.yml"), ("has 2 LoRAs", "--lora", "mei, zoe")),
    "no such LoRA": (
        (*GIVEN, "--config", "config.yml", "--lora", "tom"),
        ("no LoRA `tom`", "mei, zoe"),
    ),
}


@pytest.fixture
def typed(place, tmp_path, monkeypatch, capsys) -> Callable[..., Told]:
    """Types a command in the place."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(*words: str) -> Told:
        code = main(words)
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


@pytest.mark.parametrize("case", DOOR)
def test_what_cannot_be_judged_is_told_at_the_door(typed, place, case):
    words, expected = DOOR[case]
    told = typed("qa", *words)
    assert_one_message(told, 2, *expected)
    assert told.out == ""
    assert not (place / "mei.qa" / "ledger.db").exists()


def test_with_json_the_error_is_json(typed):
    told = typed("qa", "no.safetensors", "--base", "base", "--json")
    assert told.code == 2
    assert json.loads(told.out)["schema"] == "lora-ci.error/1"


def test_a_place_that_nobody_may_write_in(place, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    words = ("qa", *GIVEN, "--out", str(closed / "x"))
    told = lora_ci(place, *words, without_root_powers=True)
    assert_one_message(told, 2, f"--out {closed / 'x'}", "Permission denied")
