"""DVC's settings: which remote, where the cache is. From the default branch and this machine.

A commit that is looked at has no say in it: DVC's settings name places to read from, and some of
them run commands.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_ci.changes.git import Repository
from lora_ci.changes.range import default_branch
from lora_ci.core.errors import UsageError

COMMITTED = ".dvc/config"
LOCAL = Path(".dvc", "config.local")
REMOTE = re.compile(r"'?remote \"(.*)\"'?")


@dataclass(frozen=True, slots=True)
class DvcConfig:
    """The settings that are used: `remotes` have their options as DVC writes them."""

    remote: str | None
    cache_dir: str | None
    remotes: Mapping[str, Mapping[str, str]]

    def url(self) -> str | None:
        """Where the default remote is; None if there is none. Raises UsageError."""
        if self.remote is None:
            return None
        url = self.remotes.get(self.remote, {}).get("url")
        if url is None:
            message = f".dvc/config: the default remote `{self.remote}` has no url"
            hint = f"next: dvc remote add {self.remote} <folder>, or dvc remote list"
            raise UsageError(message, hint=hint)
        return url


def read_dvc_config(repo: Repository, commit: str | None = None) -> DvcConfig:
    """The settings at a commit (default: of the default branch) and of this machine.

    Raises UsageError.
    """
    commit = commit or repo.find_commit(default_branch(repo) or "HEAD")
    texts: list[tuple[str, bytes]] = []
    committed = repo.file(commit, COMMITTED) if commit else None
    if committed is not None:
        texts.append((COMMITTED, committed))
    local = repo.root / LOCAL
    if local.is_file():
        texts.append((str(local), local.read_bytes()))
    return parse_dvc_config(texts)


def parse_dvc_config(texts: list[tuple[str, bytes]]) -> DvcConfig:
    """The settings in some files by name, later ones over earlier ones. Raises UsageError."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    for name, text in texts:
        try:
            parser.read_string(text.decode(), source=name)
        except (configparser.Error, UnicodeDecodeError) as error:
            message = f"{name}: the DVC config cannot be read: {str(error).splitlines()[0]}"
            raise UsageError(message, hint="next: dvc config --list") from error
    remotes = {
        found[1]: dict(parser.items(section))
        for section in parser.sections()
        if (found := REMOTE.fullmatch(section))
    }
    return DvcConfig(
        remote=parser.get("core", "remote", fallback=None),
        cache_dir=parser.get("cache", "dir", fallback=None),
        remotes=remotes,
    )
