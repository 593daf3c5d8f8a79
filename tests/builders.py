"""Repositories that tests push to: real git, and DVC's files as DVC writes them."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

GIT = [
    "git",
    "-c",
    "user.name=Test",
    "-c",
    "user.email=test@example.org",
    "-c",
    "commit.gpgsign=false",
]


def files_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their paths, as `RepoBuilder.dvc_add` takes them."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


class RepoBuilder:
    """A git repository with a DVC cache and a folder as DVC remote."""

    def __init__(self, root: Path) -> None:
        self.root = root / "repo"
        self.remote = root / "remote"
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (self.root / ".dvc" / "config").write_text(
            f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {self.remote}\n"
        )

    def git(self, *args: str) -> str:
        done = subprocess.run(
            [*GIT, "-C", str(self.root), *args], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def dvc_add(self, path: str, files: dict[str, bytes], *, push: bool = True) -> str:
        """What `dvc add` and `dvc push` leave behind for a folder; returns the manifest's md5."""
        entries = [
            {"md5": self._object(data, push=push), "relpath": name}
            for name, data in sorted(files.items())
        ]
        md5 = self._object(json.dumps(entries).encode(), push=push, suffix=".dir")
        pointer = f"outs:\n- md5: {md5}\n  nfiles: {len(files)}\n  hash: md5\n"
        self.write(f"{path}.dvc", pointer + f"  path: {Path(path).name}\n")
        return md5

    def forget(self, md5: str, *, everywhere: bool = False) -> None:
        """Removes an object from the remote, or from the cache too."""
        roots = [self.remote, self.root / ".dvc" / "cache"] if everywhere else [self.remote]
        for root in roots:
            (root / "files" / "md5" / md5[:2] / md5[2:]).unlink()

    def _object(self, data: bytes, *, push: bool, suffix: str = "") -> str:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
        for root in [self.root / ".dvc" / "cache", *([self.remote] if push else [])]:
            path = root / "files" / "md5" / md5[:2] / md5[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return md5

    def clear_cache(self) -> None:
        shutil.rmtree(self.root / ".dvc" / "cache")
