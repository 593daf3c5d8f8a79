"""What the doctor says of machines: made-up ones by value, this one for real."""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from lora_ci.config.model import Config, Lora, Source
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.settings import ResourceSettings
from lora_ci.doctor.checked import Checked, State, examine, ok
from lora_ci.doctor.gpu import check_driver, check_memory
from lora_ci.doctor.host import check_clock, check_token, check_webhook, repository_name
from lora_ci.doctor.machine import Answer, Disk, Ran, ThisMachine, Torch
from lora_ci.doctor.tools import check_disk, check_git, check_state, file_system
from tests.builders import RepoBuilder
from tests.command import assert_one_message, lora_ci
from tests.fake_github import FakeGitHub

GIB = 1024**3
API = "https://api.example.org"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CUDA = Torch("2.13.0+cu130", "13.0")


@dataclass(slots=True)
class Made:
    """A machine that answers as it was made to."""

    smi: Ran | None = None
    git: Ran | None = None
    installed: Torch | None = CUDA
    free: Disk = field(
        default_factory=lambda: Disk(free_bytes=99 * GIB, free_inodes=90, inodes=100)
    )
    mounted: str = ""
    answer: Answer | None = None
    asked: list[tuple[str, str, Mapping[str, str], bytes | None]] = field(default_factory=list)

    def run(self, *command: str) -> Ran | None:
        return self.smi if command[0] == "nvidia-smi" else self.git

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        self.asked.append((method, url, headers, body))
        assert self.answer
        return self.answer

    def disk(self, folder: Path) -> Disk:
        return self.free

    def mounts(self) -> str:
        return self.mounted

    def now(self) -> datetime:
        return NOW

    def torch(self) -> Torch | None:
        return self.installed


def smi(*gpus: str) -> Ran:
    return Ran(0, "".join(f"{gpu}\n" for gpu in gpus), "")


A100 = "0, NVIDIA A100-SXM4-40GB, 580.65.06, 40960, 40500"
BUSY = "0, NVIDIA A100-SXM4-40GB, 580.65.06, 40960, 900"
OLD = "0, NVIDIA A100-SXM4-40GB, 570.133.20, 40960, 40500"


@pytest.mark.parametrize(
    ("ran", "torch", "needed", "state", "words"),
    [
        (smi(A100), CUDA, True, State.OK, "driver 580.65.06, 1 GPU, PyTorch 2.13.0+cu130"),
        (smi(OLD), CUDA, True, State.ERROR, "needs driver 580 or newer"),
        (smi(OLD), Torch("2.9", "12.8"), True, State.OK, "CUDA 12.8"),
        (smi(OLD), Torch("9", "21.1"), True, State.WARNING, "not known"),
        (smi(A100), Torch("2.13.0+cpu", None), True, State.ERROR, "the CPU alone"),
        (smi(A100), Torch("2.13.0+cpu", None), False, State.WARNING, "the CPU alone"),
        (smi(A100), None, True, State.ERROR, "not installed"),
        (None, CUDA, True, State.ERROR, "no GPU"),
        (None, CUDA, False, State.WARNING, "no GPU"),
        (None, None, False, State.SKIPPED, "no GPU"),
        (Ran(0, "No devices were found\n", ""), CUDA, True, State.ERROR, "no GPU"),
    ],
)
def test_driver_and_torch(
    ran: Ran | None, torch: Torch | None, needed: bool, state: State, words: str
):
    said = check_driver(Made(smi=ran, installed=torch), needed=needed)
    assert said.state is state
    assert words in said.found
    assert (said.fix is None) == (state in (State.OK, State.SKIPPED))


@pytest.mark.parametrize(
    "ran", [Ran(18, "Driver/library version mismatch\n", ""), smi("0, A, 580"), smi("[N/A]")]
)
def test_a_driver_that_does_not_answer_as_it_should(ran: Ran):
    said = examine({"driver": lambda: check_driver(Made(smi=ran), needed=False)})["driver"]
    assert said.state is State.ERROR
    assert "nvidia-smi" in said.found


