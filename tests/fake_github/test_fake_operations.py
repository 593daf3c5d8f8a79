"""Every operation that only reads answers as GitHub's description says."""

import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fake_github import FakeGitHub
from tests.fake_github.client import ask
from tests.fake_github.routes import OPERATIONS
from tests.fake_github.state import Artifact, Job, ReviewComment, WorkflowRun

REPO = "acme/loras"
AT = f"/repos/{REPO}"


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        hub.add_repo(REPO)
        yield hub


class Idle:
    """A machine that begins nothing."""

    def begin(self, run, inputs):
        pass

    def cancel(self, run, *, hard):
        run.status, run.conclusion = "completed", "cancelled"


def test_every_operation_that_reads(hub):
    values, app_token = filled(hub)
    person = hub.token(kind="classic", login="acme", scopes=("repo", "admin:org"))
    minted = ask(
        hub,
        f"POST /app/installations/{values['installation_id']}/access_tokens",
        {},
        token=app_token,
    ).json["token"]
    for _, template in sorted(op for op in OPERATIONS if op[0] == "GET"):
        path = template
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", str(value))
        if "/app/hook/deliveries" in path:
            path = path.replace(str(values["delivery_id"]), str(values["app_delivery_id"]))
        if "/git/ref/" in path or "/matching-refs/" in path:
            path = path.replace("/main", "/heads/main")
        of_app = template.startswith("/app") or template.endswith("/installation")
        token = app_token if of_app else person
        token = minted if template == "/installation/repositories" else token
        heard = ask(hub, f"GET {path}", token=token)
        assert heard.status in (200, 302), (path, heard.json)


def filled(hub):
    """A hub with one of everything: values for the parts of paths, and a JWT of its app."""
    token = hub.token()
    put = {"message": "m", "content": "aGVsbG8K"}
    commit = ask(hub, f"PUT {AT}/contents/a.txt", put, token=token).json["commit"]
    head = commit["sha"]
    pull = hub.open_pull(REPO, head=head)
    comment = ask(hub, f"POST {AT}/issues/1/comments", {"body": "x"}, token=token).json["id"]
    ask(hub, f"POST {AT}/issues/comments/{comment}/reactions", {"content": "eyes"}, token=token)
    note = {"path": "a", "start_line": 1, "end_line": 1, "message": "m"}
    note["annotation_level"] = "warning"
    output = {"title": "t", "summary": "s", "annotations": [note]}
    asked = {"name": "n", "head_sha": head, "output": output}
    check = ask(hub, f"POST {AT}/check-runs", asked, token=token).json
    ask(hub, f"POST {AT}/statuses/{head}", {"state": "success"}, token=token)
    release = ask(hub, f"POST {AT}/releases", {"tag_name": "mei@v1"}, token=token).json["id"]
    uploads = f"POST /api/uploads{AT}/releases/{release}/assets?name=a.bin"
    asset = ask(
        hub, uploads, b"x", token=token, headers={"Content-Type": "application/octet-stream"}
    ).json["id"]
    repo = hub.repo(REPO)
    repo.workflows["loras.yml"] = Idle()
    repo.runs[7] = WorkflowRun(7, "loras", "push", head, "main", "acme", 0, jobs=[Job(8, "plan")])
    repo.review_comments[comment] = ReviewComment(
        comment, pull.number, "x", "mei", 0, 0, "a.txt", 1, None, head
    )
    repo.artifacts[9] = Artifact(9, "a", 7, b"PK", 0)
    hook = hub.add_hook(REPO, "http://127.0.0.1:9/", "s")
    app_hook = hub.add_hook(REPO, "http://127.0.0.1:9/", "s")
    deliveries = [
        hub.deliver(h.url, "s", "push", hub.payload("push", REPO, after=head), hook=h, lost=True)
        for h in (hook, app_hook)
    ]
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    app = hub.add_app(public, hook=app_hook)
    now = int(time.time())
    signed = jwt.encode({"iss": str(app.id), "iat": now, "exp": now + 60}, key, algorithm="RS256")
    store = hub.store(REPO)
    values = {
        "owner": "acme",
        "repo": "loras",
        "org": "acme",
        "username": "acme",
        "issue_number": pull.number,
        "pull_number": pull.number,
        "comment_id": comment,
        "check_run_id": check["id"],
        "check_suite_id": check["check_suite"]["id"],
        "commit_sha": head,
        "ref": "main",
        "branch": "main",
        "path": "a.txt",
        "tree_sha": commit["tree"]["sha"],
        "file_sha": store.text("rev-parse", "main:a.txt"),
        "release_id": release,
        "tag": "mei@v1",
        "asset_id": asset,
        "run_id": 7,
        "workflow_id": "loras.yml",
        "job_id": 8,
        "artifact_id": 9,
        "archive_format": "zip",
        "hook_id": hook.id,
        "delivery_id": deliveries[0].id,
        "app_delivery_id": deliveries[1].id,
        "installation_id": hub.install(app, REPO),
    }
    return values, signed


def test_a_workflow_is_run_listed_and_cancelled(hub):
    hub.repo(REPO).workflows["step.yml"] = Idle()
    at, token = f"{AT}/actions/workflows/step.yml", hub.token({"actions": "write"})
    body = {"ref": "main", "inputs": {"key": "k"}}
    assert ask(hub, f"POST {at}/dispatches", body, token=token).status == 204
    told = ask(hub, f"POST {at}/dispatches", body | {"return_run_details": True}, token=token).json
    listed = f"GET {at}/runs?event=workflow_dispatch&created=%3E%3D2024-01-01"
    runs = ask(hub, listed, token=token).json["workflow_runs"]
    assert [run["display_title"] for run in runs] == ["lora-ci k"] * 2
    assert runs[0]["id"] == told["workflow_run_id"]
    later = listed.replace("2024", "2124")
    assert ask(hub, later, token=token).json["workflow_runs"] == []
    run = f"{AT}/actions/runs/{told['workflow_run_id']}"
    assert ask(hub, f"POST {run}/cancel", {}, token=token).status == 202
    assert ask(hub, f"POST {run}/force-cancel", {}, token=token).status == 409
    elsewhere = f"POST {AT}/actions/workflows/other.yml/dispatches"
    assert ask(hub, elsewhere, body, token=token).status == 404
    assert ask(hub, f"POST {at}/dispatches", body | {"ref": "x"}, token=token).status == 422
