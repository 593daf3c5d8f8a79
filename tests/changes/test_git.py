"""Git repositories of every shape: read by plumbing, nothing followed, nothing checked out."""

import os
import subprocess

import pytest

from lora_ci.changes.between import changed_files, changes_between
from lora_ci.changes.git import open_repository
from lora_ci.changes.inputs import resolve_input
from lora_ci.changes.objects import open_objects
from lora_ci.changes.range import default_branch
from lora_ci.core.errors import InputError, UsageError
from tests.builders import RepoBuilder

FILES = {"a.png": b"a", "b.png": b"b"}
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    return RepoBuilder(tmp_path)


def resolve(repo: RepoBuilder, path: str):
    git = open_repository(repo.root)
    return resolve_input(git.tree(git.commit("HEAD")), path, open_objects(git))


def clone(repo: RepoBuilder, folder, *options: str):
    url = f"file://{repo.root}"
    subprocess.run(["git", "clone", "-q", *options, url, str(folder)], check=True)
    return open_repository(folder)


@pytest.mark.parametrize("options", [["--bare"], ["--depth=1", "--bare"], ["--depth=1"]])
def test_bare_and_shallow_clones_are_read(repo, tmp_path, options):
    repo.commit()
    repo.dvc_add("data/mei", FILES)
    head = repo.commit()
    git = clone(repo, tmp_path / "clone", *options)
    facts = resolve_input(git.tree(head), "data/mei", open_objects(git))
    assert [entry.path for entry in facts.entries] == sorted(FILES)
    (change,) = changes_between(git, None, head, open_objects(git))
    assert change.added == ("a.png", "b.png")


def test_a_detached_head_is_a_head(repo):
    head = repo.commit()
    repo.git("checkout", "-q", "--detach")
    git = open_repository(repo.root)
    assert git.commit("HEAD") == head
    assert default_branch(git) == "main"


def test_an_empty_repository_says_so(repo, tmp_path):
    for git in (open_repository(repo.root), clone(repo, tmp_path / "bare", "--bare")):
        assert default_branch(git) is None
        with pytest.raises(UsageError, match="no commit yet"):
            git.commit("HEAD")


@pytest.mark.parametrize("name", ["--help", "-x", "a\0b", "", "HEAD~9", "0" * 40, "\udcff"])
def test_what_is_no_commit_is_told(repo, name):
    repo.commit()
    with pytest.raises(UsageError, match="there is no commit"):
        open_repository(repo.root).commit(name)


def test_links_are_told_and_not_followed(repo, tmp_path):
    (tmp_path / "secret").write_text("outs: []")
    (repo.root / "mei.dvc").symlink_to(tmp_path / "secret")
    (repo.root / ".lora-ci.yml").symlink_to(tmp_path / "secret")
    (repo.root / "data").symlink_to(tmp_path)
    head = repo.commit()
    git = open_repository(repo.root)
    for path in ("mei", "data", "data/sub"):
        with pytest.raises(InputError, match="is a symbolic link"):
            resolve(repo, path)
    for read in (git.tree(head).read, lambda path: git.file(head, path)):
        with pytest.raises(InputError, match=r"\.lora-ci\.yml is a symbolic link"):
            read(".lora-ci.yml")
    (change,) = changes_between(git, None, head, open_objects(git))
    assert "symbolic link" in change.unknown


def test_a_submodule_is_told_and_not_followed(repo, tmp_path):
    other = RepoBuilder(tmp_path / "other")
    other.write("a.png", b"a")
    head = other.commit()
    repo.write("data/plain/b.png", b"b")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{head},data/mei")
    repo.git("commit", "-q", "-m", "submodule")
    for path in ("data/mei", "data/mei/sub", "data"):
        with pytest.raises(InputError, match="data/mei is a submodule") as caught:
            resolve(repo, path)
        assert caught.value.findings[0].hint


def test_pointers_of_git_lfs_are_told(repo):
    repo.write("data/a.png", b"\x89PNG")
    repo.write("data/b.png", LFS)
    repo.write("data/c.png", LFS + "x")
    repo.commit()
    repo.write(".gitattributes", "*.png filter=lfs diff=lfs merge=lfs -text\n")
    # As it is where Git LFS is not installed: what is committed is the text.
    repo.commit()
    with pytest.raises(InputError, match=r"data/b\.png \(and 1 more\) is a Git LFS pointer"):
        resolve(repo, "data")


def test_pointers_of_git_lfs_are_told_without_attributes(repo, tmp_path):
    repo.write("data/a.png", LFS)
    repo.write("data/a.txt", LFS)
    head = repo.commit()
    with pytest.raises(InputError, match=r"data/a\.png is a Git LFS pointer"):
        resolve(repo, "data")
    # In a partial clone each look would be a fetch.
    repo.git("config", "uploadpack.allowFilter", "true")
    git = clone(repo, tmp_path / "clone", "--filter=blob:none", "--no-checkout")
    assert git.is_partial()
    assert len(resolve_input(git.tree(head), "data", open_objects(git)).entries) == 2
    missing = git.git("rev-list", "--objects", "--missing=print", head).stdout
    assert f"?{git.tree(head).entries['data/a.png'].oid}".encode() in missing


def test_a_folder_that_holds_pointers_is_no_dataset(repo):
    repo.dvc_add("data/mei", FILES)
    repo.commit()
    with pytest.raises(InputError, match="holds datasets of DVC") as caught:
        resolve(repo, "data")
    assert caught.value.findings[0].hint.endswith("data/mei")


def test_names_that_are_no_text_do_no_harm_but_in_a_dataset(repo):
    base = repo.commit()
    name = os.fsencode(repo.root) + b"/data/\xff.png"
    (repo.root / "data").mkdir()
    with open(name, "wb") as file:
        file.write(b"a")
    repo.write("other/a.png", b"a")
    head = repo.commit()
    git = open_repository(repo.root)
    assert changed_files(git, base, head) == ("data/\\xff.png", "other/a.png")
    assert len(resolve(repo, "other").entries) == 1
    with pytest.raises(InputError, match="not a plain path"):
        resolve(repo, "data")
    (change,) = changes_between(git, base, head, open_objects(git), ("data",))
    assert change.added == ("\\xff.png",)


def test_a_reader_that_is_left_early_leaves_no_process(repo):
    for i in range(5):
        repo.write(f"{i}.txt", str(i) * 100_000)
    git = open_repository(repo.root)
    blobs = git.blobs([entry.oid for entry in git.listed(repo.commit())] * 300)
    assert len(next(blobs)) > 0
    blobs.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_file_of_a_commit_and_the_files_of_a_tree(repo):
    repo.write("data/[a]*.txt", "text")
    head = repo.commit()
    git = open_repository(repo.root)
    assert git.file(head, "data/[a]*.txt") == b"text"
    assert git.file(head, "data") is None
    assert git.file(head, "data/*") is None
    tree = git.tree(head).entries["data"].oid
    assert [entry.path for entry in git.folder(tree)] == ["[a]*.txt"]
    assert git.folder("0" * 40) is None
    assert git.folder("d41d8cd98f00b204e9800998ecf8427e.dir") is None
