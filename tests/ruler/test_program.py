"""A program that embeds may do anything: what it did is told, and nothing of it is left alive."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lora_ci.core.embedders import parse_embedder
from lora_ci.core.errors import InfrastructureError, LoraCIError
from lora_ci.ruler.command import CommandEmbedder
from lora_ci.ruler.program import BATCH
from tests.tiny_embedders import write_program

pytestmark = pytest.mark.slow

PICTURES = [np.full((8, 8, 3), 40 * value, np.uint8) for value in range(3)]
ANSWER = """
import json, os, sys, time
def say(answer):
    print(json.dumps(answer), flush=True)
for line in sys.stdin:
    asked = json.loads(line)["pictures"]
"""


def program(place: Path, text: str, answer_s: float = 20.0) -> CommandEmbedder:
    spec = write_program(place, text)
    return CommandEmbedder(command=parse_embedder(spec).command, spec=spec, answer_s=answer_s)


def fault(place: Path, text: str, kind: type[LoraCIError], answer_s: float = 20.0) -> str:
    with pytest.raises(kind) as caught:
        program(place, text, answer_s).embed_pictures(PICTURES)
    assert str(caught.value).startswith("embedder `exec:")
    return str(caught.value)


def test_pictures_arrive_as_they_are_and_many_go_in_batches(tmp_path):
    text = ANSWER + (
        "    from PIL import Image\n"
        "    say({'vectors': [[Image.open(p).getpixel((0, 0))[0], len(asked)] for p in asked]})\n"
    )
    many = [np.full((8, 8, 3), value, np.uint8) for value in range(BATCH + 5)]
    found = program(tmp_path, text).embed_pictures(many)
    ratio = np.round(found[:, 0] / found[:, 1], 6)
    assert np.allclose(
        ratio, [value / (BATCH if value < BATCH else 5) for value in range(len(many))]
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("say({'vectors': [[1, 2]]})", "it gave 1 vectors; expected 3"),
        ("say({'vectors': [[1, 2]] * 2 + [[1]]})", "no numbers in rows of one length"),
        ("say({'vectors': [[float('nan'), 1]] * 3})", "vector 1 of 3 has NaN or infinity"),
        ("say({'vectors': [[0, 0]] * 3})", "vector 1 of 3 is all zero"),
        ("say({'vectors': None})", "of shape []"),
        ("say({'features': 1})", "answered with features; expected `vectors`"),
        ("say([1])", "expected a JSON object on one line"),
        ("print('loading…', flush=True)", "answered `loading…`"),
        ("say({'vectors': 'none.npy'})", "its file none.npy cannot be read"),
        (
            "import pickle; open('v.npy', 'wb').write(pickle.dumps([1]));"
            " say({'vectors': 'v.npy'})",
            "its file v.npy cannot be read",
        ),
        (
            "import numpy; numpy.save('v.npy', numpy.array([{}], dtype=object));"
            " say({'vectors': 'v.npy'})",
            "its file v.npy cannot be read",
        ),
    ],
)
def test_an_answer_that_is_none_is_the_program_s_fault(tmp_path, line, words):
    assert words in fault(tmp_path, f"{ANSWER}    {line}\n", InfrastructureError)


def test_an_answer_without_end_is_cut_off(tmp_path):
    text = ANSWER + "    sys.stdout.write('x' * (20 << 20)); sys.stdout.flush(); time.sleep(60)\n"
    started = time.monotonic()
    assert "more than 16 MiB" in fault(tmp_path, text, InfrastructureError)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys; sys.exit('no weights here')", "ended with code 1 before it answered"),
        ("raise MemoryError('of the card')", "MemoryError: of the card"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9"),
        ("pass", "ended with code 0"),
        ("import sys; sys.stderr.write('x' * 500_000 + 'the last words'); sys.exit(3)",
         "the last words"),
    ],
)  # fmt: skip
def test_one_that_ends_is_told_with_its_last_words(tmp_path, text, words):
    said = fault(tmp_path, text, InfrastructureError)
    assert words in said
    assert len(said) < 3000


def test_one_that_cannot_be_started_is_told(tmp_path):
    embedder = CommandEmbedder(command=("/nowhere/embed",), spec="exec:/nowhere/embed")
    with pytest.raises(
        InfrastructureError, match="cannot be started: /nowhere/embed: No such file"
    ):
        embedder.embed_pictures(PICTURES)


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("group", [False, True], ids=["same group", "own group"])
def test_one_that_hangs_is_killed_with_its_children(tmp_path, group):
    text = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '300'], start_new_session={group})\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(300)\n"
    )
    started = time.monotonic()
    said = fault(tmp_path, text, InfrastructureError, answer_s=2.0)
    assert "did not answer within 2 s" in said
    assert time.monotonic() - started < 15
    pid = int((tmp_path / "pid").read_text())
    try:
        assert wait_until_gone(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)


def test_each_answer_has_its_own_time(tmp_path):
    text = ANSWER + "    time.sleep(1.5)\n    say({'vectors': [[1, 2]] * len(asked)})\n"
    many = [PICTURES[0]] * (2 * BATCH + 1)
    assert program(tmp_path, text, answer_s=4.0).embed_pictures(many).shape == (2 * BATCH + 1, 2)


def test_it_gets_no_secrets_and_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("HF_HOME_TOKEN", "secret")
    text = ANSWER + (
        f"    json.dump([dict(os.environ), os.getcwd()], open({str(tmp_path / 'seen')!r}, 'w'))\n"
        "    say({'vectors': [[1, 2]] * len(asked)})\n"
    )
    program(tmp_path, text).embed_pictures(PICTURES)
    environment, folder = json.loads((tmp_path / "seen").read_text())
    assert "secret" not in environment.values()
    assert "PATH" in environment
    assert not Path(folder).exists()


def test_the_program_in_the_docs_works(tmp_path):
    docs = (Path(__file__).parents[2] / "docs" / "embedders.md").read_text()
    text = docs.partition("```python\n")[2].partition("```")[0]
    assert "sys.stdin" in text
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    found = program(tmp_path, text).embed_pictures(list(noise))
    assert found.shape[0] == 4
    assert np.array_equal(found, program(tmp_path, text).embed_pictures(list(noise)))
