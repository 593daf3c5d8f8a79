"""Bare repositories that stand for a git host, and clones of them."""

import subprocess
from pathlib import Path

from lora_ci.changes.git import Repository


def make_hub(place: Path) -> Path:
    """An empty bare repository; returns where it is."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(place)], check=True)
    return place


def make_clone(hub: Path, place: Path) -> Repository:
    """A clone whose `origin` is the hub."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(place)], check=True)
    subprocess.run(
        ["git", "-C", str(place), "remote", "add", "origin", f"file://{hub}"], check=True
    )
    return Repository(place)
