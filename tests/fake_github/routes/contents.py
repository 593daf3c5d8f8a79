"""Files of a repository, read and written one at a time."""

import base64
import re
from typing import Any

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.routes.git_data import git_commit_shape
from tests.fake_github.routing import Routes

routes = Routes()
TEMPLATE = "/repos/{owner}/{repo}/contents/{path}"
INLINE_LIMIT = 1024 * 1024


@routes.operation("GET", TEMPLATE, "contents:read")
def get_contents(call: Call) -> Answer:
    path = call.params["path"].strip("/")
    store = call.hub.store(call.repo)
    ref = call.query.get("ref") or call.repo.default_branch
    commit = store.resolve(ref)
    if commit is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    entry = store.entry(commit, path)
    if entry is None:
        raise not_found()
    _, kind, sha = entry
    if kind == "tree":
        below = store.tree(sha)
        return Answer(200, [_shape(call, f"{path}/{e['path']}".lstrip("/"), ref, e) for e in below])
    data = store.blob(sha)
    if "raw" in call.headers.get("accept", ""):
        return Answer(200, data, {"Content-Type": "application/vnd.github.raw"})
    shape = _shape(call, path, ref, {"type": "blob", "sha": sha, "size": len(data)})
    small = len(data) <= INLINE_LIMIT
    shape["content"] = base64.encodebytes(data).decode() if small else ""
    shape["encoding"] = "base64" if small else "none"
    return Answer(200, shape)


@routes.operation("PUT", TEMPLATE, "contents:write")
def put_contents(call: Call) -> Answer:
    asked = call.json()
    path = call.params["path"].strip("/")
    if re.search(r"(^|/)(\.\.?|\.git)(/|$)", path):
        raise Refusal(422, "path contains a malformed path component")
    branch = asked.get("branch") or call.repo.default_branch
    store = call.hub.store(call.repo)
    ref = f"refs/heads/{branch}"
    parent = store.refs().get(ref)
    if parent is None and store.refs("refs/heads/"):
        raise Refusal(404, f"Branch {branch} not found")
    old = store.entry(parent, path) if parent else None
    given = asked.get("sha")
    if old is not None and given is None:
        raise Refusal(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if given is not None and (old is None or old[2] != given):
        raise Refusal(409, f"{path} does not match {given}")
    try:
        data = base64.b64decode(str(asked.get("content", "")), validate=False)
    except ValueError:
        raise Refusal(422, "content is not valid Base64") from None
    blob = store.write_blob(data)
    entry: dict[str, object] = {"path": path, "mode": "100644", "sha": blob}
    tree = store.write_tree(parent, [entry], call.hub.scratch())
    message = str(asked.get("message"))
    commit = store.write_commit(tree, [parent] if parent else [], message, call.hub.now())
    store.set_ref(ref, commit)
    call.hub.pushed(call.repo)
    content = _shape(call, path, branch, {"type": "blob", "sha": blob, "size": len(data)})
    return Answer(
        201 if old is None else 200,
        {"content": content, "commit": git_commit_shape(call, commit)},
    )


def _shape(call: Call, path: str, ref: str, entry: dict[str, Any]) -> dict[str, Any]:
    """`entry`: type, sha and, of a blob, size."""
    base = f"{call.api}/repos/{call.repo.full_name}"
    web = f"{call.hub.web_url}/{call.repo.full_name}"
    is_file, sha = entry["type"] == "blob", entry["sha"]
    url = f"{base}/contents/{path}?ref={ref}"
    html = f"{web}/{'blob' if is_file else 'tree'}/{ref}/{path}"
    git = f"{base}/git/{'blobs' if is_file else 'trees'}/{sha}"
    return {
        "type": "file" if is_file else "dir",
        "size": entry.get("size", 0),
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "url": url,
        "git_url": git,
        "html_url": html,
        "download_url": f"{web}/raw/{ref}/{path}" if is_file else None,
        "_links": {"self": url, "git": git, "html": html},
    }
