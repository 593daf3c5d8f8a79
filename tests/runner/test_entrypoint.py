"""A runner's life: registered for one job, run once, gone. Against the fake GitHub."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_github import FakeGitHub
from tests.fake_github.state import Runner
from tests.runner_place import NOBODY, STEP, Machine, alive, wait_until

pytestmark = pytest.mark.slow

# Nobody listens there: whoever asks GitHub fails with another exit code.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not tmp_path: another user must be able to reach it.
    root = Path(tempfile.mkdtemp(prefix="runner-"))
    root.chmod(0o755)
    yield Machine(root)
    shutil.rmtree(root)


@pytest.fixture
def hub(machine: Machine) -> Iterator[FakeGitHub]:
    with FakeGitHub() as hub:
        hub.add_repo("acme/loras")
        machine.env |= {
            "GITHUB_API_URL": hub.api_url,
            "GITHUB_TOKEN": hub.token({"administration": "write"}),
            "LORA_CI_RUNNER_FOR": "acme/loras",
            "STUB": "exit-0",
        }
        yield hub


def names(hub: FakeGitHub) -> list[str]:
    return [runner.name for runner in hub.repo("acme/loras").runners.values()]


def test_it_is_registered_for_one_job_and_leaves_nothing(machine: Machine, hub: FakeGitHub):
    code, said = machine.run(LORA_CI_RUNNER_LABELS="self-hosted,lora")
    assert code == 0, said
    assert hub.count("POST", "/generate-jitconfig", status=201) == 1
    assert hub.count("DELETE", status=204) == 1
    assert names(hub) == []
    assert sorted(p.name for p in (machine.root / "home").rglob("*")) == ["home"]


def test_neither_the_token_nor_the_registration_can_be_seen(machine: Machine, hub: FakeGitHub):
    token = machine.env["GITHUB_TOKEN"]
    code, said = machine.run(STUB="peek")
    assert code == 0, said
    env = dict(line.split("=", 1) for line in machine.out("env").splitlines() if "=" in line)
    config = env.pop("ACTIONS_RUNNER_INPUT_JITCONFIG")
    assert not [name for name in env if name.startswith(("GITHUB_", "LORA_CI_RUNNER_"))]
    assert env["ACTIONS_RUNNER_HOOK_JOB_STARTED"].endswith("/hooks/job-started.sh")
    for text in (machine.out("cmdline"), said):
        assert token not in text
        assert config not in text
    # What the job itself can find out of the process above it.
    assert machine.out("peeked") == ""
    assert machine.out("refused").count("Permission denied") == 2


def test_an_organisation_and_labels(machine: Machine, hub: FakeGitHub):
    token = hub.token(kind="classic", login="mei", scopes=("repo", "admin:org"))
    code, said = machine.run(
        LORA_CI_RUNNER_FOR="acme", GITHUB_TOKEN=token, LORA_CI_RUNNER_GROUP="3", STUB="exit-0"
    )
    assert code == 0, said
    assert hub.count("POST", "/orgs/acme/actions/runners/generate-jitconfig", status=201) == 1


def test_a_token_file_is_taken_away(machine: Machine, hub: FakeGitHub):
    file = machine.root / "token"
    file.write_text(machine.env.pop("GITHUB_TOKEN") + "\n")
    if os.geteuid() == 0:
        os.chown(file, NOBODY, NOBODY)
    assert machine.run(GITHUB_TOKEN_FILE=str(file))[0] == 0
    assert not file.exists()
    code, said = machine.run(GITHUB_TOKEN_FILE=str(file))
    assert code == 2
    assert "the job could read it" in said


@pytest.mark.slow
def test_a_lost_answer_leaves_a_runner_that_the_next_start_takes_away(
    machine: Machine, hub: FakeGitHub
):
    hub.faults.add(match="POST */generate-jitconfig", kind="502_after_write")
    assert machine.run()[0] == 0
    assert len(names(hub)) == 1  # GitHub knows it, we never heard of it
    (lost,) = names(hub)
    hub.faults.add(match="DELETE *", kind="502_after_write")
    code, said = machine.run()
    assert code == 0, said
    assert f"took away {lost}" in said
    assert names(hub) == []


def test_runners_of_other_machines_stay(machine: Machine, hub: FakeGitHub):
    runners = hub.repo("acme/loras").runners
    for number, (name, status) in enumerate(
        [("gpu01-0a0a0a0a", "offline"), ("gpu0-0a0a0a0a", "online"), ("gpu0", "offline")], 900
    ):
        runners[number] = Runner(number, name, ("lora",), 1, status)
    assert machine.run()[0] == 0
    assert len(names(hub)) == 3


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GITHUB_TOKEN": "ghs_wrong"}, "401"),
        ({"LORA_CI_RUNNER_FOR": "acme/other"}, "is `acme/other` right?"),
    ],
)
def test_what_github_refuses(machine: Machine, hub: FakeGitHub, env: dict[str, str], words: str):
    code, said = machine.run(**env)
    assert code == 4, said
    assert words in said
    assert "next: " in said


@pytest.mark.slow
def test_it_waits_as_long_as_github_asks_and_heeds_a_signal_meanwhile(
    machine: Machine, hub: FakeGitHub
):
    hub.faults.add(match="POST *", kind="403_secondary", times=None, retry_after_s=100)
    process = machine.start()
    wait_until(lambda: hub.count("POST") == 1, "the first try")
    process.send_signal(signal.SIGTERM)
    code, said = machine.end(process)
    assert code == 0
    assert "stopped before there was a job" in said
    hub.faults.clear()
    hub.faults.add(match="POST *", kind="403_secondary", retry_after_s=1)
    assert machine.run()[0] == 0


def test_too_small_a_token(machine: Machine, hub: FakeGitHub):
    code, said = machine.run(GITHUB_TOKEN=hub.token({"contents": "write"}))
    assert code == 4
    assert "Administration: write" in said


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LORA_CI_RUNNER_FOR": ""}, "LORA_CI_RUNNER_FOR"),
        ({"LORA_CI_RUNNER_FOR": "acme/../loras"}, "LORA_CI_RUNNER_FOR"),
        ({"LORA_CI_RUNNER_FOR": "acme/loras\n"}, "LORA_CI_RUNNER_FOR"),
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN"),
        ({"GITHUB_TOKEN": "two words"}, "GITHUB_TOKEN"),
        ({"LORA_CI_RUNNER_LABELS": "a, b"}, "LORA_CI_RUNNER_LABELS"),
        ({"LORA_CI_RUNNER_GROUP": "x"}, "LORA_CI_RUNNER_GROUP"),
        ({"LORA_CI_RUNNER_HOME": "/"}, "emptied"),
        ({"LORA_CI_RUNNER_SOURCE": "/nowhere"}, "run.sh"),
        ({"RUNNER_TOKEN": "AAAA"}, "only just-in-time"),
        ({"ACTIONS_RUNNER_INPUT_TOKEN": "AAAA"}, "only just-in-time"),
    ],
)
def test_wrong_settings(machine: Machine, env: dict[str, str], words: str):
    right = {"GITHUB_API_URL": NOWHERE, "GITHUB_TOKEN": "ghs_x", "LORA_CI_RUNNER_FOR": "acme/loras"}
    code, said = machine.run(**right | env)
    assert code == 2, said
    assert words in said


def test_a_runner_that_stays_is_refused(machine: Machine):
    right = {"GITHUB_API_URL": NOWHERE, "GITHUB_TOKEN": "ghs_x", "LORA_CI_RUNNER_FOR": "acme/loras"}
    assert machine.run("run", **right)[0] == 2  # it has no arguments, such as config.sh's
    (machine.root / "source" / ".runner").write_text("{}")
    code, said = machine.run(**right)
    assert code == 2
    assert "registered for good" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as root")
def test_no_job_runs_as_root(machine: Machine, hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.runner_place.as_nobody", list)
    code, said = machine.run()
    assert code == 2
    assert "root" in said
    assert hub.requests == []


def test_a_stopped_job_writes_its_checkpoint_and_the_next_goes_on(
    machine: Machine, hub: FakeGitHub
):
    process = machine.start(STUB="job")
    machine.wait_for("busy")
    left = int(machine.wait_for("left"))
    process.send_signal(signal.SIGTERM)
    code, said = machine.end(process)
    assert code == 0, said
    assert "kept the checkpoints of 1 unfinished step" in said
    assert names(hub) == []
    assert not alive(left)
    (machine.root / "out" / "busy").unlink()
    process = machine.start(STUB="job")
    machine.wait_for("busy")
    process.send_signal(signal.SIGINT)
    assert machine.end(process)[0] == 0
    assert machine.out("resumed") == "50\n"


def test_a_killed_runner_is_cleaned_up_after(machine: Machine, hub: FakeGitHub):
    process = machine.start(STUB="job")
    runner, left = int(machine.wait_for("busy")), int(machine.wait_for("left"))
    process.kill()
    process.wait()
    assert alive(runner)
    assert names(hub) != []
    code, said = machine.run()
    assert code == 0, said
    assert not alive(left)
    assert not alive(runner)
    assert names(hub) == []
    (kept,) = (machine.root / "keep").rglob("checkpoints")
    assert kept.parent.name == STEP
    assert not (machine.root / "home" / "home" / ".left").exists()


def test_a_deaf_runner_is_killed(machine: Machine, hub: FakeGitHub):
    process = machine.start(STUB="deaf", LORA_CI_RUNNER_GRACE_S="0")
    runner = int(machine.wait_for("busy"))
    process.send_signal(signal.SIGTERM)
    code, said = machine.end(process)
    assert code == 0
    assert "is killed" in said
    wait_until(lambda: not alive(runner), "its end")
    assert names(hub) == []


@pytest.mark.parametrize(("ends", "code"), [("1", 1), ("7", 4)])
def test_how_the_runner_ends(machine: Machine, hub: FakeGitHub, ends: str, code: int):
    found, said = machine.run(STUB=f"exit-{ends}")
    assert found == code
    assert ("RUNNER_VERSION" in said) == (ends == "7")


def test_a_registration_that_another_one_made(machine: Machine):
    config = {"ACTIONS_RUNNER_INPUT_JITCONFIG": "aGVsbG8="}
    code, said = machine.run(STUB="exit-0", **config)
    assert code == 0, said
    assert "ACTIONS_RUNNER_INPUT_JITCONFIG=aGVsbG8=" in machine.out("env")
