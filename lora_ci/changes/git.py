"""A git repository, read by plumbing: any commit, never the work tree."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError, UsageError

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of `git ls-tree`: kind is blob, tree or commit (a submodule)."""

    path: str
    mode: str
    kind: str
    oid: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository at `root` (its top level)."""

    root: Path

    def run(self, *args: str, data: bytes | None = None) -> bytes:
        """Standard output of a git command. Raises InputError with git's own words."""
        done = self._call(args, data)
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise InputError(f"git {args[0]}: {words[-1] if words else 'failed'}")
        return done.stdout

    def commit(self, revision: str) -> str:
        """The full id of a commit. Raises UsageError if there is none of that name."""
        done = self._call(("rev-parse", "--verify", "-q", f"{revision}^{{commit}}"), None)
        if done.returncode != 0:
            if self._call(("rev-parse", "--verify", "-q", "HEAD"), None).returncode != 0:
                hint = "next: git add .lora-ci.yml && git commit"
                raise UsageError("the repository has no commit yet", hint=hint)
            raise UsageError(f"no commit `{revision}` here", hint="next: git fetch --unshallow")
        return done.stdout.decode().strip()

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor; None where the histories share nothing."""
        done = self._call(("merge-base", one, other), None)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def parent(self, commit: str) -> str | None:
        """The first parent; None for a root commit."""
        done = self._call(("rev-parse", "--verify", "-q", f"{commit}^1"), None)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's bytes at a commit; None if it is no file there."""
        entry = self.entry(commit, path)
        if entry is None or entry.kind != "blob":
            return None
        return self.run("cat-file", "blob", entry.oid)

    def entry(self, commit: str, path: str) -> TreeEntry | None:
        """What stands at `path` in a commit."""
        found = self._ls(commit, path)
        return found[0] if found else None

    def files(self, commit: str, folder: str) -> tuple[TreeEntry, ...]:
        """All files below a folder, with sizes."""
        return self._ls(commit, "-r", f"{folder}/")

    def _ls(self, commit: str, *args: str) -> tuple[TreeEntry, ...]:
        flags = [a for a in args if a.startswith("-")]
        paths = [a for a in args if not a.startswith("-")]
        out = self.run("--literal-pathspecs", "ls-tree", "-z", "-l", *flags, commit, "--", *paths)
        entries = []
        for line in out.split(b"\0"):
            if line:
                meta, _, path = line.partition(b"\t")
                mode, kind, oid, size = meta.decode().split()
                entries.append(
                    TreeEntry(
                        path=path.decode(errors="surrogateescape"),
                        mode=mode,
                        kind=kind,
                        oid=oid,
                        size_bytes=int(size) if size != "-" else None,
                    )
                )
        return tuple(entries)

    def _call(
        self, args: tuple[str, ...], data: bytes | None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", "-C", str(self.root), *args],
                input=data,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise InfrastructureError("git is not installed", hint="install git") from error
        except subprocess.TimeoutExpired as error:
            raise InfrastructureError(f"git {args[0]} took over {TIMEOUT_S} s") from error


def open_repository(folder: Path) -> Repository:
    """The repository that holds `folder`. Raises UsageError if there is none."""
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise UsageError(f"{folder} is in no git repository", hint="next: git init")
    return Repository(Path(done.stdout.decode().strip()))
