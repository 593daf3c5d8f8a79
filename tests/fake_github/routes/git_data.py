"""Git's objects and refs."""

import base64
import re
from typing import Any

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.git_store import GitFailed
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import node_id
from tests.fake_github.spec import complete

routes = Routes()
REPO = "/repos/{owner}/{repo}"
SHA = re.compile("[0-9a-f]{40}")


@routes.operation("POST", REPO + "/git/blobs", "contents:write")
def create_blob(call: Call) -> Answer:
    asked = call.json()
    content = str(asked.get("content", ""))
    if asked.get("encoding", "utf-8") == "base64":
        try:
            data = base64.b64decode(content, validate=False)
        except ValueError:
            raise Refusal(422, "content is not valid Base64") from None
    else:
        data = content.encode()
    sha = call.hub.store(call.repo).write_blob(data)
    return Answer(201, {"sha": sha, "url": _url(call, f"blobs/{sha}")})


@routes.operation("GET", REPO + "/git/blobs/{file_sha}", "contents:read")
def get_blob(call: Call) -> Answer:
    sha = _existing(call, "file_sha", "blob")
    data = call.hub.store(call.repo).blob(sha)
    shape = {
        "sha": sha,
        "node_id": f"B_{sha}",
        "url": _url(call, f"blobs/{sha}"),
        "size": len(data),
        "content": base64.encodebytes(data).decode(),
        "encoding": "base64",
    }
    return Answer(200, shape)


@routes.operation("POST", REPO + "/git/trees", "contents:write")
def create_tree(call: Call) -> Answer:
    asked = call.json()
    store = call.hub.store(call.repo)
    entries = []
    for entry in asked.get("tree", ()):
        sha = entry.get("sha")
        if "content" in entry:
            sha = store.write_blob(entry["content"].encode())
        elif sha is not None and not store.has(sha):
            raise Refusal(422, f"tree.sha {sha} is not a valid blob")
        entries.append({"path": entry["path"], "mode": entry.get("mode", "100644"), "sha": sha})
    try:
        tree = store.write_tree(asked.get("base_tree"), entries, call.hub.scratch())
    except GitFailed:
        raise Refusal(422, "base_tree is not a valid tree oid") from None
    return Answer(201, _tree_shape(call, tree))


@routes.operation("GET", REPO + "/git/trees/{tree_sha}", "contents:read")
def get_tree(call: Call) -> Answer:
    store = call.hub.store(call.repo)
    name = call.params["tree_sha"]
    commit = store.resolve(name)
    tree = store.text("rev-parse", f"{commit}^{{tree}}") if commit else name
    if not SHA.fullmatch(tree) or not store.has(tree):
        raise not_found()
    return Answer(200, _tree_shape(call, tree, recursive="recursive" in call.query))


@routes.operation("POST", REPO + "/git/commits", "contents:write")
def create_commit(call: Call) -> Answer:
    asked = call.json()
    store = call.hub.store(call.repo)
    parents = list(asked.get("parents", ()))
    for sha, kind in [(asked["tree"], "tree"), *((p, "commit") for p in parents)]:
        if not SHA.fullmatch(sha) or not store.has(sha) or store.kind(sha) != kind:
            raise Refusal(422, f"{sha} is not a valid {kind} object")
    sha = store.write_commit(asked["tree"], parents, asked["message"], call.hub.now())
    return Answer(201, git_commit_shape(call, sha))


@routes.operation("GET", REPO + "/git/commits/{commit_sha}", "contents:read")
def get_git_commit(call: Call) -> Answer:
    return Answer(200, git_commit_shape(call, _existing(call, "commit_sha", "commit")))


@routes.operation("GET", REPO + "/git/ref/{ref}", "contents:read")
def get_ref(call: Call) -> Answer:
    name = f"refs/{call.params['ref']}"
    sha = call.hub.store(call.repo).refs().get(name)
    if sha is None:
        raise not_found()
    return Answer(200, _ref_shape(call, name, sha))


@routes.operation("GET", REPO + "/git/matching-refs/{ref}", "contents:read")
def matching_refs(call: Call) -> Answer:
    found = call.hub.store(call.repo).refs(f"refs/{call.params['ref']}")
    return Answer(200, [_ref_shape(call, name, sha) for name, sha in found.items()])


@routes.operation("POST", REPO + "/git/refs", "contents:write")
def create_ref(call: Call) -> Answer:
    asked = call.json()
    store = call.hub.store(call.repo)
    name, sha = str(asked.get("ref")), str(asked.get("sha"))
    if not re.fullmatch(r"refs/[^/]+/.+", name):
        raise Refusal(422, "Reference name must start with 'refs' and have at least two slashes.")
    if name in store.refs():
        raise Refusal(422, "Reference already exists")
    if not SHA.fullmatch(sha) or not store.has(sha):
        raise Refusal(422, "Object does not exist")
    store.set_ref(name, sha)
    call.hub.pushed(call.repo)
    return Answer(201, _ref_shape(call, name, sha))


@routes.operation("PATCH", REPO + "/git/refs/{ref}", "contents:write")
def update_ref(call: Call) -> Answer:
    asked = call.json()
    store = call.hub.store(call.repo)
    name, sha = f"refs/{call.params['ref']}", str(asked.get("sha"))
    old = store.refs().get(name)
    if old is None:
        raise Refusal(422, "Reference does not exist")
    if not SHA.fullmatch(sha) or not store.has(sha):
        raise Refusal(422, "Object does not exist")
    if not asked.get("force") and not store.is_ancestor(old, sha):
        raise Refusal(422, "Update is not a fast forward")
    store.set_ref(name, sha)
    call.hub.pushed(call.repo)
    return Answer(200, _ref_shape(call, name, sha))


