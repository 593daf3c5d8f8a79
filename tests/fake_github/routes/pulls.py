"""Pull requests, and commits as they belong to them."""

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.git_store import GitFailed
from tests.fake_github.routes.git_data import commit_shape
from tests.fake_github.routing import Routes
from tests.fake_github.state import Pull

routes = Routes()
REPO = "/repos/{owner}/{repo}"
LISTED_FILES = 3000


@routes.operation("GET", REPO + "/pulls", "pull_requests:read")
def list_pulls(call: Call) -> Answer:
    wanted = call.query.get("state", "open")
    head, base = call.query.get("head"), call.query.get("base")
    found = []
    for number, pull in call.repo.pulls.items():
        if wanted not in ("all", call.repo.issues[number].state):
            continue
        owner = (pull.head_repo or "/").split("/")[0]
        if head is not None and head != f"{owner}:{pull.head_ref}":
            continue
        if base is None or base == pull.base_ref:
            found.append(number)
    direction = call.query.get("direction") or ("asc" if "sort" in call.query else "desc")
    found.sort(reverse=direction == "desc")
    return call.page(found, lambda n: call.shapes.pull(call.repo, n))


@routes.operation("GET", REPO + "/pulls/{pull_number}", "pull_requests:read")
def get_pull(call: Call) -> Answer:
    return Answer(200, call.shapes.pull(call.repo, _pull(call).number, "pull-request"))


@routes.operation("GET", REPO + "/pulls/{pull_number}/files", "pull_requests:read")
def list_files(call: Call) -> Answer:
    pull = _pull(call)
    files = _git(call, lambda: call.hub.store(call.repo).changed(pull.base, pull.head))
    web = f"{call.hub.web_url}/{call.repo.full_name}"

    def shape(file: tuple[str, str, str, int, int]) -> dict[str, object]:
        status, path, sha, added, removed = file
        return {
            "sha": sha,
            "filename": path,
            "status": status,
            "additions": added,
            "deletions": removed,
            "changes": added + removed,
            "blob_url": f"{web}/blob/{pull.head}/{path}",
            "raw_url": f"{web}/raw/{pull.head}/{path}",
            "contents_url": f"{call.api}/repos/{call.repo.full_name}/contents/{path}",
            "patch": call.hub.store(call.repo).patch(pull.base, pull.head, path),
        }

    return call.page(files[:LISTED_FILES], shape)


@routes.operation("GET", REPO + "/pulls/{pull_number}/commits", "pull_requests:read")
def list_pull_commits(call: Call) -> Answer:
    pull = _pull(call)
    store = call.hub.store(call.repo)
    shas = _git(call, lambda: store.commits(f"{pull.base}..{pull.head}")[::-1])
    return call.page(shas, lambda sha: commit_shape(call, sha))


@routes.operation(
    "GET", REPO + "/commits/{commit_sha}/pulls", "pull_requests:read", "contents:read"
)
def pulls_of_commit(call: Call) -> Answer:
    sha = call.params["commit_sha"]
    found = [n for n, p in call.repo.pulls.items() if _belongs(call, p, sha)]
    return call.page(found, lambda n: call.shapes.pull(call.repo, n))


@routes.operation("GET", REPO + "/commits", "contents:read")
def list_commits(call: Call) -> Answer:
    store = call.hub.store(call.repo)
    start = store.resolve(call.query.get("sha") or call.repo.default_branch)
    if start is None:
        raise Refusal(409, "Git Repository is empty.") if not store.refs() else not_found()
    return call.page(store.commits(start), lambda sha: commit_shape(call, sha))


@routes.operation("GET", REPO + "/commits/{ref}", "contents:read")
def get_commit(call: Call) -> Answer:
    sha = call.hub.store(call.repo).resolve(call.params["ref"])
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {call.params['ref']}")
    return Answer(200, commit_shape(call, sha))


def _pull(call: Call) -> Pull:
    pull = call.repo.pulls.get(call.number("pull_number"))
    if pull is None:
        raise not_found()
    return pull


def _belongs(call: Call, pull: Pull, sha: str) -> bool:
    if sha in (pull.head, pull.merge_commit):
        return True
    store = call.hub.store(call.repo)
    return (
        store.has(pull.head)
        and store.is_ancestor(sha, pull.head)
        and not store.is_ancestor(sha, pull.base)
    )


def _git(call: Call, ask):
    try:
        return ask()
    except GitFailed:
        raise Refusal(422, "Sorry, there was a problem generating this diff.") from None
