"""A git repository, read by plumbing: any commit, never the work tree."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, UsageError

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of `git ls-tree`: kind is blob, tree or commit (a submodule)."""

    path: str
    mode: str
    kind: str
    oid: str


@dataclass(frozen=True, slots=True)
class Tree:
    """All that stands in a commit; `texts` are files that were read ahead, in one go."""

    repo: Repository
    entries: Mapping[str, TreeEntry]
    texts: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is no file there."""
        if path in self.texts:
            return self.texts[path]
        entry = self.entries.get(path)
        if entry is None or entry.kind != "blob":
            return None
        return next(self.repo.blobs([entry.oid]))

    def stands_at(self, path: str) -> TreeEntry | None:
        """What is there for an input: a DVC pointer beside the path, or the path itself."""
        return self.entries.get(f"{path}.dvc") or self.entries.get(path)

    def files(self, folder: str) -> tuple[TreeEntry, ...]:
        """All files below a folder, sorted by path."""
        inside = f"{folder}/"
        found = (e for e in self.entries.values() if e.kind != "tree" and e.path.startswith(inside))
        return tuple(sorted(found, key=lambda entry: entry.path))


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository at `root` (its top level)."""

    root: Path

    def commit(self, revision: str) -> str:
        """The full id of a commit. Raises UsageError if there is none of that name."""
        done = _git(self.root, "rev-parse", "--verify", "-q", f"{revision}^{{commit}}")
        if done.returncode != 0:
            if _git(self.root, "rev-parse", "--verify", "-q", "HEAD").returncode != 0:
                hint = "next: git add .lora-ci.yml && git commit (lora-ci init writes a first one)"
                raise UsageError(f"{self.root}: the repository has no commit yet", hint=hint)
            hint = (
                "next: git log, to see which there are; in a shallow clone: git fetch --unshallow"
            )
            raise UsageError(f"{self.root}: there is no commit `{revision}`", hint=hint)
        return done.stdout.decode().strip()

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor; None where the histories share nothing."""
        done = _git(self.root, "merge-base", one, other)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def parent(self, commit: str) -> str | None:
        """The first parent; None for a root commit."""
        done = _git(self.root, "rev-parse", "--verify", "-q", f"{commit}^1")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def tree(self, commit: str, ahead: tuple[str, ...] = ()) -> Tree:
        """What stands in a commit; files whose names end in one of `ahead` are read at once."""
        done = _git(self.root, "ls-tree", "-r", "-t", "-z", "--full-tree", commit)
        if done.returncode != 0:
            raise InfrastructureError(f"{self.root}: {_words(done)}", hint="next: git fsck")
        entries = {}
        for line in done.stdout.split(b"\0"):
            if line:
                meta, _, name = line.partition(b"\t")
                mode, kind, oid = meta.decode().split()
                path = name.decode(errors="surrogateescape")
                entries[path] = TreeEntry(path, mode, kind, oid)
        wanted = [e for e in entries.values() if e.kind == "blob" and e.path.endswith(ahead)]
        texts = self.blobs(entry.oid for entry in wanted)
        paths = (entry.path for entry in wanted)
        return Tree(self, entries, dict(zip(paths, texts, strict=True)))

    def blobs(self, oids: Iterable[str]) -> Iterator[bytes]:
        """The bytes of objects, one after the other, all from one git process."""
        with subprocess.Popen(
            ["git", "-C", str(self.root), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin
            assert process.stdout
            for oid in oids:
                process.stdin.write(f"{oid}\n".encode())
                process.stdin.flush()
                header = process.stdout.readline().split()
                if len(header) != 3:
                    message = f"{self.root}: git object {oid} is damaged, or not here"
                    raise InfrastructureError(message, hint="next: git fsck; git fetch")
                yield process.stdout.read(int(header[2]))
                process.stdout.read(1)


def open_repository(folder: Path) -> Repository:
    """The repository that holds `folder`. Raises UsageError if there is none."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Repository(Path(done.stdout.decode().strip()))
    hint = "next: git init, or --repo <folder>; without git: lora_ci.pipeline.run"
    raise UsageError(f"{folder.resolve()} is in no git repository ({_words(done)})", hint=hint)


def _git(folder: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *args]
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise InfrastructureError("git is not installed", hint="next: apt install git") from error
    except subprocess.TimeoutExpired as error:
        message = f"{folder}: git {args[0]} took over {TIMEOUT_S} s"
        raise InfrastructureError(message, hint="next: git status") from error


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's own last words."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else "it failed without a word"
