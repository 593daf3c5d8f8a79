"""Runs one job of GitHub Actions and ends: registered just in time, in a place made for it.

Settings come from the environment (docs/runners.md lists them). Exit codes: 0 the runner ran and
is gone, 1 it failed, 2 a setting is wrong, 4 GitHub or the machine did not do its part.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hook import save_left, tell_ended
from jit import GitHub, Refused, Registration, Scope
from leftovers import end_leftovers
from wipe import wipe

HERE = Path(__file__).resolve().parent
SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9._-]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,54}")
LABELS = "self-hosted,linux,x64,gpu,lora"
# A cancelled step has 10 s; then come the steps that run always, such as uploads.
GRACE_S = 60.0
POLL_S = 0.1
# What does not reach a job: the token first of all.
OURS = re.compile(
    r"(GITHUB_TOKEN|GITHUB_API_URL|LORA_CI_RUNNER|ACTIONS_RUNNER_INPUT_|RUNNER_ALLOW_RUNASROOT)"
)
# Source: actions/runner, src/Misc/layoutroot/run.sh: 130 is a runner that was told to stop.
ENDED_WELL = (0, 130)
# Source: the same file; asked for by ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE.
DEPRECATED = 7
PR_SET_DUMPABLE = 4


class Wrong(Exception):  # noqa: N818 - of the setting, not of the program
    """A setting cannot be used; the text says which, and what to do."""


class Stopped(Exception):  # noqa: N818 - an outcome
    """A signal came before there was a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says. `config` is given where another one registers (ARC)."""

    scope: Scope | None
    token: str | None = field(repr=False)
    config: str | None = field(repr=False)
    api_url: str
    name: str
    labels: tuple[str, ...]
    group: int
    source: Path
    home: Path
    keep: Path | None
    grace_s: float

    @property
    def place(self) -> Path:
        """Where this job's copy of the runner lies."""
        return self.home / "runner"


class Stop:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.event.set())

    def wait(self, seconds: float) -> None:
        """Waits, but not any longer than until a signal. Raises Stopped."""
        if self.event.wait(seconds):
            raise Stopped


def main(words: list[str]) -> int:
    """The life of a runner."""
    hide_memory()
    stop = Stop()
    try:
        if words:
            raise Wrong("no arguments are known; docs/runners.md lists the variables")
        settings = read_settings(os.environ)
        refuse_persistent(settings, os.environ)
        return live(settings, stop)
    except Wrong as error:
        tell(f"error: {error}")
        return 2
    except (Refused, OSError) as error:
        tell(f"error: {error}")
        return 4
    except Stopped:
        tell("stopped before there was a job")
        return 0


def live(settings: Settings, stop: Stop) -> int:
    """Registers, runs one job, and leaves nothing behind, here or at GitHub."""
    save_and_wipe(settings)
    shutil.copytree(settings.source, settings.place, symlinks=True, dirs_exist_ok=True)
    if settings.config is not None:
        try:
            return run(settings, settings.config, stop)
        finally:
            save_and_wipe(settings)
    assert settings.scope
    assert settings.token
    github = GitHub(settings.api_url, settings.scope, settings.token, stop.wait)
    try:
        for name in github.remove_left(settings.name):
            tell(f"took away {name}, which an earlier start left behind")
    except Refused as error:
        tell(f"warning: old runners stay on the list: {error}")
    made = github.register(settings.name, settings.labels, settings.group)
    tell(f"registered {made.name} for one job of {settings.scope.name}")
    try:
        return run(settings, made.config, stop)
    finally:
        take_away(github, made)
        save_and_wipe(settings)


def run(settings: Settings, config: str, stop: Stop) -> int:
    """The runner's own program, to its end. A signal to us is SIGINT to it, and it waits."""
    env = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    env |= {
        "ACTIONS_RUNNER_HOOK_JOB_STARTED": str(HERE / "hooks/job-started.sh"),
        "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": str(HERE / "hooks/job-completed.sh"),
        # By name, not as an argument: command lines can be read by anybody. The runner drops it.
        "ACTIONS_RUNNER_INPUT_JITCONFIG": config,
        "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1",
        "HOME": str(settings.home / "home"),
        "RUNNER_MANUALLY_TRAP_SIG": "1",
    }
    if settings.keep:
        env["LORA_CI_KEEP"] = str(settings.keep)
    program = str(settings.place / "run.sh")
    process = subprocess.Popen(
        [program], cwd=settings.place, env=env, stdin=subprocess.DEVNULL, start_new_session=True
    )
    del env, config
    deadline: float | None = None
    while process.poll() is None:
        if stop.event.is_set() and deadline is None:
            tell(f"asked to stop: the job has {settings.grace_s:.0f} s for its checkpoint")
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + settings.grace_s
        if deadline is not None and time.monotonic() > deadline:
            tell("the runner did not end in time and is killed")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(POLL_S)
    if process.returncode == DEPRECATED:
        tell("error: GitHub takes no jobs to this version of its runner any more")
        tell("  next: build the image anew with a newer RUNNER_VERSION and its RUNNER_SHA256")
        return 4
    # What it ends with once it was told to stop says nothing.
    return 0 if process.returncode in ENDED_WELL or deadline is not None else 1


