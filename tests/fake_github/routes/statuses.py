"""Commit statuses."""

from tests.fake_github.call import Answer, Call, Refusal, invalid
from tests.fake_github.routes.checks import commit_of
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes, node_id
from tests.fake_github.spec import complete
from tests.fake_github.state import Repo, Status

routes = Routes()
REPO = "/repos/{owner}/{repo}"
DESCRIPTION_LIMIT = 140
MOST_PER_CONTEXT = 1000


@routes.operation("POST", REPO + "/statuses/{sha}", "statuses:write")
def create_status(call: Call) -> Answer:
    asked = call.json()
    sha = call.params["sha"]
    if len(sha) != 40:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    description = asked.get("description")
    if description and len(description) > DESCRIPTION_LIMIT:
        raise invalid("Status", "description", "custom", "description is too long (maximum is 140)")
    context = asked.get("context") or "default"
    if sum(s.sha == sha and s.context == context for s in call.repo.statuses) >= MOST_PER_CONTEXT:
        raise Refusal(422, "This SHA and context has reached the maximum number of statuses.")
    status = Status(
        id=call.hub.new_id(),
        sha=sha,
        state=asked["state"],
        context=context,
        description=description,
        target_url=asked.get("target_url"),
        login=call.login,
        created=call.hub.now(),
    )
    call.repo.statuses.append(status)
    shape = status_shape(call.shapes, call.repo, status)
    return Answer(201, shape, {"Location": shape["url"]})


@routes.operation("GET", REPO + "/commits/{ref}/statuses", "statuses:read")
def list_statuses(call: Call) -> Answer:
    sha = commit_of(call)
    found = [s for s in reversed(call.repo.statuses) if s.sha == sha]
    return call.page(found, lambda s: status_shape(call.shapes, call.repo, s))


@routes.operation("GET", REPO + "/commits/{ref}/status", "statuses:read")
def combined_status(call: Call) -> Answer:
    sha = commit_of(call)
    latest = list({s.context: s for s in call.repo.statuses if s.sha == sha}.values())
    states = {s.state for s in latest}
    state = "pending"
    if states & {"failure", "error"}:
        state = "failure"
    elif states == {"success"}:
        state = "success"
    paged = call.page(
        latest,
        lambda s: status_shape(call.shapes, call.repo, s, "simple-commit-status"),
        "statuses",
    )
    base = f"{call.api}/repos/{call.repo.full_name}"
    paged.body |= {
        "state": state,
        "sha": sha,
        "repository": call.shapes.repo(call.repo, "minimal-repository"),
        "commit_url": f"{base}/commits/{sha}",
        "url": f"{base}/commits/{sha}/status",
    }
    return paged


def status_shape(shapes: Shapes, repo: Repo, status: Status, schema: str = "status") -> Shape:
    return complete(
        schema,
        {
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "url": f"{shapes.repo_url(repo)}/statuses/{status.sha}",
            "state": status.state,
            "context": status.context,
            "description": status.description,
            "target_url": status.target_url,
            "created_at": shapes.hub.stamp(status.created),
            "updated_at": shapes.hub.stamp(status.created),
            **({"creator": shapes.user(status.login)} if schema == "status" else {}),
        },
    )
