"""What is not the API: signed downloads, web pages of files, and a way to put artifacts in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.fake_github.call import Answer
from tests.fake_github.git_store import GitFailed
from tests.fake_github.state import Artifact, Repo, WorkflowRun

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub


def serve(hub: FakeGitHub, method: str, path: str, data: bytes) -> Answer | None:
    """An answer, None if the path is none of these.

    PUT /_fake/artifacts/{owner}/{repo}/{run}/{name} keeps a zip as the artifact of a workflow run
    (which is made up if unknown); GET gives it back; GET …/{run} lists names as JSON.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    match method, parts:
        case "GET", ["api", "downloads", "assets", repo, asset]:
            return _asset(hub, int(repo), int(asset))
        case "GET", ["api", "downloads", "artifacts", repo, artifact]:
            return _artifact(hub, int(repo), int(artifact))
        case _, ["_fake", "artifacts", owner, name, run, *rest]:
            found = hub.repos.get(f"{owner}/{name}".lower())
            if found is None or not run.isdigit():
                return Answer(404, {"message": "Not Found"})
            return _artifacts(hub, found, int(run), method, rest, data)
        case "GET", ["_fake", "log"]:
            return Answer(200, [[r.method, r.path, r.status] for r in hub.requests])
        case "GET", [owner, name, "blob" | "raw", sha, *file]:
            return _file(hub, f"{owner}/{name}", sha, "/".join(file))
        case "GET", [owner, name, "releases", "download", tag, file]:
            return _release_file(hub, f"{owner}/{name}", tag, file)
    return None


def _artifacts(
    hub: FakeGitHub, repo: Repo, run: int, method: str, rest: list[str], data: bytes
) -> Answer:
    mine = [a for a in repo.artifacts.values() if a.run == run]
    if not rest:
        return Answer(200, [a.name for a in mine])
    same = [a for a in mine if a.name == rest[0]]
    if method == "GET":
        return Answer(200, same[0].data) if same else Answer(404, {"message": "Not Found"})
    if same:
        return Answer(409, {"message": "an artifact with this name already exists on the run"})
    if run not in repo.runs:
        repo.runs[run] = WorkflowRun(
            run, "loras", "push", "0" * 40, repo.default_branch, repo.owner, hub.now()
        )
    artifact = Artifact(hub.new_id(), rest[0], run, data, hub.now(), repo.runs[run].head)
    repo.artifacts[artifact.id] = artifact
    return Answer(201, {"id": artifact.id})


def _of_id(hub: FakeGitHub, repo: int) -> Repo | None:
    return next((r for r in hub.repos.values() if r.id == repo), None)


def _artifact(hub: FakeGitHub, repo: int, artifact: int) -> Answer:
    found = _of_id(hub, repo)
    kept = found.artifacts.get(artifact) if found else None
    if kept is None:
        return Answer(404, b"")
    return Answer(200, kept.data, {"Content-Type": "application/zip"})


def _asset(hub: FakeGitHub, repo: int, asset: int) -> Answer:
    found = _of_id(hub, repo)
    for _, kept in found.assets() if found else ():
        if kept.id == asset:
            return Answer(200, kept.data, {"Content-Type": "application/octet-stream"})
    return Answer(404, b"")


def _release_file(hub: FakeGitHub, full_name: str, tag: str, name: str) -> Answer:
    repo = hub.repos.get(full_name.lower())
    for release, asset in repo.assets() if repo else ():
        if release.tag == tag and asset.name == name and not release.draft:
            return Answer(200, asset.data, {"Content-Type": "application/octet-stream"})
    return Answer(404, b"")


def _file(hub: FakeGitHub, full_name: str, sha: str, path: str) -> Answer | None:
    repo = hub.repos.get(full_name.lower())
    if repo is None or not re.fullmatch(r"[\w./-]+", sha):
        return None
    store = hub.store(repo)
    try:
        commit = store.resolve(sha)
        entry = store.entry(commit, path) if commit else None
        if entry is None or entry[1] != "blob":
            return Answer(404, b"")
        kind = "image/png" if path.endswith(".png") else "text/plain"
        return Answer(200, store.blob(entry[2]), {"Content-Type": kind})
    except GitFailed:
        return Answer(404, b"")
