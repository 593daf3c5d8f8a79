"""A repository's git objects, through git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NULL = "0" * 40
_WHO = {
    "GIT_AUTHOR_NAME": "GitHub",
    "GIT_AUTHOR_EMAIL": "noreply@github.com",
    "GIT_COMMITTER_NAME": "GitHub",
    "GIT_COMMITTER_EMAIL": "noreply@github.com",
}


class GitFailed(Exception):  # noqa: N818 - routes turn it into an answer
    """What git said."""


class GitStore:
    """Plumbing on a git directory, bare or not."""

    def __init__(self, git_dir: Path):
        self.git_dir = git_dir / ".git" if (git_dir / ".git").exists() else git_dir

    def git(
        self, *args: str, data: bytes | None = None, env: dict[str, str] | None = None
    ) -> bytes:
        """What a git command prints. Raises GitFailed."""
        done = subprocess.run(
            ["git", f"--git-dir={self.git_dir}", *args],
            input=data,
            capture_output=True,
            env={**os.environ, **_WHO, **(env or {})},
            check=False,
        )
        if done.returncode != 0:
            raise GitFailed(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def text(self, *args: str) -> str:
        return self.git(*args).decode(errors="replace").strip()

    def resolve(self, name: str) -> str | None:
        """The commit that a branch, tag or (short) id names."""
        for candidate in (f"refs/heads/{name}", f"refs/tags/{name}", name):
            try:
                return self.text("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}")
            except GitFailed:
                continue
        return None

    def has(self, sha: str) -> bool:
        try:
            self.git("cat-file", "-e", sha)
        except GitFailed:
            return False
        return True

    def kind(self, sha: str) -> str:
        return self.text("cat-file", "-t", sha)

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """What refs name, annotated tags by the tag's own id."""
        out = self.text("for-each-ref", "--format=%(refname) %(objectname)")
        found = dict(line.split(" ", 1) for line in out.splitlines())
        return {name: sha for name, sha in found.items() if name.startswith(prefix)}

    def set_ref(self, ref: str, sha: str, old: str | None = None) -> None:
        """Moves a ref. Raises GitFailed if it is not at `old`, where that is given."""
        self.git("update-ref", ref, sha, *([old] if old else []))

    def is_ancestor(self, ancestor: str, sha: str) -> bool:
        try:
            self.git("merge-base", "--is-ancestor", ancestor, sha)
        except GitFailed:
            return False
        return True

    def entry(self, sha: str, path: str) -> tuple[str, str, str] | None:
        """Mode, kind and id of a path in a commit."""
        if not path:
            return "040000", "tree", self.text("rev-parse", f"{sha}^{{tree}}")
        out = self.git("ls-tree", "-z", sha, "--", f":(literal){path}").rstrip(b"\0").decode()
        if not out:
            return None
        mode, kind, found = out.partition("\t")[0].split()
        return mode, kind, found

    def tree(self, tree: str, *, recursive: bool = False) -> list[dict[str, object]]:
        """Entries of a tree as GitHub tells them."""
        args = ["ls-tree", "-z", "-l", *(["-r", "-t"] if recursive else []), tree]
        entries = []
        for line in self.git(*args).decode().split("\0")[:-1]:
            facts, _, path = line.partition("\t")
            mode, kind, sha, size = facts.split()
            entry: dict[str, object] = {"path": path, "mode": mode, "type": kind, "sha": sha}
            if size != "-":
                entry["size"] = int(size)
            entries.append(entry)
        return entries

    def blob(self, sha: str) -> bytes:
        return self.git("cat-file", "blob", sha)

    def write_blob(self, data: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", data=data).decode().strip()

    def write_tree(self, base: str | None, entries: list[dict[str, object]], index: Path) -> str:
        """A tree: `base` with entries (path, mode, sha; sha None removes) laid over it."""
        env = {"GIT_INDEX_FILE": str(index)}
        self.git("read-tree", *([base] if base else ["--empty"]), env=env)
        lines = "".join(
            f"{e['mode'] if e['sha'] else '0'} {e['sha'] or NULL}\t{e['path']}\n" for e in entries
        )
        self.git("update-index", "--index-info", data=lines.encode(), env=env)
        tree = self.git("write-tree", env=env).decode().strip()
        index.unlink(missing_ok=True)
        return tree

    def write_commit(self, tree: str, parents: list[str], message: str, at: float) -> str:
        flags = [flag for parent in parents for flag in ("-p", parent)]
        date = f"@{int(at)} +0000"
        env = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        out = self.git("commit-tree", tree, *flags, data=message.encode(), env=env)
        return out.decode().strip()

    def commits(self, *range_: str, limit: int = 250) -> list[str]:
        """Ids of commits, newest first."""
        return self.text("rev-list", f"--max-count={limit}", *range_).splitlines()

    def patch(self, base: str, head: str, path: str) -> str:
        """The changed parts of a file, without its header; empty where it is not changed."""
        text = self.git(
            "diff", "--no-renames", f"{base}...{head}", "--", f":(literal){path}"
        ).decode(errors="replace")
        at = text.find("@@ ")
        return text[at:].rstrip("\n") if at >= 0 else ""

    def lines(self, commit: str, path: str) -> list[str]:
        """The lines of a file in a commit; none where there is no such file."""
        entry = self.entry(commit, path)
        return self.blob(entry[2]).decode(errors="replace").splitlines() if entry else []

    def changed(self, base: str, head: str) -> list[tuple[str, str, str, int, int]]:
        """What `head` changed since it left `base`: status, path, id, lines added and removed."""
        raw = self.git("diff", "--raw", "--no-abbrev", "--no-renames", "-z", f"{base}...{head}")
        counts = self.git("diff", "--numstat", "--no-renames", "-z", f"{base}...{head}").decode()
        lines = {}
        for line in counts.split("\0")[:-1]:
            added, removed, path = line.split("\t", 2)
            lines[path] = tuple(0 if n == "-" else int(n) for n in (added, removed))
        parts = raw.decode().split("\0")[:-1]
        found = []
        for facts, path in zip(parts[::2], parts[1::2], strict=True):
            _, _, old, new, status = facts.split()
            word = {"A": "added", "D": "removed"}.get(status[0], "modified")
            found.append((word, path, old if word == "removed" else new, *lines.get(path, (0, 0))))
        return found
