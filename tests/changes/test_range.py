"""Which commit a head is compared with, for every way in which branches move."""

import subprocess

import pytest

from lora_ci.changes.git import open_repository
from lora_ci.changes.range import default_branch, fetched, find_range
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.event import EventKind
from tests.builders import RepoBuilder

ZERO = "0" * 40


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    built = RepoBuilder(tmp_path)
    for name in ("one", "two"):
        built.commit(name)
    return built


def push(repo: RepoBuilder, head: str, before: str | None = None, **known):
    known = {"default_branch": "main", **known}
    git = open_repository(repo.root)
    return find_range(git, head=head, kind=EventKind.PUSH, before=before, **known)


def pull_request(repo: RepoBuilder, head: str, base: str):
    return find_range(open_repository(repo.root), head=head, kind=EventKind.PULL_REQUEST, base=base)


def branch(repo: RepoBuilder, name: str, *commits: str, start: str = "main") -> str:
    repo.git("checkout", "-q", "-b", name, start)
    return [repo.commit(commit) for commit in commits][-1]


def test_a_pull_request_is_compared_with_where_it_left(repo):
    fork = repo.git("rev-parse", "main")
    head = branch(repo, "topic", "a", "b")
    repo.git("checkout", "-q", "main")
    repo.commit("three")
    found = pull_request(repo, head, "main")
    assert found.base == fork
    assert found.why == "where it left main"
    by_id = pull_request(repo, head, repo.git("rev-parse", "main"))
    assert (by_id.base, by_id.why) == (fork, "where it left the branch it goes to")


def test_a_branch_that_is_called_like_a_commit_is_not_it(repo):
    looked_at, other = repo.git("rev-parse", "main"), branch(repo, "topic", "a")
    repo.git("update-ref", f"refs/remotes/origin/{looked_at}", other)
    assert fetched(open_repository(repo.root), looked_at) == looked_at


def test_of_the_bases_of_a_criss_cross_one_is_taken_and_that_is_said(repo):
    one = branch(repo, "x", "a")
    other = branch(repo, "y", "b", start="main")
    repo.git("merge", "-q", "--no-edit", one)
    repo.git("checkout", "-q", "x")
    repo.git("merge", "-q", "--no-edit", other)
    found = pull_request(repo, repo.git("rev-parse", "x"), repo.git("rev-parse", "y"))
    assert found.base in (one, other)
    assert "first of 2 merge bases" in found.why


def test_an_octopus_merge_has_a_base(repo):
    fork = repo.git("rev-parse", "main")
    tips = [branch(repo, name, name, start="main") for name in "abc"]
    repo.git("checkout", "-q", "-b", "octopus", tips[0])
    repo.git("merge", "-q", "--no-edit", *tips[1:])
    assert pull_request(repo, repo.git("rev-parse", "HEAD"), "main").base == fork


def test_a_push_of_many_commits_is_compared_with_what_was_before(repo):
    before = repo.git("rev-parse", "main")
    for name in ("three", "four"):
        repo.commit(name)
    found = push(repo, repo.git("rev-parse", "main"), before)
    assert (found.base, found.why) == (before, "the branch before this push")


def test_the_first_push_of_a_branch_is_compared_with_where_it_left(repo):
    fork = repo.git("rev-parse", "main")
    found = push(repo, branch(repo, "topic", "a", "b"), ZERO)
    assert (found.base, found.why) == (fork, "a new branch: where it left main")


def test_after_a_forced_push_it_is_where_the_branch_left(repo):
    fork = repo.git("rev-parse", "main")
    before = branch(repo, "topic", "a")
    repo.git("reset", "-q", "--hard", "main")
    head = repo.commit("b")
    found = push(repo, head, before)
    assert (found.base, found.why) == (fork, "a forced push: where it left main")


def test_a_rewritten_default_branch_goes_back_to_the_last_success(repo):
    passed = repo.git("rev-parse", "main~1")
    repo.git("reset", "-q", "--hard", "main~1")
    head = repo.commit("other")
    found = push(repo, head, "f" * 40, last_success=passed)
    assert found.base == passed
    assert found.why == "the commit before this push is gone: the last commit that passed"
    assert push(repo, head, "f" * 40, last_success="e" * 40).base == passed  # its parent


def test_on_the_default_branch_with_nothing_known_it_is_the_first_parent(repo):
    head = repo.git("rev-parse", "main")
    assert push(repo, head).base == repo.git("rev-parse", "main~1")
    first = push(repo, repo.git("rev-parse", "main~1"))
    assert (first.base, "everything is new" in first.why) == (None, True)


def test_an_orphan_branch_is_all_new(repo):
    repo.git("checkout", "-q", "--orphan", "island")
    head = repo.commit("island")
    for found in (push(repo, head, ZERO), pull_request(repo, head, "main")):
        assert found.base is None
        assert "no history in common" in found.why


