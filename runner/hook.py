"""What a runner does before and after each job: `hook.py started` and `hook.py completed`.

Before: ends what an earlier job left running, saves the checkpoints that it could not, wipes the
work folder and brings back the checkpoints of this ref. After: the same without the last.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from checkpoints import Keep, forget_old
from leftovers import end_leftovers
from wipe import wipe

# Beside the folders of the runner, which it does not clean itself: whose workspace lies there.
NOTE = ".lora-ci-job.json"
MAX_NOTE_BYTES = 1 << 16
# An author for the commit that makes a folder a clone.
GIT = (
    "git",
    *("-c", "user.name=runner", "-c", "user.email=runner@localhost"),
    *("-c", "init.templateDir=", "-c", "commit.gpgSign=false"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's place: `workspace` (the clone) in `folder`, in the runner's `work` folder."""

    work: Path
    folder: Path
    workspace: Path
    repository: str
    ref: str
    server: str
    keep: Path | None
    tracking_id: str | None


def read_job(env: Mapping[str, str]) -> Job:
    """The job of GitHub's variables. Raises KeyError, or ValueError for a place that is none."""
    folder, workspace = Path(env["RUNNER_WORKSPACE"]), Path(env["GITHUB_WORKSPACE"])
    work = folder.parent
    if not work.is_absolute() or work.resolve() != work or workspace.parent != folder:
        raise ValueError(f"{workspace} is not in {folder}, or that is behind a link")
    keep = env.get("LORA_CI_KEEP")
    return Job(
        work=work,
        folder=folder,
        workspace=workspace,
        repository=env["GITHUB_REPOSITORY"],
        ref=env["GITHUB_REF"],
        server=env.get("GITHUB_SERVER_URL", "https://github.com"),
        keep=Path(keep) if keep else None,
        tracking_id=env.get("RUNNER_TRACKING_ID"),
    )


def started(job: Job) -> None:
    """Makes a clean place. Raises OSError: in a folder that is not clean no job may run."""
    # The tracking id is the one of this job already; the folder tells what is left of others.
    tell_ended(end_leftovers(job.work, None))
    save_left(job.work, job.keep)
    wipe(job.folder)
    job.workspace.mkdir()
    if job.keep is None:
        return
    forget_old(job.keep)
    write_note(job)
    if steps := Keep(job.keep, job.repository, job.ref).bring_back(job.workspace):
        make_clone(job)
        tell(f"brought back the checkpoints of {len(steps)} unfinished step(s)")


def completed(job: Job) -> None:
    """Saves and cleans; what fails is told and left to the next start: the job is over."""
    tell_ended(end_leftovers(job.work, job.tracking_id))
    try:
        if job.keep and (saved := Keep(job.keep, job.repository, job.ref).save(job.workspace)):
            tell(f"kept the checkpoints of {len(saved)} unfinished step(s)")
        (job.work / NOTE).unlink(missing_ok=True)
    except OSError as error:
        tell(f"::warning::lora-ci could not keep the checkpoints of the job: {error}")
    try:
        wipe(job.folder)
        job.workspace.mkdir()
    except OSError as error:
        tell(f"::warning::lora-ci could not clean up after the job: {error}")


def save_left(work: Path, keep: Path | None) -> None:
    """Saves the checkpoints of a job that ended without its hook, such as by a power cut."""
    note = work / NOTE
    if keep is None or not note.exists():
        return
    try:
        with open(os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = json.loads(file.read(MAX_NOTE_BYTES))
        place = work / str(found["folder"]) / str(found["workspace"])
        if place.parent.parent == work and ".." not in place.parts:
            Keep(keep, str(found["repository"]), str(found["ref"])).save(place)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        tell(f"::warning::lora-ci could not save what an earlier job left: {error}")
    note.unlink()


def write_note(job: Job) -> None:
    """Says whose workspace it is, in one move."""
    text = {
        "repository": job.repository,
        "ref": job.ref,
        "folder": job.folder.name,
        "workspace": job.workspace.name,
    }
    part = job.work / f"{NOTE}.part"
    part.unlink(missing_ok=True)
    part.write_text(json.dumps(text))
    part.replace(job.work / NOTE)


def make_clone(job: Job) -> None:
    """Makes the workspace a clone with nothing in it, or actions/checkout would empty it.

    Source: actions/checkout, src/git-directory-helper.ts: it keeps a folder whose remote `origin`
    has the repository's URL and a detached HEAD; with `clean: false`, untracked files too.
    """

    def git(*words: str) -> str:
        done = subprocess.run(
            [*GIT, *words],
            cwd=job.workspace,
            input="",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("remote", "add", "origin", f"{job.server}/{job.repository}")
    commit = git("commit-tree", "-m", "nothing yet", git("mktree"))
    git("update-ref", "--no-deref", "HEAD", commit)


def tell_ended(processes: list[str]) -> None:
    """Names the processes that were ended."""
    for shown in processes:
        tell(f"ended a process that was left running: {shown}")


def tell(text: str) -> None:
    """A line in the job's log; only our own first word may be a workflow command."""
    command = text.startswith("::warning::")
    line = text.replace("\r", " ").replace("\n", " ").encode(errors="replace").decode()
    sys.stdout.write(line + "\n" if command else line.replace("::", ": :") + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Exit code 1 ends the job before it starts."""
    try:
        job = read_job(os.environ)
        {"started": started, "completed": completed}[words[0]](job)
    except (KeyError, ValueError, OSError, subprocess.SubprocessError) as error:
        tell(f"lora-ci: this machine is not fit for a job: {error!r}")
        return 1 if words[:1] == ["started"] else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
