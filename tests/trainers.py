"""Folders in which the stand-in for other trainers lies, as theirs lie on a machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.builders import GIT

STAND_IN = Path(__file__).parent / "training" / "stand_in_trainer.py"
# The probe for versions finds it in the trainer's folder: the real torch takes seconds to load.
TORCH = """
__version__ = "2.0.stand-in"
class cuda:
    is_available = staticmethod(lambda: False)
"""


def install(folder: Path, *names: str, **mood: object) -> Path:
    """A trainer's folder with the stand-in under its names, as a git repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("train_network.py", "run.py", "any.py"):
        shutil.copyfile(STAND_IN, folder / name)
    (folder / "torch.py").write_text(TORCH)
    set_mood(folder, **mood)
    if not (folder / ".git").exists():
        (folder / ".gitignore").write_text(
            "mood.json\nenvironment.json\nstarted_at\nchild\n*.pyc\n"
        )
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "A trainer")
        git(folder, "tag", "v1.0")
    return folder


def set_mood(folder: Path, **mood: object) -> None:
    (folder / "mood.json").write_text(json.dumps(mood))


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        [*GIT, "-C", str(folder), *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
