"""`lora-ci changes`: what it prints, and what its exit code says."""

import json

import pytest

from lora_ci.cli.main import main
from tests.builders import RepoBuilder
from tests.command import Told

FILES = {"a.png": b"a", "a.txt": b"cap", "b.png": b"b"}
CONFIG = "version: 1\nloras:\n  mei:\n    dataset: data/mei\n    base_model: models/sd\n"


@pytest.fixture
def changes(repo, capsys):
    """The command on the repository, in this process."""

    def call(*args: str) -> Told:
        code = main(["changes", *(() if "--repo" in args else ("--repo", str(repo.root))), *args])
        return Told(code, *capsys.readouterr())

    return call


@pytest.fixture
def planned(repo, capsys):
    """What `lora-ci plan` says of the repository."""

    def call() -> str:
        assert main(["plan", "--repo", str(repo.root)]) in (1, 2)
        told = capsys.readouterr()
        return told.out + told.err

    return call


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    built = RepoBuilder(tmp_path)
    built.write("readme.md", "x")
    built.write(".lora-ci.yml", CONFIG)
    built.dvc_add("data/mei", FILES)
    built.commit()
    return built


def test_the_json_says_it_all(repo, changes):
    repo.dvc_add("data/mei", {"a.png": b"A", "a.txt": b"cap", "c.png": b"b", "d.png": b"d"})
    repo.write(".lora-ci.yml", CONFIG + "    train: {rank: 7}\n")
    repo.write("code.py", "x")
    repo.commit()
    done = changes("--json", "--base", "HEAD~1", "--head", "HEAD")
    assert done.code == 0
    assert json.loads(done.out) == {
        "version": 1,
        "datasets": {
            "data/mei": {
                "added": ["d.png"],
                "removed": [],
                "modified": ["a.png"],
                "renamed": [["b.png", "c.png"]],
                "unknown": None,
            }
        },
        "configs": {".lora-ci.yml": ["loras.mei.train.rank"]},
        "code": ["code.py"],
    }


def test_people_read_counts_then_the_first_names(repo, changes):
    files = {**FILES, "a.txt": b"other"}
    repo.dvc_add("data/mei", files)
    repo.commit()
    done = changes()
    assert "data/mei: 1 caption edited, of 3 files\n  ~ a.txt\n" in done.out
    repo.dvc_add("data/mei", files | {f"{i:02d}.png": b"%d" % i for i in range(25)})
    repo.commit()
    done = changes()
    assert "25 images added" in done.out
    assert "  + 19.png\n  + … and 5 more\n" in done.out


def test_other_files_are_no_images(repo, changes):
    more = {".gitkeep": b"", "README.md": b"x", "metadata.jsonl": b"{}", "c.JPEG": b"c"}
    repo.dvc_add("data/mei", {**FILES, **more})
    repo.commit()
    assert "1 image added, 1 caption added, 2 other files added, of 7 files" in changes().out


def test_a_submodule_where_a_dataset_was_fails(repo, changes):
    head = repo.git("rev-parse", "HEAD")
    repo.git("rm", "-q", "data/mei.dvc")
    repo.commit()
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{head},data/mei")
    repo.git("commit", "-q", "-m", "submodule")
    done = changes()
    assert done.code == 1
    assert "data/mei is a submodule; lora-ci does not follow it" in done.out


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("schema: '2.0'\n<<<<<<< HEAD\n", "data/dvc.lock:2"),
        ("stages: {}\nschema: '9.0'\n", "data/dvc.lock:2"),
        ("schema: '2.0'\nstages: &x {}\n", "data/dvc.lock:2"),
    ],
)
def test_a_lock_that_cannot_be_read_is_named_by_the_plan(repo, planned, text, place):
    repo.git("rm", "-q", "data/mei.dvc")
    repo.write("data/dvc.lock", text)
    repo.commit()
    assert place in planned()


def test_the_plan_names_the_pointer_that_was_not_pushed(repo, planned):
    repo.git("rm", "-q", "data/mei.dvc")
    repo.dvc_add("data", {f"mei/{name}": data for name, data in FILES.items()}, push=False)
    repo.commit()
    repo.clear_cache()
    assert "next: dvc push data.dvc, on the machine that has it" in planned()


def test_a_moved_dataset_and_nothing_at_all(repo, changes):
    assert "nothing differs" in changes("--base", "HEAD").out
    repo.git("mv", "data/mei.dvc", "data/leo.dvc")
    repo.dvc_add("data/leo", FILES)
    repo.commit()
    done = changes()
    assert "data/leo: the same files as before, under another path" in done.out


def test_what_cannot_be_told_fails_and_says_what_to_type(repo, changes):
    md5 = repo.dvc_add("data/mei", {"x.png": b"x"}, push=False)
    repo.commit()
    repo.clear_cache()
    done = changes()
    assert done.code == 1
    assert f"manifest {md5} was not pushed: next: dvc push" in done.out


def test_names_that_terminals_obey_are_defused(repo, changes):
    repo.dvc_add("data/mei", {"\x1b[31m.png": b"x"})
    repo.commit()
    repo.dvc_add("data/mei", {"a.png": b"y"})
    repo.commit()
    done = changes()
    assert "\x1b" not in done.out
    assert done.code == 0


@pytest.mark.parametrize("option", [["--base", "nope"], ["--head", "0" * 40], ["--repo", "/"]])
def test_what_is_not_there_is_a_usage_error(repo, changes, option):
    assert changes(*option).code == 2


def test_a_config_that_cannot_be_read_is_told_beside_the_rest(repo, changes):
    repo.write(".lora-ci.yml", "version: 1\nloras: []\n")
    repo.dvc_add("data/mei", {"x.png": b"x"})
    repo.commit()
    done = changes("--json")
    assert done.code == 1
    assert done.err.startswith("error: .lora-ci.yml:2")
    assert json.loads(done.out)["datasets"]["data/mei"]["added"] == ["x.png"]


def test_a_config_that_is_a_link_is_told(repo, changes):
    (repo.root / ".lora-ci.yml").unlink()
    (repo.root / ".lora-ci.yml").symlink_to("/etc/passwd")
    repo.commit()
    done = changes()
    assert done.code == 1
    assert ".lora-ci.yml is a symbolic link" in done.err
