"""Checks of programs and of where files are kept."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import sys
from pathlib import Path

import lora_ci
from lora_ci.core.errors import machine_error
from lora_ci.doctor.checked import Checked, error, ok, warning
from lora_ci.doctor.machine import Machine

OLDEST_PYTHON = (3, 11)
# Source: git's release notes, 2.30: the first whose rev-parse knows --end-of-options.
OLDEST_GIT = (2, 30)
GIB = 1024**3
# A base model is some GiB, and so are its checkpoints.
ENOUGH_BYTES, LITTLE_BYTES = 20 * GIB, 2 * GIB
LITTLE_INODES = 0.05
# Where SQLite's and our own locks do not hold, or not always.
FAR = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|beegfs|gpfs|"
    r"fuse\.(sshfs|glusterfs|s3fs|rclone|gcsfuse|mergerfs)"
)


def check_versions() -> Checked:
    """Python and lora-ci."""
    found = f"lora-ci {lora_ci.__version__} on Python {platform.python_version()}, "
    found += f"{platform.system()} {platform.machine()}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return error(found, "next: install Python 3.11 or newer")
    if platform.system() != "Linux":
        return warning(found, "locks and signals were only tested on Linux")
    return ok(found)


def check_git(machine: Machine) -> Checked:
    """Git, and how old it is."""
    ran = machine.run("git", "--version")
    if ran is None:
        return error("git is not installed", "next: apt install git")
    numbers = re.search(r"(\d+)\.(\d+)", ran.out)
    found = ran.out.strip()[:80]
    if ran.code != 0 or not numbers:
        return error(f"`git --version` says {found!r}", "next: apt install --reinstall git")
    oldest = ".".join(map(str, OLDEST_GIT))
    if (int(numbers[1]), int(numbers[2])) < OLDEST_GIT:
        return error(f"{found}; expected {oldest} or newer", "next: apt install git")
    return ok(found)


def check_disk(machine: Machine, folder: Path) -> Checked:
    """Room for models, checkpoints and artifacts."""
    disk = machine.disk(_nearest(folder))
    found = f"{disk.free_bytes / GIB:.1f} GiB free for {folder}"
    fix = f"next: make room: du -sh {folder}/*; old steps in {folder}/steps can be removed"
    share = disk.free_inodes / disk.inodes if disk.inodes else 1.0
    if disk.inodes:
        found += f", {share:.0%} of its inodes"
    if disk.free_bytes < LITTLE_BYTES:
        return error(f"{found}; expected {LITTLE_BYTES // GIB} GiB or more", fix)
    if disk.inodes and disk.free_inodes == 0:
        return error(found, fix)
    if share < LITTLE_INODES:
        return warning(f"{found}; expected {LITTLE_INODES:.0%} or more", fix)
    if disk.free_bytes < ENOUGH_BYTES:
        return warning(f"{found}; a training may need {ENOUGH_BYTES // GIB} GiB", fix)
    return ok(found)


def check_state(machine: Machine, folder: Path) -> Checked:
    """Files can be made, locked and moved where the state lies, on a disk of this machine."""
    place = _nearest(folder)
    probe = place / f".lora-ci-doctor-{os.getpid()}"
    moved = probe.with_suffix(".moved")
    try:
        with probe.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fsync(file.fileno())
        probe.replace(moved)
    except OSError as problem:
        expected = machine_error(problem, place)
        words = str(expected) if expected else f"{place}: {problem.strerror}"
        return error(words, f"next: ls -ld {place}; is it yours to write?")
    finally:
        for left in (probe, moved):
            left.unlink(missing_ok=True)
    kind = file_system(place.resolve(), machine.mounts())
    found = f"{folder} can be written to" + (f" ({kind})" if kind else "")
    if kind and FAR.fullmatch(kind):
        fix = "keep the repository on a disk of this machine; only --store may lie on a network"
        return warning(f"{found}; locks do not always hold there", fix)
    return ok(found)


def file_system(folder: Path, mounts: str) -> str | None:
    """The kind of the file system that holds a folder; of several at a place the last counts."""
    best, kind = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        at = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        if folder.is_relative_to(at) and len(at.parts) >= best:
            best, kind = len(at.parts), after.split(" ")[0]
    return kind


def _nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