@routes.operation("DELETE", REPO + "/git/refs/{ref}", "contents:write")
def delete_ref(call: Call) -> Answer:
    store = call.hub.store(call.repo)
    name = f"refs/{call.params['ref']}"
    if name not in store.refs():
        raise Refusal(422, "Reference does not exist")
    store.git("update-ref", "-d", name)
    return Answer(204)


@routes.operation("GET", REPO + "/branches", "contents:read")
def list_branches(call: Call) -> Answer:
    heads = call.hub.store(call.repo).refs("refs/heads/")

    def shape(item: tuple[str, str]) -> dict[str, Any]:
        name, sha = item
        commit = {"sha": sha, "url": f"{call.api}/repos/{call.repo.full_name}/commits/{sha}"}
        return {"name": name.removeprefix("refs/heads/"), "commit": commit, "protected": False}

    return call.page(list(heads.items()), shape)


@routes.operation("GET", REPO + "/branches/{branch}", "contents:read")
def get_branch(call: Call) -> Answer:
    name = call.params["branch"]
    sha = call.hub.store(call.repo).refs().get(f"refs/heads/{name}")
    if sha is None:
        raise Refusal(404, "Branch not found")
    url = f"{call.api}/repos/{call.repo.full_name}/branches/{name}"
    shape = complete(
        "branch-with-protection",
        {
            "name": name,
            "commit": commit_shape(call, sha),
            "_links": {
                "self": url,
                "html": f"{call.hub.web_url}/{call.repo.full_name}/tree/{name}",
            },
            "protected": False,
            "protection_url": f"{url}/protection",
        },
    )
    return Answer(200, shape)


def commit_shape(call: Call, sha: str) -> dict[str, Any]:
    """A commit as the API for repositories shows it."""
    facts = _facts(call, sha)
    base = f"{call.api}/repos/{call.repo.full_name}"
    web = f"{call.hub.web_url}/{call.repo.full_name}/commit"
    return complete(
        "commit",
        {
            "sha": sha,
            "node_id": f"C_{sha}",
            "url": f"{base}/commits/{sha}",
            "html_url": f"{web}/{sha}",
            "comments_url": f"{base}/commits/{sha}/comments",
            "commit": {
                "url": f"{base}/git/commits/{sha}",
                "author": facts["author"],
                "committer": facts["committer"],
                "message": facts["message"],
                "tree": {"sha": facts["tree"], "url": f"{base}/git/trees/{facts['tree']}"},
                "comment_count": 0,
            },
            "author": None,
            "committer": None,
            "parents": [
                {"sha": p, "url": f"{base}/commits/{p}", "html_url": f"{web}/{p}"}
                for p in facts["parents"]
            ],
        },
    )


def git_commit_shape(call: Call, sha: str) -> dict[str, Any]:
    facts = _facts(call, sha)
    web = f"{call.hub.web_url}/{call.repo.full_name}/commit"
    return complete(
        "git-commit",
        {
            "sha": sha,
            "node_id": f"C_{sha}",
            "url": _url(call, f"commits/{sha}"),
            "html_url": f"{web}/{sha}",
            "author": facts["author"],
            "committer": facts["committer"],
            "message": facts["message"],
            "tree": {"sha": facts["tree"], "url": _url(call, f"trees/{facts['tree']}")},
            "parents": [
                {"sha": p, "url": _url(call, f"commits/{p}"), "html_url": f"{web}/{p}"}
                for p in facts["parents"]
            ],
        },
    )


def _facts(call: Call, sha: str) -> dict[str, Any]:
    names = "%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B"
    out = call.hub.store(call.repo).text("show", "-s", f"--format={names}", sha)
    tree, parents, an, ae, at, cn, ce, ct, message = out.split("\0", 8)
    return {
        "tree": tree,
        "parents": parents.split(),
        "author": {"name": an, "email": ae, "date": call.hub.stamp(int(at))},
        "committer": {"name": cn, "email": ce, "date": call.hub.stamp(int(ct))},
        "message": message.rstrip("\n"),
    }


def _tree_shape(call: Call, tree: str, *, recursive: bool = False) -> dict[str, Any]:
    entries = call.hub.store(call.repo).tree(tree, recursive=recursive)
    for entry in entries:
        kind = {"blob": "blobs", "tree": "trees"}.get(str(entry["type"]), "commits")
        entry["url"] = _url(call, f"{kind}/{entry['sha']}")
    return {
        "sha": tree,
        "url": _url(call, f"trees/{tree}"),
        "tree": entries,
        "truncated": False,
    }


def _ref_shape(call: Call, name: str, sha: str) -> dict[str, Any]:
    kind = call.hub.store(call.repo).kind(sha)
    return {
        "ref": name,
        "node_id": node_id("REF", abs(hash(name)) % 2**32),
        "url": _url(call, name),
        "object": {"type": kind, "sha": sha, "url": _url(call, f"{kind}s/{sha}")},
    }


def _existing(call: Call, name: str, kind: str) -> str:
    sha = call.params[name]
    store = call.hub.store(call.repo)
    if not SHA.fullmatch(sha) or not store.has(sha) or store.kind(sha) != kind:
        raise not_found()
    return sha


def _url(call: Call, rest: str) -> str:
    return f"{call.api}/repos/{call.repo.full_name}/git/{rest}"
