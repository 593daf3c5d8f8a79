"""The wheel, unpacked and run without the checkout, has all that commands look for."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MAX_BYTES = 30 * 1024 * 1024
FIND_WORLD = "from lora_ci.cli.demo_repository import world; print(world())"


def call(*command: str, folder: Path) -> str:
    """Standard output of Python with `folder` as the first place to import from."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_stands_alone(tmp_path: Path):
    building = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path]
    subprocess.run([*building, ROOT], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MAX_BYTES
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    assert "usage: lora-ci" in call("-m", "lora_ci", "--help", folder=unpacked)
    assert call("-c", FIND_WORLD, folder=unpacked).strip() == str(unpacked / "lora_ci" / "emoji")
    # A first ledger needs the migrations.
    subprocess.run(["git", "init", "-q", tmp_path / "new"], check=True)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = ("--repo", str(tmp_path / "new"), "--ledger-url", url)
    made = f"from lora_ci.ledger.engine import open_engine; open_engine({url!r})"
    call("-c", made, folder=unpacked)
    status = call("-m", "lora_ci", "status", *ledger, folder=unpacked)
    assert status == "no run yet\n"
