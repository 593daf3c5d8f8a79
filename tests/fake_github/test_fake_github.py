"""The fake behaves as GitHub does, seen by real clients."""

import subprocess

import github
import pytest

from tests.fake_github import FakeGitHub

SHA = "a" * 40


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        yield hub


def client(hub: FakeGitHub, token: str, base: str | None = None) -> github.Github:
    return github.Github(
        auth=github.Auth.Token(token),
        base_url=base or hub.api_url,
        retry=None,
        timeout=10,
        seconds_between_requests=0,
        seconds_between_writes=0,
    )


def test_comments_and_reactions(hub):
    hub.add_repo("acme/loras")
    pull = hub.open_pull("acme/loras", head=SHA, base="b" * 40)
    repo = client(hub, hub.token()).get_repo("acme/loras")
    issue = repo.get_issue(pull.number)
    for n in range(35):
        issue.create_comment(f"comment {n}")
    assert [c.body for c in issue.get_comments()] == [f"comment {n}" for n in range(35)]
    comment = issue.get_comments()[3]
    comment.edit("changed")
    comment.create_reaction("eyes")
    comment.create_reaction("eyes")
    comment.create_reaction("rocket")
    assert [r.content for r in comment.get_reactions()] == ["eyes", "rocket"]
    issue.get_comments()[0].delete()
    bodies = [c.body for c in repo.get_issues_comments()]
    assert len(bodies) == 34
    assert bodies[2] == "changed"
    assert repo.get_pull(pull.number).head.sha == SHA
    assert [p.number for p in repo.get_pulls()] == [1]
    assert repo.get_collaborator_role_name("acme") == "admin"


def test_checks_and_statuses(hub):
    hub.add_repo("acme/loras")
    hub.open_pull("acme/loras", head=SHA, base="b" * 40)
    repo = client(hub, hub.token()).get_repo("acme/loras")
    annotation = {
        "path": "a",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "message": "m",
    }
    output = {"title": "t", "summary": "s", "annotations": [annotation] * 50}
    run = repo.create_check_run("LoRA mei", SHA, status="in_progress", output=output)
    run.edit(
        conclusion="success", output={"title": "t", "summary": "s", "annotations": [annotation]}
    )
    assert run.get_annotations().totalCount == 51 or len(list(run.get_annotations())) == 51
    with pytest.raises(github.GithubException) as caught:
        run.edit(output={**output, "annotations": [annotation] * 51})
    assert caught.value.status == 422
    # A commit's id needs no objects here.
    repo._requester.requestJsonAndCheck(
        "POST", f"/repos/acme/loras/statuses/{SHA}", input={"state": "success", "context": "c"}
    )
    _, data = repo._requester.requestJsonAndCheck("GET", f"/repos/acme/loras/commits/{SHA}/status")
    assert data["state"] == "success"
    _, data = repo._requester.requestJsonAndCheck(
        "GET", f"/repos/acme/loras/commits/{SHA}/check-runs"
    )
    assert [c["conclusion"] for c in data["check_runs"]] == ["success"]
    _, data = repo._requester.requestJsonAndCheck(
        "GET", f"/repos/acme/loras/commits/{SHA}/check-suites"
    )
    assert data["total_count"] == 1


def test_git_and_contents(hub, tmp_path):
    hub.add_repo("acme/loras")
    token = hub.token()
    repo = client(hub, token).get_repo("acme/loras")
    repo.create_file("a.txt", "first", "hello\n")
    old = repo.get_contents("a.txt")
    repo.update_file("a.txt", "second", "world\n", old.sha)
    with pytest.raises(github.GithubException) as caught:
        repo.update_file("a.txt", "third", "lost\n", old.sha)
    assert caught.value.status == 409
    main = repo.get_branch("main").commit
    blob = repo.create_git_blob("x", "utf-8")
    element = github.InputGitTreeElement("p/x.txt", "100644", "blob", sha=blob.sha)
    tree = repo.create_git_tree([element], repo.get_git_tree(main.sha))
    commit = repo.create_git_commit("more", tree, [repo.get_git_commit(main.sha)])
    ref = repo.create_git_ref("refs/heads/other", commit.sha)
    with pytest.raises(github.GithubException):
        repo.create_git_ref("refs/heads/other", commit.sha)
    assert repo.get_git_ref("heads/other").object.sha == commit.sha
    pull = hub.open_pull("acme/loras", head=commit.sha, head_ref="other")
    assert [f.filename for f in repo.get_pull(pull.number).get_files()] == ["p/x.txt"]
    assert [c.sha for c in repo.get_pull(pull.number).get_commits()] == [commit.sha]
    assert [p.number for p in repo.get_commit(commit.sha).get_pulls()] == [pull.number]
    with pytest.raises(github.GithubException):
        repo.get_git_ref("heads/main").edit(blob.sha)
    repo.get_git_ref("heads/main").edit(commit.sha)
    ref.delete()
    url = hub.git_url("acme/loras").replace("://", f"://x:{token}@")
    subprocess.run(["git", "clone", "-q", url, tmp_path / "c"], check=True)
    assert (tmp_path / "c" / "p" / "x.txt").read_text() == "x"
    (tmp_path / "c" / "new").write_text("n")
    for command in (
        ["checkout", "-qb", "topic"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "m"],
        ["push", "-q", "origin", "topic"],
        ["fetch", "-q", "origin", "refs/pull/1/head"],
    ):
        subprocess.run(["git", "-C", tmp_path / "c", *command], check=True)
    assert {b.name for b in repo.get_branches()} == {"main", "topic"}


def test_releases(hub, tmp_path):
    hub.add_repo("acme/loras").immutable_releases = True
    repo = client(hub, hub.token(), hub.enterprise_url).get_repo("acme/loras")
    repo.create_file("a.txt", "first", "hello\n")
    release = repo.create_git_release(
        "mei@v1.0.0", "Mei", "notes", draft=True, target_commitish="main"
    )
    file = tmp_path / "mei.safetensors"
    file.write_bytes(b"\0" * 1000)
    release.upload_asset(str(file))
    with pytest.raises(github.GithubException):
        release.upload_asset(str(file))
    release = release.update_release("Mei", "notes", draft=False)
    assert repo.get_release("mei@v1.0.0").id == release.id
    assert repo.get_latest_release().id == release.id
    with pytest.raises(github.GithubException):
        release.upload_asset(str(file), name="late.bin")
    assert [a.name for a in repo.get_releases()[0].get_assets()] == ["mei.safetensors"]
    asset = release.get_assets()[0]
    asset.download_asset(str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