def config(vram_gib: float, gpus: int = 1) -> Config:
    lora = Lora(
        name="mei",
        trigger="mei",
        dataset=(Source(path="d"),),
        base_model="m",
        resources=ResourceSettings(vram_gib=vram_gib, gpus=gpus),
    )
    return Config(loras={"mei": lora}, places={})


@pytest.mark.parametrize(
    ("ran", "asked", "needed", "state", "words"),
    [
        (smi(A100), config(24), True, State.OK, "`mei` asks for 24 GiB"),
        (smi(A100), config(80), True, State.ERROR, "40.0 GiB"),
        (smi(A100), config(80), False, State.WARNING, "40.0 GiB"),
        (smi(BUSY), config(24), True, State.WARNING, "another program has it"),
        (smi(BUSY, A100.replace("0,", "1,", 1)), config(24), True, State.OK, "GPU 1"),
        (smi(A100), config(0), True, State.OK, "no LoRA says"),
        (smi(A100), config(80, gpus=0), True, State.OK, "no LoRA says"),
        (None, config(24), True, State.ERROR, "24 GiB are asked for"),
        (None, config(24), False, State.SKIPPED, "no GPU"),
    ],
)
def test_memory(ran: Ran | None, asked: Config, needed: bool, state: State, words: str):
    said = check_memory(Made(smi=ran), lambda: asked, needed=needed)
    assert said.state is state
    assert words in said.found


def test_memory_without_a_config():
    def unreadable() -> Config:
        raise UsageError("no config")

    assert check_memory(Made(smi=smi(A100)), unreadable, needed=True).state is State.SKIPPED


@pytest.mark.parametrize(
    ("ran", "state"),
    [
        (Ran(0, "git version 2.39.5 (Apple Git-154)\n", ""), State.OK),
        (Ran(0, "git version 2.25.1\n", ""), State.ERROR),
        (Ran(0, "what?\n", ""), State.ERROR),
        (None, State.ERROR),
    ],
)
def test_git(ran: Ran | None, state: State):
    assert check_git(Made(git=ran)).state is state


