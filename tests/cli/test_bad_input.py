"""Whatever is wrong, a user is told once what, where and what to type next; the next call goes on.

The base model of these repositories is one by its folders only: nothing here is trained.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.builders import RepoBuilder
from tests.command import assert_one_message, copy_repo, end, lora_ci, start
from tests.ledgers import drop_database, new_database, new_ledger
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, images_seen: 4}
loras:
  mei: {dataset: datasets/mei}
"""
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
# Larger than any file that git, the ledger or a report needs.
WEIGHTS = bytes(3_000_000)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bad-input")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", {f"{part}/weights": part.encode() + WEIGHTS for part in PARTS})
    repo.dvc_add("datasets/mei", files_of(write_dataset(root / "mei")))
    pictures = {n: d for n, d in files_of(root / "mei").items() if n.endswith(".png")}
    repo.dvc_add("datasets/wordless", pictures)
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    return root


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


@pytest.fixture
def wordless(repo) -> RepoBuilder:
    """A run of it does all that comes before training, and ends there."""
    rewrite(repo, "datasets/mei", "datasets/wordless")
    return repo


def rewrite(repo: RepoBuilder, old: str, new: str) -> None:
    repo.write(".lora-ci.yml", CONFIG.replace(old, new))
    repo.commit()


def dvc_config(repo: RepoBuilder, text: str) -> None:
    repo.write(".dvc/config", text)
    (repo.root / ".dvc" / "config.local").unlink()
    repo.commit()


def remote(url: str) -> str:
    return f"[core]\n    remote = storage\n['remote \"storage\"']\n    {url}\n"


def lose_weights(repo: RepoBuilder) -> None:
    for part in PARTS[:2]:
        repo.forget(repo._object(part.encode() + WEIGHTS, push=False))


def other_base(repo: RepoBuilder) -> None:
    repo.write("models/odd/model.safetensors", "one file")
    rewrite(repo, "models/tiny", "models/odd")


def lose_blob(repo: RepoBuilder) -> None:
    oid = repo.git("rev-parse", "HEAD:.lora-ci.yml")
    path = repo.root / ".git" / "objects" / oid[:2] / oid[2:]
    path.unlink()


