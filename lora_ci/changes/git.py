"""A git repository, read by plumbing: any commit, never the work tree."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

import msgspec

from lora_ci.changes.tree import SYMLINK, Tree, TreeEntry, is_file, not_followed
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InfrastructureError, UsageError

TIMEOUT_S = 60
NOTHING: Mapping[str, str] = MappingProxyType({})
# So many questions fit into a pipe at once: git is never asked while it waits to be heard.
QUESTIONS = 500
PROMISOR = r"^(remote\..*\.promisor|extensions\.partialclone)$"
OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Delta(msgspec.Struct, frozen=True, gc=False):
    """A path that differs between two commits; None where there is no blob (or submodule)."""

    path: str
    old: TreeEntry | None
    new: TreeEntry | None


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository at `root`: its top level, or its git folder if it is bare."""

    root: Path

    def commit(self, revision: str) -> str:
        """The full id of a commit. Raises UsageError if there is none of that name."""
        found = self.find_commit(revision)
        if found is None:
            if (
                self.find_commit("HEAD") is None
                and not self.git("for-each-ref", "--count=1").stdout
            ):
                hint = "next: git add .lora-ci.yml && git commit (lora-ci init writes a first one)"
                raise UsageError(f"{self.root}: the repository has no commit yet", hint=hint)
            hint = (
                "next: git log, to see which there are; in a shallow clone: git fetch --unshallow"
            )
            raise UsageError(f"{self.root}: there is no commit `{revision}`", hint=hint)
        return found

    def find_commit(self, revision: str) -> str | None:
        """The full id of a commit; None if there is none of that name."""
        if "\0" in revision:
            return None
        named = f"{revision}^{{commit}}"
        done = self.git("rev-parse", "--verify", "-q", "--end-of-options", named)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def merge_bases(self, one: str, other: str) -> list[str]:
        """All best common ancestors: several where branches were merged crosswise."""
        done = self.git("merge-base", "--all", one, other)
        return done.stdout.decode().split() if done.returncode == 0 else []

    def is_ancestor(self, old: str, new: str) -> bool:
        """True if `new` came from `old`, or is the same."""
        return self.git("merge-base", "--is-ancestor", old, new).returncode == 0

    def message(self, commit: str) -> str:
        """What a commit says of itself."""
        done = self.git("log", "-1", "--format=%B", commit)
        return done.stdout.decode(errors="replace").strip()

    def is_partial(self) -> bool:
        """True if git fetches files only when they are looked into."""
        return self.git("config", "--get-regexp", PROMISOR).returncode == 0

    def parent(self, commit: str) -> str | None:
        """The first parent; None for a root commit."""
        return self.find_commit(f"{commit}^1")

    def tree(self, commit: str, ahead: tuple[str, ...] = ()) -> Tree:
        """What stands in a commit; files whose names end in one of `ahead` are read at once."""
        entries = {entry.path: entry for entry in self.listed("-t", commit)}
        wanted = [e for e in entries.values() if e.path.endswith(ahead) and is_file(e)]
        texts = self.blobs(entry.oid for entry in wanted)
        paths = (entry.path for entry in wanted)
        return Tree(self, entries, dict(zip(paths, texts, strict=True)))

    def listed(self, *args: str) -> list[TreeEntry]:
        """The entries of a tree, by `git ls-tree -r`. Raises InfrastructureError."""
        done = self.git("ls-tree", "-r", "-z", "--full-tree", *args)
        if done.returncode != 0:
            raise InfrastructureError(f"{self.root}: {words(done)}", hint="next: git fsck")
        found = []
        for line in done.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, kind, oid = meta.split(" ")
            found.append(TreeEntry(path, mode, kind, oid))
        return found

    def file(self, commit: str, path: str) -> bytes | None:
        """A file's bytes in a commit; None if there is no such file. Raises InputError."""
        done = self.git("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", path)
        meta, _, name = done.stdout.decode(errors="surrogateescape").rstrip("\0").partition("\t")
        if done.returncode != 0 or name != path:
            return None
        mode, kind, oid = meta.split(" ")
        if mode == SYMLINK:
            raise not_followed(TreeEntry(path, mode, kind, oid), path)
        return next(self.blobs([oid])) if kind == "blob" else None

    def folder(self, tree: str) -> tuple[FileEntry, ...] | None:
        """The files below a tree id; None if there is no such tree here."""
        if not OBJECT_ID.fullmatch(tree):
            return None
        if self.git("cat-file", "-e", f"{tree}^{{tree}}").returncode != 0:
            return None
        files = self.listed(tree)
        return tuple(
            sorted(
                (FileEntry(path=f.path, content_id=f.oid) for f in files), key=attrgetter("path")
            )
        )

    def differing(self, base: str | None, head: str) -> list[Delta]:
        """All paths that differ; without a base, all there are."""
        if base is None:
            return [Delta(entry.path, None, entry) for entry in self.listed(head)]
        done = self.git("diff-tree", "-r", "-z", "--raw", "--no-renames", base, head)
        if done.returncode != 0:
            raise InfrastructureError(f"{self.root}: {words(done)}", hint="next: git fsck")
        fields = done.stdout.decode(errors="surrogateescape").split("\0")
        found = []
        for meta, path in zip(fields[::2], fields[1::2], strict=False):
            old_mode, new_mode, old, new, _ = meta[1:].split(" ")
            found.append(Delta(path, _side(path, old_mode, old), _side(path, new_mode, new)))
        return found

    def blobs(self, oids: Iterable[str]) -> Iterator[bytes]:
        """The bytes of objects, one after the other, all from one git process."""
        for size_bytes, process in self._asked(oids, "--batch"):
            assert process.stdout
            yield process.stdout.read(size_bytes)
            process.stdout.read(1)

    def sizes(self, oids: Iterable[str]) -> Iterator[int]:
        """The sizes of objects in bytes, all from one git process."""
        return (size_bytes for size_bytes, _ in self._asked(oids, "--batch-check"))

    def _asked(
        self, oids: Iterable[str], mode: str
    ) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        left = iter(oids)
        asked = list(islice(left, QUESTIONS))
        if not asked:
            return
        with subprocess.Popen(
            ["git", "-C", str(self.root), "cat-file", mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin
            assert process.stdout
            while asked:
                process.stdin.write("".join(f"{oid}\n" for oid in asked).encode())
                process.stdin.flush()
                for oid in asked:
                    header = process.stdout.readline().split()
                    if len(header) != 3:
                        message = f"{self.root}: git object {oid} is damaged, or not here"
                        raise InfrastructureError(message, hint="next: git fsck; git fetch")
                    yield int(header[2]), process
                asked = list(islice(left, QUESTIONS))

    def git(
        self,
        *args: str,
        timeout_s: float = TIMEOUT_S,
        given: bytes = b"",
        env: Mapping[str, str] = NOTHING,
    ) -> subprocess.CompletedProcess[bytes]:
        """What a git command says that is `given` some input, and `env` on top of ours.

        Raises InfrastructureError if it does not end.
        """
        return _git(self.root, *args, timeout_s=timeout_s, given=given, env=env)


def open_repository(folder: Path) -> Repository:
    """The repository that holds `folder`. Raises UsageError if there is none."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return Repository(Path(os.fsdecode(done.stdout.rstrip(b"\n"))))
    bare = _git(folder, "rev-parse", "--is-bare-repository", "--absolute-git-dir")
    if bare.returncode == 0 and bare.stdout.startswith(b"true\n"):
        return Repository(Path(os.fsdecode(bare.stdout[5:].rstrip(b"\n"))))
    hint = "next: git init, or --repo <folder>; without git: lora_ci.pipeline.run"
    raise UsageError(f"{folder.resolve()} is in no git repository ({words(done)})", hint=hint)


def _git(
    folder: Path,
    *args: str,
    timeout_s: float = TIMEOUT_S,
    given: bytes = b"",
    env: Mapping[str, str] = NOTHING,
) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *args]
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **env}
    try:
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=quiet,
        )
    except FileNotFoundError as error:
        raise InfrastructureError("git is not installed", hint="next: apt install git") from error
    except subprocess.TimeoutExpired as error:
        message = f"{folder}: git {args[0]} took over {timeout_s:.0f} s"
        raise InfrastructureError(message, hint="next: git status") from error


def _side(path: str, mode: str, oid: str) -> TreeEntry | None:
    if not oid.strip("0"):
        return None
    return TreeEntry(path, mode, "commit" if mode == "160000" else "blob", oid)


def words(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's own last words."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else "it failed without a word"