@pytest.mark.parametrize(
    ("disk", "state"),
    [
        (Disk(free_bytes=99 * GIB, free_inodes=90, inodes=100), State.OK),
        (Disk(free_bytes=99 * GIB, free_inodes=0, inodes=0), State.OK),  # btrfs counts none
        (Disk(free_bytes=9 * GIB, free_inodes=90, inodes=100), State.WARNING),
        (Disk(free_bytes=1 * GIB, free_inodes=90, inodes=100), State.ERROR),
        (Disk(free_bytes=99 * GIB, free_inodes=3, inodes=100), State.WARNING),
        (Disk(free_bytes=99 * GIB, free_inodes=0, inodes=100), State.ERROR),
    ],
)
def test_disk(disk: Disk, state: State):
    assert check_disk(Made(free=disk), Path("/nowhere/.lora-ci")).state is state


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:41 / /mnt/my\\040share rw,relatime shared:2 - nfs4 server:/x rw,vers=4.2
31 22 8:2 / /mnt/my\\040share/local rw - xfs /dev/sdb1 rw
a line of no sense
"""


def test_which_file_system():
    assert file_system(Path("/home/mei"), MOUNTS) == "ext4"
    assert file_system(Path("/mnt/my share/repo"), MOUNTS) == "nfs4"
    assert file_system(Path("/mnt/my share/local/repo"), MOUNTS) == "xfs"
    assert file_system(Path("/home/mei"), "") is None


def test_state_on_a_network_and_where_nothing_may_be_written(tmp_path: Path):
    far = f"30 22 0:41 / {tmp_path} rw - nfs4 server:/x rw\n"
    said = check_state(Made(mounted=far), tmp_path / ".lora-ci")
    assert said.state is State.WARNING
    assert "locks" in said.found
    assert list(tmp_path.iterdir()) == []
    assert check_state(Made(), Path("/proc/1/.lora-ci")).state is State.ERROR


@pytest.mark.parametrize(
    ("off_s", "state"),
    [(2, State.OK), (-40, State.WARNING), (600, State.ERROR), (-600, State.ERROR)],
)
def test_clock(off_s: float, state: State):
    there = NOW - timedelta(seconds=off_s)
    answer = Answer(401, {"date": f"{there:%a, %d %b %Y %H:%M:%S} GMT"}, b"")
    said = check_clock(Made(answer=answer), API, asked=True)
    assert said.state is state
    assert f"{abs(off_s)} s {'ahead' if off_s > 0 else 'behind'}" in said.found


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Foo 2026"])
def test_a_host_without_a_clock(date: str):
    said = check_clock(Made(answer=Answer(200, {"date": date}, b"")), API, asked=True)
    assert said.state is State.SKIPPED


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (401, State.OK),
        (202, State.ERROR),
        (404, State.ERROR),
        (502, State.ERROR),
        (302, State.ERROR),
    ],
)
def test_webhook(status: int, state: State):
    made = Made(answer=Answer(status, {}, b""))
    assert check_webhook(made, "https://bot.example.org/webhook").state is state
    assert made.asked[0][2]["X-Hub-Signature-256"] == "sha256=" + "0" * 64
    assert check_webhook(made, "file:///etc/passwd").state is State.ERROR
    assert check_webhook(made, None).state is State.SKIPPED
    assert len(made.asked) == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/loras.git", "acme/loras"),
        ("git@github.com:acme/loras.git\n", "acme/loras"),
        ("ssh://git@github.example.org:2222/acme/loras", "acme/loras"),
        ("https://token@github.com/acme/loras/", "acme/loras"),
        ("/srv/git/loras.git", None),
        ("https://github.com/acme", None),
        ("", None),
    ],
)
def test_the_repository_of_a_remote(url: str, name: str | None):
    assert repository_name(url) == name


def test_one_that_breaks_or_hangs_does_not_end_the_others():
    forever = threading.Event()

    def breaks() -> Checked:
        raise TypeError("odd")

    def hangs() -> Checked:
        forever.wait(60)
        return ok("at last")

    def refuses() -> Checked:
        raise InfrastructureError("no such thing", hint="next: make one")

    before = time.monotonic()
    said = examine(
        {"hangs": hangs, "breaks": breaks, "refuses": refuses, "fine": lambda: ok("fine")}, 0.3
    )
    forever.set()
    assert time.monotonic() - before < 30
    assert list(said) == ["hangs", "breaks", "refuses", "fine"]
    assert [c.state for c in said.values()] == [State.ERROR] * 3 + [State.OK]
    assert "no answer within" in said["hangs"].found
    assert "TypeError: odd" in said["breaks"].found
    assert said["refuses"].fix == "next: make one"


# -- for real ---------------------------------------------------------------------------------


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        hub.add_repo("acme/loras")
        hub.grant("mei", "acme/loras", "write")
        hub.grant("bob", "acme/loras", "read")
        yield hub


def test_tokens(hub: FakeGitHub):
    machine = ThisMachine()

    def said(token: str | None, repo: str = "acme/loras") -> tuple[State, str]:
        checked = check_token(machine, hub.api_url, repo, token)
        assert token is None or token not in checked.found + (checked.fix or "")
        return checked.state, checked.found

    assert said(None)[0] is State.SKIPPED
    assert said("two words")[0] is State.ERROR
    assert "401" in said("ghs_wrong")[1]
    assert "does not see" in said(hub.token(), "acme/other")[1]
    classic = hub.token(kind="classic", login="mei")
    assert said(classic) == (
        State.WARNING,
        "a classic token with scopes repo that may write to acme/loras",
    )
    assert said(hub.token(kind="classic", login="mei", scopes=("gist",)))[0] is State.ERROR
    assert said(hub.token(kind="classic", login="bob"))[0] is State.ERROR
    fine = hub.token({"contents": "write"}, kind="fine", login="mei")
    assert said(fine)[0] in (State.OK, State.WARNING)
    hub.rename_repo("acme/loras", "acme/adapters")
    assert "another name" in said(classic)[1]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> RepoBuilder:
    repo = RepoBuilder(tmp_path_factory.mktemp("doctor"))
    repo.dvc_add("data", {"a.png": b"a"})
    repo.write(
        ".lora-ci.yml", "version: 1\nloras:\n  mei: {dataset: data, base_model: models/tiny}\n"
    )
    repo.commit()
    repo.git("init", "-q", "--bare", str(repo.root.parent / "origin"))
    repo.git("remote", "add", "here", str(repo.root.parent / "origin"))
    return repo


def test_this_machine(repo: RepoBuilder, hub: FakeGitHub):
    env = {
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_REPOSITORY": "acme/loras",
        "GITHUB_TOKEN": hub.token(kind="classic", login="mei"),
    }
    told = lora_ci(repo.root, "doctor", "--json", "--records", "here", env=env)
    found = json.loads(told.out)
    states = {name: checked["state"] for name, checked in found["checks"].items()}
    assert found["schema"] == "lora-ci.doctor/1"
    right = ("versions", "git", "config", "data", "clock", "records")
    assert {name: states[name] for name in right} == dict.fromkeys(right, "ok")
    assert states["webhook"] == "skipped"
    assert told.code == (1 if "error" in states.values() else 0)
    assert found["healthy"] == (told.code == 0)
    assert env["GITHUB_TOKEN"] not in told.out + told.err
    # It only looked.
    assert repo.git("ls-remote", "here") == ""
    assert repo.git("status", "--porcelain") == ""


def test_what_is_wrong_is_told_with_the_fix(repo: RepoBuilder, tmp_path: Path):
    shallow = tmp_path / "clone"
    repo.git("clone", "-q", str(repo.root), str(shallow))
    (shallow / ".dvc" / "config.local").write_text("['remote \"storage\"']\n    url = /nowhere\n")
    told = lora_ci(shallow, "doctor", "--records", "nobody", "--webhook", "http://127.0.0.1:9/")
    assert told.code == 1
    lines = told.out.splitlines()
    for name, words in (
        ("data", "no folder /nowhere"),
        ("records", "`nobody` takes no push: fatal: 'nobody' does not appear"),
        ("webhook", "gives no answer"),
    ):
        (at,) = (i for i, line in enumerate(lines) if line.split()[1] == name)
        assert lines[at].startswith("ERROR")
        assert words in lines[at]
        assert "→ next: " in lines[at + 1]


def test_a_machine_without_a_repository(tmp_path: Path):
    told = lora_ci(tmp_path, "doctor", "--json")
    checks = json.loads(told.out)["checks"]
    for name in ("config", "data", "memory", "token", "clock", "records"):
        assert checks[name]["state"] == "skipped", checks[name]
    assert told.code == 0, told.out


def test_what_is_to_run_the_steps_is_asked_without_a_server_too(tmp_path: Path):
    told = lora_ci(tmp_path, "doctor", "--executor", "ray=http://127.0.0.1:9", "--json")
    executor = json.loads(told.out)["checks"]["executor"]
    assert (told.code, executor["state"]) == (1, "error"), executor
    told = lora_ci(tmp_path, "doctor", "--ledger-url", "sqlite:///x.db")
    assert_one_message(told, 2, "--ledger-url is of a server", "--server FOLDER")


def test_a_machine_that_must_have_a_gpu(repo: RepoBuilder, tmp_path: Path):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{OLD}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    told = lora_ci(repo.root, "doctor", "--gpu", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert told.code == 1
    assert "driver 570.133.20, 1 GPU" in told.out


def test_a_program_that_hangs_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lora_ci.doctor.machine.TIMEOUT_S", 0.2)
    with pytest.raises(InfrastructureError, match="`sh` did not end"):
        ThisMachine().run("sh", "-c", "sleep 300 & wait")
    assert ThisMachine().run("no-such-program") is None


def test_pytorch_is_read_and_not_loaded():
    found = ThisMachine().torch()
    assert found is not None
    assert found.version.split("+")[0] == version("torch").split("+")[0]
    assert (found.cuda is None) == ("+cpu" in found.version)