Prepare = Callable[[RepoBuilder], object]
CASES: dict[str, tuple[Prepare, int, tuple[str, ...]]] = {
    "no config": (
        lambda r: (r.git("rm", "-q", ".lora-ci.yml"), r.commit()),
        2,
        (".lora-ci.yml is not in commit", "lora-ci init"),
    ),
    "unknown key": (
        lambda r: rewrite(r, "rank", "rnak"),
        2,
        (".lora-ci.yml:5:11", "`rnak`", "did you mean `rank`"),
    ),
    "no dataset key": (
        lambda r: rewrite(r, "dataset: datasets/mei", "type: style"),
        2,
        (".lora-ci.yml", "no `dataset`", "add `dataset:`"),
    ),
    "dataset missing": (
        lambda r: rewrite(r, "datasets/mei", "datasets/nowhere"),
        1,
        (".lora-ci.yml:7:18", "dataset: `datasets/nowhere`", "dvc add datasets/nowhere"),
    ),
    "base model missing": (
        lambda r: rewrite(r, "models/tiny", "models/none"),
        1,
        (".lora-ci.yml:3:15", "base model: `models/none`", "dvc add models/none"),
    ),
    "base model not pushed": (
        lose_weights,
        1,
        (".lora-ci.yml:3:15", "2 of 5 files of `models/tiny`", "dvc push models/tiny.dvc"),
    ),
    "base model of another kind": (
        other_base,
        1,
        (".lora-ci.yml:3:15", "no unet/, vae/", "save_pretrained"),
    ),
    "remote gone": (
        lambda r: shutil.rmtree(r.remote),
        4,
        ("remote `storage`", "no folder", "mount it"),
    ),
    "remote of another kind": (
        lambda r: dvc_config(r, remote("url = s3://bucket/x")),
        4,
        ("remote `storage`", "needs a library for s3", 'pip install "dvc[s3]"'),
    ),
    "remote without url": (
        lambda r: dvc_config(r, remote("verify = true")),
        2,
        ("remote `storage` has no url", "dvc remote"),
    ),
    "DVC config broken": (
        lambda r: dvc_config(r, "nonsense\n"),
        2,
        (".dvc", "cannot be read", "dvc config --list"),
    ),
    "git object lost": (lose_blob, 4, ("git object", "git fsck")),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_once_with_place_and_next_command(repo, case, command):
    prepare, code, words = CASES[case]
    prepare(repo)
    assert_one_message(lora_ci(repo.root, command), code, *words)


@pytest.mark.parametrize("command", ["plan", "run", "status", "report"])
def test_outside_of_a_repository(tmp_path, command):
    told = lora_ci(tmp_path, command)
    assert_one_message(told, 2, str(tmp_path), "no git repository", "git init")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_empty_repository(tmp_path, command):
    repo = RepoBuilder(tmp_path)
    assert_one_message(lora_ci(repo.root, command), 2, "no commit yet", "git commit")


def test_what_is_asked_for_and_not_there(repo):
    told = lora_ci(repo.root, "train", "leo")
    assert_one_message(told, 2, "no LoRA `leo`", "mei")
    assert_one_message(lora_ci(repo.root, "plan", "--head", "no"), 2, "commit `no`", "git log")
    repo.git("tag", "leo@v1.0.0")
    told = lora_ci(repo.root, "run", "--tag", "leo@v1.0.0")
    assert_one_message(told, 1, "leo@v1.0.0", "mei@v1.0.0")
    assert_one_message(lora_ci(repo.root, "report", "nope"), 2, "`nope`", "lora-ci status")


def test_without_git_on_the_machine(repo, tmp_path):
    told = lora_ci(repo.root, "plan", env={"PATH": str(tmp_path)})
    assert_one_message(told, 4, "git is not installed", "apt install git")


def test_once_the_remote_is_back_the_same_command_goes_on(repo):
    repo.remote.rename(repo.remote.with_name("unmounted"))
    assert lora_ci(repo.root, "plan").code == 4
    repo.remote.with_name("unmounted").rename(repo.remote)
    assert lora_ci(repo.root, "plan").code == 0


def test_a_dataset_without_any_caption_is_one_message(wordless):
    told = lora_ci(wordless.root, "run")
    assert_one_message(told, 1, "validate of mei", "none of the 6 images", "00.txt")
    assert "lora-ci report" in told.err
    again = lora_ci(wordless.root, "run")
    assert_one_message(again, 1, "none of the 6 images")
    assert "failed (reused)" in again.out


def test_ci_is_told_what_failed_and_nothing_of_an_earlier_run(wordless):
    junit = wordless.root / "ci" / "junit.xml"
    told = lora_ci(wordless.root, "run", "--junit", "ci/junit.xml")
    assert told.code == 1
    first = junit.read_text()
    case = ElementTree.fromstring(first).find("testsuite[@name='mei']/testcase[@name='validate']")
    assert case.find("failure").get("message").startswith("none of the 6 images")
    junit.write_text("of an earlier run")
    assert lora_ci(wordless.root, "report", "--junit", "ci/junit.xml").code == 0
    assert junit.read_text() == first
    told = lora_ci(wordless.root, "run", "--junit", "ci")
    assert_one_message(told, 2, "--junit ci is a folder", "junit.xml")
    wordless.remote.rename(wordless.remote.with_name("unmounted"))
    wordless.clear_cache()
    shutil.rmtree(wordless.root / ".lora-ci")
    assert lora_ci(wordless.root, "run", "--junit", "ci/junit.xml").code == 4
    assert not junit.exists()


def test_many_faults_fit_on_a_screen(repo, tmp_path):
    faulty = files_of(write_dataset(tmp_path / "many", images=15, trigger="other"))
    repo.dvc_add("datasets/mei", faulty)
    repo.commit()
    told = lora_ci(repo.root, "run")
    assert (told.code, len(told.errors())) == (1, 10)
    assert "… and 5 more in the report" in told.err


def test_a_damaged_dvc_object_is_named_and_its_removal_heals(wordless):
    md5 = wordless._object(b"vae" + WEIGHTS, push=True)
    damaged = wordless.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    damaged.write_bytes(b"not it")
    told = lora_ci(wordless.root, "run")
    assert_one_message(told, 1, "models/tiny/vae/weights", str(damaged), f"rm {damaged}")
    assert list((wordless.root / ".lora-ci" / "inputs").glob("*/vae")) == []
    damaged.unlink()
    assert_one_message(lora_ci(wordless.root, "run"), 1, "none of the 6 images")


@pytest.mark.parametrize("place", [".", ".lora-ci"])
def test_a_state_folder_that_cannot_be_written(wordless, place):
    folder = wordless.root / place
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    told = lora_ci(wordless.root, "run", without_root_powers=True)
    assert_one_message(told, 4, str(wordless.root / ".lora-ci"), "ls -ld")
    folder.chmod(0o755)
    assert lora_ci(wordless.root, "run", without_root_powers=True).code == 1


def test_a_ledger_that_may_only_be_read(wordless):
    (wordless.root / ".lora-ci").mkdir()
    ledger = Path(new_ledger(wordless.root / ".lora-ci").removeprefix("sqlite:///"))
    ledger.chmod(0o444)
    told = lora_ci(wordless.root, "run", without_root_powers=True)
    assert_one_message(told, 4, str(ledger), "ls -ld", f"{ledger}*")
    for file in ledger.parent.glob("ledger.db*"):
        file.chmod(0o644)
    assert lora_ci(wordless.root, "run", without_root_powers=True).code == 1


def test_planning_writes_nothing(repo):
    repo.root.chmod(0o555)
    assert lora_ci(repo.root, "plan", without_root_powers=True).code == 0
    assert not (repo.root / ".lora-ci").exists()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def holes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192:60000] = b"\x55" * (60000 - 8192)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize("damage", [garbage, holes, cut])
