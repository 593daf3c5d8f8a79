"""Where a trainer lies on this machine, by which Python it runs, and which version it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.children import clean_environment
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.settings import TrainSettings

PROBE_S = 180
SHORTEST_COMMIT = 7
# A virtual environment inside the trainer's folder, as its own instructions make it.
PYTHONS = ("venv/bin/python", ".venv/bin/python", "env/bin/python")
PROBE = """
import json, platform, torch
gpu = torch.cuda.is_available()
print(json.dumps({
    "python": platform.python_version(), "torch": torch.__version__, "gpu": gpu,
    "bf16": gpu and torch.cuda.is_bf16_supported(),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """A trainer on this machine. `versions` are for the record: commit, python, torch."""

    folder: Path
    python: Path
    gpu: bool
    bf16: bool
    versions: Mapping[str, str] = field(default_factory=dict)


def find_install(settings: TrainSettings, script: str) -> Install:
    """The trainer in `backend_folder`, which has `script`.

    Raises:
        InfrastructureError: it is not there, cannot run, or is of another version.
    """
    name, folder = settings.backend, Path(settings.backend_folder or "")
    if not settings.backend_folder or not (folder / script).is_file():
        where = f"{folder} has no {script}" if settings.backend_folder else "no backend_folder"
        raise absent(f"{name} is not on this machine: {where}")
    folder = folder.resolve()
    commit = checked_version(settings, folder)
    # A link to a Python that is gone is an error to be told, and no reason to take ours.
    own = (folder / path for path in PYTHONS if os.path.lexists(folder / path))
    python = next(own, Path(sys.executable))
    probed = _probe(name, python, folder)
    versions = {"python": str(probed.get("python")), "torch": str(probed.get("torch"))}
    return Install(
        folder=folder,
        python=python,
        gpu=probed.get("gpu") is True,
        bf16=probed.get("bf16") is True,
        versions={"commit": commit or "unknown", **versions},
    )


def checked_version(settings: TrainSettings, folder: Path) -> str | None:
    """The commit of a trainer's folder; None for one that git does not know.

    Raises:
        InfrastructureError: it is not that of `backend_version`, or changed since.
    """
    wanted = settings.backend_version
    commit = _git(folder, "rev-parse", "HEAD")
    if wanted is None:
        return commit
    tags = (_git(folder, "tag", "--points-at", "HEAD") or "").split()
    same = commit and len(wanted) >= SHORTEST_COMMIT and commit.startswith(wanted)
    if not (same or wanted in tags):
        found = f"{commit[:12]}{f' ({tags[0]})' if tags else ''}" if commit else "no git repository"
        raise _other_version(f"{folder} is {found}, and backend_version wants {wanted[:60]}")
    if _git(folder, "status", "--porcelain", "--untracked-files=no"):
        raise _other_version(f"{folder} has changes that are not in {wanted[:60]}")
    return commit


def precision(wanted: str, install: Install) -> str:
    """The precision of the base: `auto` is what the machine has."""
    if wanted != "auto":
        return wanted
    if not install.gpu:
        return "fp32"
    return "bf16" if install.bf16 else "fp16"


def _probe(name: str, python: Path, folder: Path) -> dict[str, object]:
    try:
        done = subprocess.run(
            [python, "-c", PROBE],
            cwd=folder,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except OSError as error:
        raise absent(f"{name}: {python} cannot be run: {os.strerror(error.errno or 0)}") from error
    except subprocess.TimeoutExpired as error:
        raise absent(f"{name}: {python} did not start in {PROBE_S} s") from error
    try:
        probed = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        probed = None
    if done.returncode or not isinstance(probed, dict):
        last = done.stderr.strip().rpartition("\n")[2][:200]
        raise absent(f"{name}: {python} cannot load torch: {last or 'it said nothing'}")
    return probed


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says of the folder; it may belong to somebody else, whose hooks do not run."""
    command = ["git", "-c", f"safe.directory={folder}", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(
            [*command, "-C", str(folder), *arguments],
            env=clean_environment(os.environ) | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def absent(message: str) -> InfrastructureError:
    """A trainer that is not on this machine."""
    hint = "next: install it on the machine that trains, and name its folder in backend_folder"
    return InfrastructureError(message, rule="train.not-installed", hint=hint)


def _other_version(message: str) -> InfrastructureError:
    hint = "next: git checkout that version there, or change train.backend_version"
    return InfrastructureError(message, rule="train.other-version", hint=hint)
