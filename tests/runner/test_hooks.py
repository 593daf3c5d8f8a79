"""Before and after a job: real folders, hostile names, nothing outside is touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.step import Outcome, StepResult
from lora_ci.execution.executor import step_folder
from lora_ci.steps.main import FINAL as OUTCOMES_THAT_STAND
from tests.runner_place import RUNNER, STEP, alive, wait_until

pytestmark = pytest.mark.slow

OTHER = "f" * 32
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
SAVING = """
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path("saved").write_text("50")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print(flush=True)
time.sleep(300)
"""


@dataclass(frozen=True, slots=True)
class Work:
    """A runner's work folder with the place of one job, and what lies outside."""

    root: Path

    @property
    def workspace(self) -> Path:
        return self.root / "_work" / "loras" / "loras"

    @property
    def step(self) -> Path:
        return self.workspace / ".lora-ci" / "steps" / STEP

    def start(self, word: str, **env: str) -> subprocess.Popen[str]:
        """Starts a hook as actions/runner does."""
        self.workspace.parent.mkdir(parents=True, exist_ok=True)
        given = {
            "PATH": os.environ["PATH"],
            "RUNNER_WORKSPACE": str(self.workspace.parent),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_REPOSITORY": "acme/loras",
            "GITHUB_REF": "refs/pull/7/merge",
            "LORA_CI_KEEP": str(self.root / "keep"),
        }
        return subprocess.Popen(
            ["bash", "-e", str(RUNNER / "hooks" / f"job-{word}.sh")],
            cwd=self.root,
            env={**given, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hook(self, word: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a hook to its end."""
        process = self.start(word, **env)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def unfinished(self, text: str = "40") -> None:
        """What an interrupted training leaves."""
        checkpoints = self.step / "work" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "step-00000040.safetensors").write_text(text)

    def result(self, outcome: str) -> None:
        sealed = {"format": 1, "fingerprint": "x", "digest": "y", "result": {"outcome": outcome}}
        (self.step / "result.json").write_text(json.dumps(sealed))

    def outside(self) -> dict[str, str]:
        """All that is neither work nor kept, with its bytes and modes."""
        found = {}
        for path in sorted((self.root / "outside").rglob("*")):
            text = path.read_text() if path.is_file() else ""
            found[str(path)] = f"{path.lstat().st_mode:o} {text}"
        return found


@pytest.fixture
def work(tmp_path: Path) -> Work:
    (tmp_path / "keep").mkdir()
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "file").write_text("precious")
    made = Work(tmp_path)
    done = made.hook("started")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the programs of runner/ importable, as they are for each other."""
    monkeypatch.syspath_prepend(str(RUNNER))
    yield
    for name in ("checkpoints", "hook", "leftovers", "wipe"):
        sys.modules.pop(name, None)


def soil(work: Work) -> None:
    """Fills the workspace with what is hard to remove."""
    folder = os.fsencode(work.workspace)
    for name in (b"-rf", b"a\nb", b"\xff\xfe", b"* ?", b"$(touch pwned)", b".wipe-1", b"'\""):
        os.mkdir(folder + b"/" + name)
        Path(os.fsdecode(folder + b"/" + name), "inner").write_text("x")
    for number, target in enumerate(("outside", "outside/deep/file", "outside/deep", "..", "/")):
        (work.workspace / f"link-{number}").symlink_to(work.root / target)
    os.link(work.root / "outside" / "deep" / "file", work.workspace / "hard")
    os.mkfifo(work.workspace / "pipe")
    (work.workspace / "loop").symlink_to("loop")
    locked = work.workspace / "locked" / "inner"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    locked.chmod(0)
    locked.parent.chmod(0o500)
    deep = os.open(work.workspace, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python calls, longer than a path may be
        os.mkdir("deeper", dir_fd=deep)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)


@pytest.mark.parametrize("word", ["started", "completed"])
def test_the_work_folder_is_wiped_and_nothing_else(work: Work, word: str):
    before = work.outside()
    soil(work)
    done = work.hook(word)
    assert done.returncode == 0
    assert done.stdout == ""
    assert list(work.workspace.parent.rglob("*")) == [work.workspace]
    assert work.outside() == before


@pytest.mark.parametrize("word", ["started", "completed"])
def test_a_link_in_place_of_the_workspace(work: Work, word: str):
    before = work.outside()
    work.workspace.rmdir()
    work.workspace.symlink_to(work.root / "outside")
    assert work.hook(word).returncode == 0
    assert work.workspace.is_dir()
    assert not work.workspace.is_symlink()
    work.workspace.rmdir()
    work.workspace.parent.rmdir()
    work.workspace.parent.symlink_to(work.root / "outside")
    assert work.hook(word).returncode == 0
    assert work.outside() == before


def test_a_place_behind_a_link_is_refused(work: Work):
    (work.root / "_work").rename(work.root / "elsewhere")
    (work.root / "_work").symlink_to("elsewhere")
    done = work.hook("started")
    assert done.returncode == 1
    assert "not fit for a job" in done.stdout
    assert work.hook("started", GITHUB_WORKSPACE="/").returncode == 1
    assert work.hook("completed", GITHUB_WORKSPACE="/").returncode == 0


def test_checkpoints_come_back_in_a_clone_that_checkout_keeps(work: Work):
    work.unfinished()
    work.result("interrupted")
    assert "kept the checkpoints of 1" in work.hook("completed").stdout
    done = work.hook("started")
    assert "brought back the checkpoints of 1" in done.stdout
    files = [p for p in (work.workspace / ".lora-ci").rglob("*") if p.is_file()]
    assert [p.read_text() for p in files] == ["40"]
    assert files[0].is_relative_to(work.step / "work")
    # What actions/checkout looks at before it keeps a folder.
    git = ["git", "-C", str(work.workspace)]
    for words, said in (
        (["config", "--get", "remote.origin.url"], "https://github.com/acme/loras"),
        (["rev-parse", "--symbolic-full-name", "--verify", "HEAD"], "HEAD"),
        (["branch", "--list"], "* (no branch)"),
    ):
        assert subprocess.check_output([*git, *words], text=True).strip() == said


def test_each_ref_and_repository_has_its_own(work: Work):
    work.unfinished()
    work.hook("completed")
    for env in (
        {"GITHUB_REF": "refs/heads/main"},
        {"GITHUB_REF": "refs/pull/8/merge"},
        {"GITHUB_REPOSITORY": "acme/other"},
        {"GITHUB_REF": "../refs%2Fpull%2F7%2Fmerge"},
    ):
        assert "brought back" not in work.hook("started", **env).stdout
        assert not (work.workspace / ".lora-ci").exists()
    assert "brought back" in work.hook("started").stdout


def test_a_finished_step_is_kept_no_longer_and_a_result_never(work: Work):
    work.unfinished()
    work.hook("completed")
    work.hook("started")
    work.result("passed")
    assert "kept" not in work.hook("completed").stdout
    assert "brought back" not in work.hook("started").stdout
    work.unfinished()
    (work.step / "result.json").write_text("[" * 100_000)
    assert "kept" in work.hook("completed").stdout
    work.hook("started")
    assert not (work.step / "result.json").exists()


def test_only_plain_files_of_real_steps_are_kept(work: Work):
    secret = work.root / "outside" / "deep" / "file"
    work.unfinished()
    inside = work.step / "work"
    (inside / "link").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    os.mkfifo(inside / "pipe")
    (inside / "a\nb ::error::").write_text("odd")
    steps = work.step.parent
    (steps / OTHER).symlink_to(secret.parent)
    (steps / "not-a-step" / "work").mkdir(parents=True)
    (steps / "not-a-step" / "work" / "file").write_text("x")
    (steps / ("e" * 32)).mkdir()
    (steps / ("e" * 32) / "work").symlink_to(secret.parent)
    work.hook("completed")
    kept = sorted(p.read_text() for p in (work.root / "keep").rglob("*") if p.is_file())
    assert kept == ["", "40", "odd"]  # the first is the lock
    assert not [p for p in (work.root / "keep").rglob("*") if p.is_symlink()]
    assert "precious" not in kept


def test_what_a_killed_job_left_is_saved_at_the_next_start(work: Work):
    work.unfinished()
    other = {"GITHUB_REPOSITORY": "acme/other", "GITHUB_REF": "refs/heads/main"}
    work.hook("started", **other)
    assert not work.step.exists()
    work.hook("completed", **other)
    work.hook("started")
    assert (work.step / "work" / "checkpoints" / "step-00000040.safetensors").read_text() == "40"


@pytest.mark.parametrize(
    "note",
    [
        "[" * 9_000,
        "{}",
        '{"folder": "../outside", "workspace": "deep", "repository": "a/b", "ref": "c"}',
        '{"folder": "..", "workspace": "..", "repository": "a/b", "ref": "c"}',
        '{"folder": "loras", "workspace": "\\u0000", "repository": "a/b", "ref": "c"}',
        '{"folder": "loras", "workspace": "loras", "repository": "../..", "ref": "\\ud800"}',
    ],
)
def test_a_forged_note_leads_nowhere(work: Work, note: str):
    bait = work.root / "outside" / "deep" / ".lora-ci" / "steps" / STEP / "work"
    bait.mkdir(parents=True)
    (bait / "file").write_text("precious")
    before = work.outside()
    (work.root / "_work" / ".lora-ci-job.json").write_text(note)
    done = work.hook("started")
    assert done.returncode == 0, done.stdout
    assert work.outside() == before
    assert list((work.root / "keep").rglob("file")) == []
    assert sorted(p.name for p in work.root.iterdir()) == ["_work", "keep", "outside"]


def test_processes_left_behind_end_after_their_checkpoint(work: Work, tmp_path: Path):
    saving = subprocess.Popen(
        [sys.executable, "-c", SAVING], cwd=work.workspace, stdout=subprocess.PIPE, text=True
    )
    tracked = subprocess.Popen(["sleep", "300"], cwd=tmp_path, env={"RUNNER_TRACKING_ID": "g_1"})
    stranger = subprocess.Popen(["sleep", "300"], cwd=tmp_path, env={"RUNNER_TRACKING_ID": "g_2"})
    saved = work.root / "_work" / "loras" / "loras" / "saved"
    try:
        assert saving.stdout
        saving.stdout.readline()
        said = work.hook("completed", RUNNER_TRACKING_ID="g_1").stdout
        assert said.count("left running") == 2, said
        assert saving.wait(timeout=10) == 0  # it ended by itself, once it had saved
        assert tracked.wait(timeout=10) == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        for process in (saving, tracked, stranger):
            process.kill()
            process.wait()
    assert not saved.exists()  # wiped after it


def test_a_stubborn_process_is_killed(work: Work, parts: None):
    from leftovers import end_leftovers  # type: ignore[import-not-found]

    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(work.workspace / "odd\n::warning::")],
        start_new_session=True,
    )
    wait_until(lambda: b"odd" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "its start")
    try:
        ended = end_leftovers(work.root / "_work", None, grace_s=0.3)
        assert len(ended) == 1
        assert process.wait(timeout=10) in (-signal.SIGKILL, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert not alive(process.pid)


@pytest.mark.parametrize("at", range(1, 12))
def test_saving_killed_anywhere_keeps_the_old_or_the_new(
    work: Work, parts: None, monkeypatch: pytest.MonkeyPatch, at: int
):
    import checkpoints  # type: ignore[import-not-found]

    keep = checkpoints.Keep(work.root / "keep", "acme/loras", "refs/heads/main")
    work.unfinished("old")
    keep.save(work.workspace)
    work.unfinished("new")
    calls = 0

    def counted(real):
        def call(*args, **named):
            nonlocal calls
            calls += 1
            if calls == at:
                raise Killed
            if calls > at:
                raise Killed  # a dead process does nothing more, not even in `finally`
            return real(*args, **named)

        return call

    with monkeypatch.context() as patched:
        for owner, name in (
            (Path, "rename"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "fsync"),
            (Path, "rmdir"),
            (Path, "mkdir"),
        ):
            patched.setattr(owner, name, counted(getattr(owner, name)))
        try:
            keep.save(work.workspace)
            finished = True
        except Killed:
            finished = False
    back = work.root / "back"
    assert keep.bring_back(back) == [STEP]
    (file,) = (p for p in back.rglob("*") if p.is_file())
    assert file.read_text() in (("new",) if finished else ("old", "new"))
    assert keep.save(work.workspace) == [STEP]
    assert sorted(os.listdir(keep.folder)) == [".lock", STEP]


class Killed(BaseException):
    """The end of a process, as far as one test can have it."""


def test_what_nobody_comes_back_to_is_forgotten(work: Work, parts: None):
    from checkpoints import Keep, forget_old

    keep = Keep(work.root / "keep", "acme/loras", "refs/heads/main")
    work.unfinished()
    keep.save(work.workspace)
    at = (keep.folder / STEP).stat().st_mtime
    forget_old(work.root / "keep", at + 13 * 86400)
    assert keep.bring_back(work.root / "one") == [STEP]
    forget_old(work.root / "keep", at + 15 * 86400)
    assert keep.bring_back(work.root / "two") == []


def test_without_a_folder_to_keep_nothing_is_kept(work: Work):
    work.unfinished()
    assert work.hook("completed", LORA_CI_KEEP="").stdout == ""
    assert list((work.root / "keep").iterdir()) == []


@pytest.mark.parametrize("outcome", list(Outcome))
def test_hooks_know_the_step_folders_of_lora_ci(work: Work, parts: None, outcome: Outcome):
    from checkpoints import FINAL, Keep

    folder = step_folder(work.workspace / ".lora-ci", sha256_bytes(b"a fingerprint"))
    folder.workdir.mkdir(parents=True)
    (folder.workdir / "checkpoint").write_text("40")
    folder.write_result("a fingerprint", StepResult(outcome=outcome))
    saved = Keep(work.root / "keep", "acme/loras", "refs/heads/main").save(work.workspace)
    assert saved == ([] if outcome in OUTCOMES_THAT_STAND else [folder.path.name])
    assert set(FINAL) == {str(one) for one in OUTCOMES_THAT_STAND}


@pytest.mark.slow
@pytest.mark.parametrize("word", ["started", "completed"])
def test_a_hook_killed_anywhere_is_finished_by_the_next(work: Work, word: str):
    before = work.outside()
    killed = 0
    for delay_s in (0.03, 0.06, 0.1, 0.14, 0.2):
        work.hook("started", GITHUB_REF="refs/heads/other")  # whose note and place it is
        work.unfinished("40" * 200_000)
        soil(work)
        hook = work.start(word, GITHUB_REF="refs/heads/other")
        try:
            hook.wait(delay_s)
        except subprocess.TimeoutExpired:
            killed += 1
        hook.kill()
        hook.wait()
        assert work.hook(word, GITHUB_REF="refs/heads/other").returncode == 0
        assert [p.name for p in work.workspace.iterdir()] in ([], [".git", ".lora-ci"])
        work.hook("started", GITHUB_REF="refs/heads/other")
        (file,) = (p for p in work.step.rglob("*") if p.is_file())
        assert file.stat().st_size == 400_000
        assert work.outside() == before
    assert killed >= 2, "no kill came in time: this test proved nothing"