def test_a_damaged_ledger_is_put_aside_and_finished_steps_are_not_done_again(wordless, damage):
    lora_ci(wordless.root, "run")
    state = wordless.root / ".lora-ci"
    damage(state / "ledger.db")
    told = lora_ci(wordless.root, "run")
    assert_one_message(told, 4, str(state / "ledger.db"), "mkdir -p", "mv ")
    command = told.err.split("next: ")[1].split(";")[0]
    subprocess.run(command, shell=True, check=True)
    (result,) = (state / "steps").glob("*/result.json")
    before = result.stat().st_mtime_ns
    again = lora_ci(wordless.root, "run")
    assert_one_message(again, 1, "none of the 6 images")
    assert result.stat().st_mtime_ns == before


def test_a_ledger_from_the_future(wordless):
    lora_ci(wordless.root, "run")
    code = (
        "import sqlite3; c = sqlite3.connect('.lora-ci/ledger.db');"
        "c.execute(\"UPDATE alembic_version SET version_num = '9999'\"); c.commit()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=wordless.root, check=True)
    told = lora_ci(wordless.root, "run")
    assert_one_message(told, 4, "schema 9999", "pip install --upgrade lora-ci")


@pytest.mark.parametrize(
    ("max_file_bytes", "where"),
    [(4096, "ledger.db"), (2_000_000, ".lora-ci/inputs")],
    ids=["the ledger", "the inputs"],
)
def test_a_full_disk_is_one_message_and_with_room_the_same_command_goes_on(
    wordless, max_file_bytes, where
):
    told = lora_ci(wordless.root, "run", max_file_bytes=max_file_bytes)
    assert_one_message(told, 4, str(wordless.root / ".lora-ci"), where, "df -h")
    assert_one_message(lora_ci(wordless.root, "run"), 1, "none of the 6 images")


def test_runs_at_once_do_the_work_once(wordless, ledger_kind, tmp_path):
    # The first of them makes the tables.
    url = new_database(tmp_path, ledger_kind)
    command = "run", "--json", f"--ledger-url={url}"
    several = [start(wordless.root, *command) for _ in range(4)]
    views = [json.loads(told.out) for told in map(end, several)]
    results = [next(s["result"] for s in view["steps"]) for view in views]
    assert len({result["timings_s"]["total"] for result in results}) == 1
    assert {view["outcome"] for view in views} == {"failed"}
    drop_database(url)


def test_a_reader_that_goes_away_is_no_error(repo):
    command = f"set -o pipefail; {sys.executable} -m lora_ci plan | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=repo.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("url", ["mysql://u:sekret@h/db", "u:sekret@h", "nosuch://u:sekret@h/db"])
def test_a_ledger_that_is_no_database_is_told_without_its_password(repo, url):
    told = lora_ci(repo.root, "plan", f"--ledger-url={url}")
    assert told.code == 2
    assert "the ledger's URL" in told.err
    assert "sekret" not in told.err
