"""Commands that only decide start fast: they load nothing that they do not need."""

import subprocess
import sys

import pytest

from tests.builders import RepoBuilder
from tests.command import lora_ci
from tests.tiny_sd import write_dataset

HEAVY = {
    "PIL",
    "alembic",
    "cryptography",
    "diffusers",
    "dvc",
    "jinja2",
    "numpy",
    "peft",
    "rich",
    "torch",
    "transformers",
}
LEDGER = {"sqlalchemy", "sqlite3"}
CONFIG = "version: 1\nloras:\n  mei: {dataset: datasets/mei, base_model: models/tiny}\n"


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> RepoBuilder:
    repo = RepoBuilder(tmp_path_factory.mktemp("start-up"))
    folder = write_dataset(repo.root.parent / "mei")
    repo.dvc_add("datasets/mei", {p.name: p.read_bytes() for p in folder.glob("*.png")})
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    repo.dvc_add("models/tiny", {f"{part}/weights": part.encode() for part in parts})
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    return repo


def loaded(repo: RepoBuilder, *command: str) -> set[str]:
    """Top-level modules that a command has loaded when it ends."""
    code = (
        "import sys; from lora_ci.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=repo.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["plan", "--help"],
        ["plan"],
        ["changes"],
        ["config", "schema"],
        ["config", "check"],
    ],
)
def test_deciding_loads_nothing_heavy_and_no_database(repo, command):
    assert not loaded(repo, *command) & (HEAVY | LEDGER)


def test_a_plan_with_a_past_loads_the_ledger_and_no_migrations(repo):
    assert lora_ci(repo.root, "run").code == 1  # no captions: done soon
    assert not loaded(repo, "plan") & HEAVY


def test_a_second_run_loads_nothing_that_works_on_pictures(repo):
    assert lora_ci(repo.root, "run").code == 1
    assert not loaded(repo, "run") & HEAVY
