"""Where a command that was called somewhere in a repository looks."""

from __future__ import annotations

from pathlib import Path

from lora_ci.changes.git import open_repository
from lora_ci.core.errors import InfrastructureError, UsageError


def top_of(folder: Path) -> Path:
    """The top of the repository that holds the folder; outside of git, the folder as given."""
    try:
        top = open_repository(folder).root
    except (UsageError, InfrastructureError):
        return folder
    return folder if top == folder.resolve() else top
