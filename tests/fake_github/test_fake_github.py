"""The fake behaves as GitHub does, seen by real clients: PyGithub and git."""

import subprocess

import github
import pytest

from tests.fake_github import FakeGitHub

REPO = "acme/loras"
SHA, BASE = "a" * 40, "b" * 40


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        hub.add_repo(REPO)
        yield hub


def repo_of(hub, token=None, base=None):
    client = github.Github(
        auth=github.Auth.Token(token or hub.token()),
        base_url=base or hub.api_url,
        retry=None,
        timeout=10,
        seconds_between_requests=0,
        seconds_between_writes=0,
    )
    return client.get_repo(REPO)


def git(folder, *args):
    subprocess.run(["git", "-C", folder, *args], check=True, timeout=30)


def test_comments_and_reactions(hub):
    pull = hub.open_pull(REPO, head=SHA, base=BASE)
    repo = repo_of(hub)
    issue = repo.get_issue(pull.number)
    for n in range(33):
        issue.create_comment(f"comment {n}")
    assert [c.body for c in issue.get_comments()] == [f"comment {n}" for n in range(33)]
    comment = issue.get_comments()[3]
    comment.edit("changed")
    for content in ("eyes", "eyes", "rocket"):
        comment.create_reaction(content)
    assert [r.content for r in comment.get_reactions()] == ["eyes", "rocket"]
    comment.delete_reaction(comment.get_reactions()[0].id)
    issue.get_comments()[0].delete()
    bodies = [c.body for c in repo.get_issues_comments()]
    assert (len(bodies), bodies[2]) == (32, "changed")
    assert [r.content for r in hub.repo(REPO).comments[comment.id].reactions] == ["rocket"]


def test_pulls_of_forks_and_merged(hub):
    hub.open_pull(REPO, head=SHA, base=BASE, fork="mallory/loras", login="mallory")
    hub.open_pull(REPO, head=SHA, base=BASE)
    hub.merge_pull(REPO, 2, "c" * 40)
    repo = repo_of(hub)
    fork, merged = repo.get_pull(1), repo.get_pull(2)
    assert (fork.head.repo.full_name, fork.base.repo.full_name) == ("mallory/loras", REPO)
    assert (merged.merged, merged.merge_commit_sha, merged.state) == (True, "c" * 40, "closed")
    assert [p.number for p in repo.get_pulls()] == [1]
    assert [p.number for p in repo.get_pulls(state="all")] == [2, 1]


def test_the_head_of_a_fork_can_be_fetched(hub, tmp_path):
    repo_of(hub).create_file("a.txt", "first", "hello\n")
    fork = tmp_path / "fork"
    git(tmp_path, "clone", "-q", hub.git_url(REPO), "fork")
    git(fork, "checkout", "-qb", "topic")
    git(fork, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "m", "--allow-empty")
    hub.add_repo("mallory/loras", path=fork, fork_of=REPO)
    head = hub.store("mallory/loras").resolve("topic")
    hub.open_pull(REPO, head=head, head_ref="topic", fork="mallory/loras", login="mallory")
    assert hub.store(REPO).refs() == {
        "refs/heads/main": hub.store(REPO).resolve("main"),
        "refs/pull/1/head": head,
    }


def test_permissions(hub):
    hub.grant("mei", REPO, "maintain")
    hub.person("guest")
    repo = repo_of(hub)
    assert repo.get_collaborator_role_name("mei") == "maintain"
    assert repo.get_collaborator_permission("mei") == "write"
    assert repo.get_collaborator_permission("guest") == "read"


def test_checks(hub):
    repo = repo_of(hub)
    note = {
        "path": "a",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "message": "m",
    }
    output = {"title": "t", "summary": "s", "annotations": [note] * 50}
    run = repo.create_check_run("LoRA mei", SHA, status="in_progress", output=output)
    assert run.conclusion is None
    run.edit(conclusion="success", output={**output, "annotations": [note]})
    assert len(list(run.get_annotations())) == 51
    for too_much in ({"annotations": [note] * 51}, {"summary": "s" * 65_536}):
        with pytest.raises(github.GithubException, match="422"):
            run.edit(output={**output, "annotations": [], **too_much})
    assert repo.get_check_run(run.id).status == "completed"
    assert repo.get_check_suite(hub.repo(REPO).checks[run.id].suite).conclusion == "success"


