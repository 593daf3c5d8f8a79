"""Settings that another trainer cannot follow are told at their lines."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lora_ci.config.backends import CANNOT, CANNOT_VALUES, OPTION
from lora_ci.config.load import load_config
from lora_ci.core.settings import TrainSettings
from tests.config.told import SMALL, errors, findings

DOCS = Path(__file__).parents[2] / "docs" / "backends.md"
SD = "backend: sd-scripts, backend_folder: /opt/sd-scripts"
AI = "backend: ai-toolkit, backend_folder: /opt/ai-toolkit"
COMMAND = 'backend: command, command: [train, "{config}"]'
LINE = 6


def train(text: str) -> bytes:
    return SMALL + f"    train: {{{text}}}\n".encode()


@pytest.mark.parametrize("named", [SD, AI, COMMAND])
def test_a_trainer_of_others_is_taken(named: str):
    config = load_config(train(f"{named}, modules: [attention, feed-forward], flip: true"))
    assert not config.notes
    assert config.loras["mei"].train.flip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("backend: sd-scripts", "needs `backend_folder`"),
        ("backend: ai-toolkit", "needs `backend_folder`"),
        ("backend: command", "needs `command`"),
        ("backend: sd-scripts, backend_folder: here", "expected an absolute path"),
        (f"{COMMAND}, backend_version: v1", "needs `backend_folder`, whose commit it is"),
        ('backend: command, command: [train, "{outptu}"]', "`{outptu}` stands for nothing"),
        (f"{SD}, method: dora", "`method`: sd-scripts has no DoRA"),
        (f"{SD}, ema_decay: 0.9", "`ema_decay`: sd-scripts keeps no running mean"),
        (f"{SD}, ranks: {{attn2: 4}}", "`ranks`: sd-scripts has one rank"),
        (f"{SD}, modules: [to_q]", "`to_q` is none"),
        (f"{AI}, optimizer: schedule-free-adamw", "has no `schedule-free-adamw`"),
        (f"{AI}, schedule: cosine, warmup_steps: 5", "`warmup_steps`: ai-toolkit warms up"),
        (f"{AI}, shuffle_captions: true", "`shuffle_captions`: ai-toolkit shuffles the trigger"),
        (f"{SD}, backend_arguments: {{output_dir: /tmp}}", "is made from other settings"),
        (f"{SD}, backend_arguments: {{Bad-Name: 1}}", "is no option of sd-scripts"),
        (f"{AI}, backend_arguments: {{quantize: true}}", "is no option of ai-toolkit"),
        (f"{AI}, backend_arguments: {{train.steps: 1}}", "is made from other settings"),
        (f"{AI}, backend_arguments: {{save.push_to_hub: true}}", "sends the adapter"),
        (f"{AI}, backend_arguments: {{save.hf_repo_id: me/it}}", "sends the adapter"),
        (f"{SD}, backend_arguments: {{huggingface_repo_id: me/it}}", "sends the adapter"),
        (f"{SD}, backend_arguments: {{save_state_to_huggingface: true}}", "sends the adapter"),
        (f"{SD}, backend_arguments: {{wandb_api_key: k}}", "or is a secret"),
        (f"{SD}, backend_arguments: {{log_with: wandb}}", "sends the adapter"),
    ],
)
def test_what_it_cannot_is_an_error_at_its_line(text: str, words: str):
    (told,) = errors(train(text))
    assert told.startswith(f".lora-ci.yml:{LINE}:")
    assert words in told


def test_the_hints_say_what_to_write():
    (finding,) = findings(train(f"{SD}, ema_decay: 0.9"))
    assert finding.hint == "remove `ema_decay`, or train with `backend: native`"
    (finding,) = findings(train('backend: command, command: ["{outputs}"]'))
    assert finding.hint == "did you mean `output`?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SD, "attention and feed-forward layers alike"),
        (f"{AI}, sample_every: 10", "`sample_every` has no effect with `backend: ai-toolkit`"),
        (f"{AI}, command: [train]", "`command` has no effect with `backend: ai-toolkit`"),
        ("backend_folder: /opt/x", "`backend_folder` has no effect with `backend: native`"),
    ],
)
def test_what_it_passes_over_is_a_note(text: str, words: str):
    (note,) = load_config(train(text)).notes
    assert words in note.message
    assert note.line == LINE


def test_what_cannot_be_done_are_settings_that_there_are():
    plain = TrainSettings()
    for table in (*CANNOT.values(), *CANNOT_VALUES.values()):
        assert all(hasattr(plain, key) for key in table)
    assert (
        set(CANNOT) == set(CANNOT_VALUES) == set(OPTION) == {"sd-scripts", "ai-toolkit", "command"}
    )


def test_the_documentation_tells_of_every_setting():
    text = DOCS.read_text()
    named = set(re.findall(r"`(?:train\.)?(\w+)", text))
    assert {f.name for f in fields(TrainSettings)} - named == set()
    example, _ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    config = load_config(example.encode())
    assert config.policy.commands
    assert not config.notes