def test_no_default_branch_is_all_new_unless_something_passed(repo):
    head = repo.git("rev-parse", "main")
    passed = repo.git("rev-parse", "main~1")
    assert push(repo, head, default_branch=None).base is None
    assert push(repo, head, default_branch=None, last_success=passed).base == passed


def test_a_deleted_branch_says_so(repo):
    with pytest.raises(UsageError, match="the branch was deleted"):
        push(repo, ZERO, repo.git("rev-parse", "main"))


def test_a_base_that_was_asked_for_is_taken_or_missed(repo):
    git, head = open_repository(repo.root), repo.git("rev-parse", "main")
    found = find_range(git, head=head, kind=EventKind.MANUAL, base="main~1")
    assert (found.base, found.why) == (repo.git("rev-parse", "main~1"), "main~1, as asked")
    with pytest.raises(UsageError, match="no commit `nope`"):
        find_range(git, head=head, kind=EventKind.MANUAL, base="nope")


def shallow(repo: RepoBuilder, folder, *options: str):
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    url = f"file://{repo.root}"
    subprocess.run(["git", "clone", "-q", "--depth=1", *options, url, str(folder)], check=True)
    return open_repository(folder)


def test_a_missing_base_is_fetched_into_a_shallow_clone(repo, tmp_path):
    before = repo.git("rev-parse", "main")
    repo.write("big.bin", "x" * 1000)
    for name in ("three", "four"):
        repo.commit(name)
    git = shallow(repo, tmp_path / "clone")
    head = git.commit("HEAD")
    known = {"before": before, "default_branch": "main"}
    found = find_range(git, head=head, kind=EventKind.PUSH, **known)
    assert git.find_commit(before) == before
    assert found.base == before
    assert found.why == "the branch before this push"


def test_the_parent_is_fetched_into_a_shallow_clone_or_everything_is_new(repo, tmp_path):
    git = shallow(repo, tmp_path / "clone")
    head = git.commit("HEAD")
    there = git.git("remote", "get-url", "origin").stdout.decode().strip()
    git.git("remote", "set-url", "origin", f"file://{tmp_path}/gone")
    found = find_range(git, head=head, kind=EventKind.PUSH, default_branch="main")
    assert (found.base, found.why) == (None, "the history is cut off: everything is new")
    git.git("remote", "set-url", "origin", there)
    found = find_range(git, head=head, kind=EventKind.PUSH, default_branch="main")
    assert found.base == repo.git("rev-parse", "main~1")


def test_a_whole_clone_stays_whole_when_a_base_is_fetched(repo, tmp_path):
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", f"file://{repo.root}", str(folder)], check=True)
    git = open_repository(folder)
    repo.write("new.txt", "not in the clone")
    before = repo.commit("three")
    settings = (folder / ".git" / "config").read_bytes()
    known = {"before": before, "default_branch": "main"}
    find_range(git, head=git.commit("HEAD"), kind=EventKind.PUSH, **known)
    assert git.find_commit(before) == before
    assert (folder / ".git" / "config").read_bytes() == settings
    assert not (folder / ".git" / "shallow").exists()
    listed = git.git("rev-list", "--objects", "--missing=print", "--all", before).stdout
    assert b"new.txt" in listed
    assert b"?" not in listed


def test_a_shallow_clone_is_deepened_until_there_is_a_merge_base(repo, tmp_path):
    fork = repo.git("rev-parse", "main")
    head = branch(repo, "topic", *(str(i) for i in range(60)))
    repo.git("checkout", "-q", "main")
    repo.commit("three")
    git = shallow(repo, tmp_path / "clone", "--no-single-branch")
    found = find_range(git, head=head, kind=EventKind.PULL_REQUEST, base="main")
    assert found.base == fork


def test_a_history_that_is_cut_off_for_good_is_an_error_not_a_guess(repo, tmp_path):
    head = branch(repo, "topic", "a", "b")
    repo.git("checkout", "-q", "main")
    repo.commit("three")
    git = shallow(repo, tmp_path / "clone", "--no-single-branch")
    git.git("remote", "set-url", "origin", f"file://{tmp_path}/gone")
    with pytest.raises(InfrastructureError, match="cut off"):
        find_range(git, head=head, kind=EventKind.PULL_REQUEST, base="main")


def test_the_default_branch_is_what_origin_says(repo, tmp_path):
    branch(repo, "trunk", "a")
    git = shallow(repo, tmp_path / "clone", "--no-single-branch")
    assert default_branch(git) == "trunk"
    git.git("remote", "set-head", "origin", "-d")
    assert default_branch(git) == "main"
    assert default_branch(open_repository(repo.root)) == "main"