def save_and_wipe(settings: Settings) -> None:
    """Ends what still runs in the place, keeps its checkpoints, and empties it."""
    tell_ended(end_leftovers(settings.home, None))
    save_left(settings.place / "_work", settings.keep)
    wipe(settings.home)
    (settings.home / "home").mkdir()


def take_away(github: GitHub, made: Registration) -> None:
    """A runner that had its job is gone by itself; one that had none is not."""
    try:
        # A signal does not shorten this: it is the last thing to do.
        GitHub(github.api_url, github.scope, github.token, time.sleep).remove(made.id)
    except Refused as error:
        tell(f"warning: {made.name} stays on the list until GitHub drops it: {error}")


def read_settings(env: Mapping[str, str]) -> Settings:
    """The settings. Raises Wrong."""
    config = env.get("ACTIONS_RUNNER_INPUT_JITCONFIG") or None
    scope, token = None, None
    if config is None:
        scope = Scope(checked(env, "LORA_CI_RUNNER_FOR", SCOPE, "owner/name, or an organisation"))
        token = read_token(env)
    labels = tuple(filter(None, env.get("LORA_CI_RUNNER_LABELS", LABELS).split(",")))
    if not labels or any(label != label.strip() for label in labels):
        raise Wrong("LORA_CI_RUNNER_LABELS: expected words with commas, such as " + LABELS)
    group, grace = env.get("LORA_CI_RUNNER_GROUP", "1"), env.get("LORA_CI_RUNNER_GRACE_S")
    if not group.isascii() or not group.isdigit():
        raise Wrong("LORA_CI_RUNNER_GROUP: expected the number of a runner group")
    if grace is not None and not re.fullmatch(r"[0-9]{1,5}", grace):
        raise Wrong("LORA_CI_RUNNER_GRACE_S: expected seconds")
    source = Path(env.get("LORA_CI_RUNNER_SOURCE", "/opt/actions-runner"))
    if not (source / "run.sh").is_file():
        raise Wrong(f"LORA_CI_RUNNER_SOURCE: {source} holds no actions/runner (no run.sh)")
    home = Path(os.path.realpath(env.get("LORA_CI_RUNNER_HOME", "/home/runner/place")))
    if home in (Path("/"), Path.home()) or source.resolve().is_relative_to(home):
        raise Wrong(f"LORA_CI_RUNNER_HOME: {home} is emptied before each job; give it its own")
    keep = Path(os.path.realpath(env["LORA_CI_KEEP"])) if env.get("LORA_CI_KEEP") else None
    if keep and keep.is_relative_to(home):
        raise Wrong(f"LORA_CI_KEEP: {keep} is in {home}, which is emptied before each job")
    return Settings(
        scope=scope,
        token=token,
        config=config,
        api_url=env.get("GITHUB_API_URL", "https://api.github.com"),
        name=checked(
            {"LORA_CI_RUNNER_NAME": platform.node(), **env},
            "LORA_CI_RUNNER_NAME",
            NAME,
            "letters, digits, `.`, `_`, `-`, at most 55",
        ),
        labels=labels,
        group=int(group),
        source=source,
        home=home,
        keep=keep,
        grace_s=float(grace) if grace else GRACE_S,
    )


def checked(env: Mapping[str, str], name: str, pattern: re.Pattern[str], expected: str) -> str:
    """A variable's value. Raises Wrong."""
    value = env.get(name, "")
    if not pattern.fullmatch(value):
        raise Wrong(f"{name} is {value[:80]!r}; expected {expected}")
    return value


def read_token(env: Mapping[str, str]) -> str:
    """The token of GITHUB_TOKEN, or of the file GITHUB_TOKEN_FILE, which is removed. Raises Wrong.

    The job runs as this user: a file that stays is a token that it can take.
    """
    token = env.get("GITHUB_TOKEN", "").strip()
    if not token and (name := env.get("GITHUB_TOKEN_FILE")):
        path = Path(name)
        try:
            token = path.read_text().strip()
            path.unlink()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise Wrong(
                f"GITHUB_TOKEN_FILE: {name}: {reason}; it must be one that can be read and then "
                "removed, or the job could read it as well (give GITHUB_TOKEN instead)"
            ) from None
    if not re.fullmatch(r"[!-~]+", token):
        raise Wrong("GITHUB_TOKEN or GITHUB_TOKEN_FILE: expected a token that may add runners")
    return token


def refuse_persistent(settings: Settings, env: Mapping[str, str]) -> None:
    """A runner that stays takes one job's leavings to the next. Raises Wrong."""
    registered = [n for n in (".runner", ".credentials") if (settings.source / n).exists()]
    if registered:
        raise Wrong(
            f"{settings.source} is registered for good ({registered[0]} is there); only "
            "just-in-time runners are started\n  next: ./config.sh remove, or unpack it anew"
        )
    if env.get("ACTIONS_RUNNER_INPUT_TOKEN") or env.get("RUNNER_TOKEN"):
        raise Wrong(
            "a registration token is for runners that stay; only just-in-time runners are started\n"
            "  next: give GITHUB_TOKEN, and unset RUNNER_TOKEN and ACTIONS_RUNNER_INPUT_TOKEN"
        )
    if os.geteuid() == 0:
        raise Wrong("a job would run as root; start this as a user of its own")


def hide_memory() -> None:
    """Keeps other processes of this user, the job's, from our memory and environment: the token."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def tell(text: str) -> None:
    """A line in the log of the machine."""
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
