"""examples/quickstart: the config is fine, and its README can be followed to the plan."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ci.cli.main import main

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def test_the_config_is_fine(capsys):
    assert main(["config", "check", "--repo", str(QUICKSTART)]) == 0
    assert capsys.readouterr().out == ".lora-ci.yml is fine: 1 LoRA (mei)\n"


@pytest.mark.slow
def test_the_readme_leads_to_a_plan(tmp_path: Path, tiny_sd: Path):
    from tests.tiny_sd import write_dataset

    places = {
        "PICTURES": write_dataset(tmp_path / "pictures", images=10),
        "BASE": tiny_sd,
        "QUICKSTART": QUICKSTART,
    }
    (script,) = re.findall(
        r"^```sh\n(.*?)^```$", (QUICKSTART / "README.md").read_text(), re.M | re.S
    )
    for name, place in places.items():
        script, count = re.subn(rf"^{name}=.*$", f"{name}={place}", script, flags=re.M)
        assert count == 1
    identity = {
        f"GIT_{who}_{what}": "test@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **identity, "PATH": path, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"mei +validate +run", done.stdout), done.stdout
