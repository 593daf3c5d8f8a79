"""What is not the API: signed downloads, web pages of files, and a way to put artifacts in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.fake_github.call import Answer, Request
from tests.fake_github.git_store import GitFailed
from tests.fake_github.state import Artifact, WorkflowRun

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub


_PATHS = re.compile(
    r"/_fake/(?:artifacts/[^/]+/[^/]+/\d+|log$)"
    r"|/downloads/(?:assets|artifacts)/\d+/\d+$"
    r"|/(?!repos/|repositories/)[^/]+/[^/]+/(?:(?:blob|raw)/[\w.-]+/.|releases/download/[^/]+/[^/]+$)"
)


def serves(path: str) -> bool:
    """True for a path that is no operation of the API."""
    return _PATHS.match(path) is not None


def serve(hub: FakeGitHub, request: Request) -> Answer:
    """Answers a path that `serves` says yes to.

    PUT /_fake/artifacts/{owner}/{repo}/{run}/{name} keeps a zip as the artifact of a workflow run
    (which is made up if unknown); GET gives it back; GET …/{run} lists names as JSON.
    GET /_fake/log lists all requests: method, path, status.
    """
    parts = [unquote(part) for part in request.path.strip("/").split("/")]
    match parts:
        case ["downloads", kind, repo, wanted]:
            return _download(hub, kind, int(repo), int(wanted))
        case ["_fake", "artifacts", owner, name, run, *rest]:
            return _artifacts(hub, f"{owner}/{name}", int(run), rest, request)
        case ["_fake", "log"]:
            return Answer(200, [[r.method, r.path, r.status] for r in hub.requests])
        case [owner, name, "releases", "download", tag, file]:
            return _release_file(hub, f"{owner}/{name}", tag, file)
        case [owner, name, _, sha, *file]:
            return _file(hub, f"{owner}/{name}", sha, "/".join(file))
    return _NOTHING


_NOTHING = Answer(404, {"message": "Not Found"})


def _artifacts(
    hub: FakeGitHub, full_name: str, run: int, rest: list[str], request: Request
) -> Answer:
    repo = hub.repos.get(full_name.lower())
    if repo is None:
        return _NOTHING
    mine = [a for a in repo.artifacts.values() if a.run == run]
    if not rest:
        return Answer(200, [a.name for a in mine])
    same = [a for a in mine if a.name == rest[0]]
    if request.method == "GET":
        return Answer(200, same[0].data) if same else _NOTHING
    if same:
        return Answer(409, {"message": "an artifact with this name already exists on the run"})
    if run not in repo.runs:
        repo.runs[run] = WorkflowRun(
            run, "loras", "push", "0" * 40, repo.default_branch, repo.owner, hub.now()
        )
    artifact = Artifact(hub.new_id(), rest[0], run, request.data, hub.now(), repo.runs[run].head)
    repo.artifacts[artifact.id] = artifact
    return Answer(201, {"id": artifact.id})


def _download(hub: FakeGitHub, kind: str, repo_id: int, wanted: int) -> Answer:
    for repo in hub.repos.values():
        if repo.id == repo_id and kind == "artifacts" and wanted in repo.artifacts:
            kept = repo.artifacts[wanted]
            return Answer(200, kept.data, {"Content-Type": "application/zip"})
        for _, asset in repo.assets() if repo.id == repo_id and kind == "assets" else ():
            if asset.id == wanted:
                return Answer(200, asset.data, {"Content-Type": "application/octet-stream"})
    return _NOTHING


def _release_file(hub: FakeGitHub, full_name: str, tag: str, name: str) -> Answer:
    repo = hub.repos.get(full_name.lower())
    for release, asset in repo.assets() if repo else ():
        if release.tag == tag and asset.name == name and not release.draft:
            return Answer(200, asset.data, {"Content-Type": "application/octet-stream"})
    return _NOTHING


def _file(hub: FakeGitHub, full_name: str, sha: str, path: str) -> Answer:
    repo = hub.repos.get(full_name.lower())
    if repo is None:
        return _NOTHING
    store = hub.store(repo)
    try:
        commit = store.resolve(sha)
        entry = store.entry(commit, path) if commit else None
        if entry is None or entry[1] != "blob":
            return _NOTHING
        kind = "image/png" if path.endswith(".png") else "text/plain"
        return Answer(200, store.blob(entry[2]), {"Content-Type": kind})
    except GitFailed:
        return _NOTHING