def test_git_objects_contents_statuses(hub):
    repo = repo_of(hub)
    repo.create_file("a.txt", "first", "hello\n")
    old = repo.get_contents("a.txt")
    repo.update_file("a.txt", "second", "world\n", old.sha)
    with pytest.raises(github.GithubException, match="409"):
        repo.update_file("a.txt", "third", "lost\n", old.sha)
    main = repo.get_branch("main").commit
    element = github.InputGitTreeElement("p/x.txt", "100644", "blob", content="x")
    tree = repo.create_git_tree([element], repo.get_git_tree(main.sha))
    commit = repo.create_git_commit("more", tree, [repo.get_git_commit(main.sha)])
    ref = repo.create_git_ref("refs/heads/other", commit.sha)
    with pytest.raises(github.GithubException, match="already exists"):
        repo.create_git_ref("refs/heads/other", commit.sha)
    pull = repo.get_pull(hub.open_pull(REPO, head=commit.sha, head_ref="other").number)
    assert [(f.filename, f.status, f.additions) for f in pull.get_files()] == [
        ("p/x.txt", "added", 1)
    ]
    assert [c.sha for c in pull.get_commits()] == [commit.sha]
    head = repo.get_commit(commit.sha)
    assert [p.number for p in head.get_pulls()] == [1]
    head.create_status("failure", context="lora-ci")
    head.create_status("success", context="lora-ci")
    assert head.get_combined_status().state == "success"
    assert [s.state for s in head.get_statuses()] == ["success", "failure"]
    side = repo.create_git_commit("side", tree, [])
    with pytest.raises(github.GithubException, match="fast forward"):
        repo.get_git_ref("heads/main").edit(side.sha)
    repo.get_git_ref("heads/main").edit(commit.sha)
    ref.delete()
    assert [b.name for b in repo.get_branches()] == ["main"]
    assert sorted(f.name for f in repo.get_contents("")) == ["a.txt", "p"]


def test_git_over_http(hub, tmp_path):
    repo_of(hub).create_file("a.txt", "first", "hello\n")
    hub.repo(REPO).private = True
    writer, reader = hub.token(), hub.token({"contents": "read"})
    clone = tmp_path / "clone"
    url = hub.git_url(REPO)
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "-c", "core.askPass=true", "clone", "-q", url, "nothing")
    subprocess.run(["git", "clone", "-q", url.replace("//", f"//x:{writer}@"), clone], check=True)
    hub.open_pull(REPO, head=hub.store(REPO).resolve("main"), head_ref="topic")
    (clone / "big").write_bytes(bytes(range(256)) * 8192)  # more than git posts in one piece
    git(clone, "checkout", "-qb", "topic")
    git(clone, "add", ".")
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "m")
    git(clone, "push", "-q", "origin", "topic")
    git(clone, "fetch", "-q", "origin", "refs/pull/1/head")
    assert hub.repo(REPO).pulls[1].head == hub.store(REPO).resolve("topic")
    git(clone, "remote", "set-url", "origin", url.replace("//", f"//x:{reader}@"))
    git(clone, "fetch", "-q", "origin")
    with pytest.raises(subprocess.CalledProcessError):
        git(clone, "push", "-q", "origin", "topic:other")


@pytest.mark.parametrize("enterprise", [False, True])
def test_releases(hub, tmp_path, enterprise):
    hub.repo(REPO).immutable_releases = True
    repo = repo_of(hub, base=hub.enterprise_url if enterprise else None)
    repo.create_file("a.txt", "first", "hello\n")
    release = repo.create_git_release("mei@v1.0.0", "Mei", "notes", draft=True)
    file = tmp_path / "mei.safetensors"
    file.write_bytes(b"\0" * 1000)
    release.upload_asset(str(file))
    with pytest.raises(github.GithubException, match="already_exists"):
        release.upload_asset(str(file))
    with pytest.raises(github.UnknownObjectException):
        repo.get_latest_release()
    release = release.update_release("Mei", "notes", draft=False)
    assert repo.get_release("mei@v1.0.0").id == release.id == repo.get_latest_release().id
    assert repo.get_git_ref("tags/mei@v1.0.0").object.sha == repo.get_branch("main").commit.sha
    with pytest.raises(github.GithubException, match="immutable"):
        release.upload_asset(str(file), name="late.bin")
    asset = repo.get_releases()[0].get_assets()[0]
    asset.download_asset(str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
