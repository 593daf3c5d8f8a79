"""Check runs and suites."""

from typing import Any

from tests.fake_github.call import Answer, Call, Refusal, invalid, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes, node_id
from tests.fake_github.spec import complete
from tests.fake_github.state import CheckRun, CheckSuite, Repo

routes = Routes()
REPO = "/repos/{owner}/{repo}"
TEXT_LIMIT = 65535
ANNOTATIONS_EACH = 50
ANNOTATION_LIMIT = 64 * 1024
ACTIONS_MOST = 3


@routes.operation("POST", REPO + "/check-runs", "checks:write")
def create_check(call: Call) -> Answer:
    asked = call.json()
    head = asked.get("head_sha")
    if not isinstance(head, str) or len(head) != 40:
        raise Refusal(422, f"No commit found for SHA: {head}")
    token = call.token
    assert token is not None
    assert token.app is not None
    _check_request(asked)
    check = CheckRun(
        id=call.hub.new_id(),
        suite=_suite(call, head, token.app).id,
        app=token.app,
        head=head,
        name=str(asked["name"]),
        started=call.hub.now(),
    )
    _apply(call, check, asked)
    call.repo.checks[check.id] = check
    shape = check_shape(call.shapes, call.repo, check)
    return Answer(201, shape, {"Location": shape["url"]})


@routes.operation("PATCH", REPO + "/check-runs/{check_run_id}", "checks:write")
def update_check(call: Call) -> Answer:
    check = _check(call)
    assert call.token is not None
    if check.app != call.token.app:
        raise Refusal(
            403,
            "Invalid app_id: a check run can only be modified by the app that created it.",
        )
    asked = call.json()
    _check_request(asked)
    _apply(call, check, asked)
    return Answer(200, check_shape(call.shapes, call.repo, check))


@routes.operation("GET", REPO + "/check-runs/{check_run_id}", "checks:read")
def get_check(call: Call) -> Answer:
    return Answer(200, check_shape(call.shapes, call.repo, _check(call)))


@routes.operation("GET", REPO + "/check-runs/{check_run_id}/annotations", "checks:read")
def list_annotations(call: Call) -> Answer:
    check = _check(call)
    blob = f"{call.hub.web_url}/{call.repo.full_name}/blob/{check.head}"

    def shape(annotation: dict[str, Any]) -> dict[str, Any]:
        return {
            "path": annotation["path"],
            "blob_href": f"{blob}/{annotation['path']}",
            "start_line": annotation["start_line"],
            "end_line": annotation["end_line"],
            "start_column": annotation.get("start_column"),
            "end_column": annotation.get("end_column"),
            "annotation_level": annotation["annotation_level"],
            "title": annotation.get("title"),
            "message": annotation["message"],
            "raw_details": annotation.get("raw_details"),
        }

    return call.page(check.annotations, shape)


@routes.operation("GET", REPO + "/commits/{ref}/check-runs", "checks:read")
def checks_of_commit(call: Call) -> Answer:
    sha = commit_of(call)
    return _listed(call, [c for c in call.repo.checks.values() if c.head == sha])


@routes.operation("GET", REPO + "/check-suites/{check_suite_id}/check-runs", "checks:read")
def checks_of_suite(call: Call) -> Answer:
    suite = _known_suite(call)
    return _listed(call, [c for c in call.repo.checks.values() if c.suite == suite.id])


@routes.operation("GET", REPO + "/commits/{ref}/check-suites", "checks:read")
def suites_of_commit(call: Call) -> Answer:
    sha = commit_of(call)
    found = [s for s in call.repo.suites.values() if s.head == sha]
    return call.page(found, lambda s: suite_shape(call.shapes, call.repo, s), "check_suites")


@routes.operation("GET", REPO + "/check-suites/{check_suite_id}", "checks:read")
def get_suite(call: Call) -> Answer:
    return Answer(200, suite_shape(call.shapes, call.repo, _known_suite(call)))


def _listed(call: Call, found: list[CheckRun]) -> Answer:
    """`filter=latest` (the default) shows the newest of each name and app."""
    name, status = call.query.get("check_name"), call.query.get("status")
    found = [c for c in found if name in (None, c.name) and status in (None, c.status)]
    if call.query.get("filter", "latest") == "latest":
        found = list({(c.app, c.name): c for c in found}.values())
    found.reverse()
    return call.page(found, lambda c: check_shape(call.shapes, call.repo, c), "check_runs")


def _check_request(asked: dict[str, Any]) -> None:
    output = asked.get("output") or {}
    for name in ("summary", "text"):
        if len(output.get(name) or "") > TEXT_LIMIT:
            raise invalid("CheckRun", name, "invalid", "Only 65535 characters are allowed")
    if len(output.get("annotations", ())) > ANNOTATIONS_EACH:
        raise invalid("CheckRun", "annotations", "invalid", "No more than 50 annotations")
    for annotation in output.get("annotations", ()):
        _check_annotation(annotation)
    actions = asked.get("actions", ())
    if len(actions) > ACTIONS_MOST:
        raise invalid("CheckRun", "actions", "invalid", "No more than 3 actions")
    for action in actions:
        for name, most in (("label", 20), ("description", 40), ("identifier", 20)):
            if len(action[name]) > most:
                raise invalid("CheckRun", f"actions.{name}", "invalid")
    if asked.get("status") == "completed" and not asked.get("conclusion"):
        raise Refusal(422, "Invalid request.\n\nFor 'properties/conclusion', nil is not a string.")


def _check_annotation(annotation: dict[str, Any]) -> None:
    if annotation["start_line"] < 1 or annotation["end_line"] < annotation["start_line"]:
        raise invalid("CheckAnnotation", "start_line", "invalid")
    columns = "start_column" in annotation or "end_column" in annotation
    if columns and annotation["start_line"] != annotation["end_line"]:
        raise invalid("CheckAnnotation", "start_column", "invalid")
    if len(annotation["message"].encode()) > ANNOTATION_LIMIT:
        raise invalid("CheckAnnotation", "message", "invalid")
    if len(annotation.get("title") or "") > 255:
        raise invalid("CheckAnnotation", "title", "invalid")


def _apply(call: Call, check: CheckRun, asked: dict[str, Any]) -> None:
    """Annotations are added to those that are there; everything else is replaced."""
    for name in ("name", "status", "details_url", "external_id", "actions"):
        if asked.get(name) is not None:
            setattr(check, name, asked[name])
    if asked.get("conclusion") is not None:
        check.conclusion, check.status = asked["conclusion"], "completed"
        check.completed = call.hub.now()
    elif check.status != "completed":
        check.conclusion = check.completed = None
    output = asked.get("output") or {}
    for name in ("title", "summary", "text"):
        if name in output:
            setattr(check, name, output[name])
    check.annotations.extend(output.get("annotations", ()))


def _suite(call: Call, head: str, app: str) -> CheckSuite:
    for suite in call.repo.suites.values():
        if suite.head == head and suite.app == app:
            return suite
    suite = CheckSuite(call.hub.new_id(), head, app, call.hub.now())
    call.repo.suites[suite.id] = suite
    return suite


def _check(call: Call) -> CheckRun:
    check = call.repo.checks.get(call.number("check_run_id"))
    if check is None:
        raise not_found()
    return check


def _known_suite(call: Call) -> CheckSuite:
    suite = call.repo.suites.get(call.number("check_suite_id"))
    if suite is None:
        raise not_found()
    return suite


def commit_of(call: Call) -> str:
    """The commit a path names; ids need no objects behind them."""
    ref = call.params["ref"]
    if len(ref) == 40:
        return ref
    sha = call.hub.store(call.repo).resolve(ref.removeprefix("heads/"))
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {ref}")
    return sha


def check_shape(shapes: Shapes, repo: Repo, check: CheckRun) -> Shape:
    url = f"{shapes.repo_url(repo)}/check-runs/{check.id}"
    html = f"{shapes.web(repo)}/runs/{check.id}"
    return complete(
        "check-run",
        {
            "id": check.id,
            "node_id": node_id("CR", check.id),
            "head_sha": check.head,
            "name": check.name,
            "external_id": check.external_id,
            "url": url,
            "html_url": html,
            "details_url": check.details_url or html,
            "status": check.status,
            "conclusion": check.conclusion,
            "started_at": shapes.hub.stamp(check.started),
            "completed_at": shapes.hub.stamp(check.completed) if check.completed else None,
            "output": {
                "title": check.title,
                "summary": check.summary,
                "text": check.text,
                "annotations_count": len(check.annotations),
                "annotations_url": f"{url}/annotations",
            },
            "check_suite": {"id": check.suite},
            "app": shapes.app_of_slug(check.app),
            "pull_requests": [],
        },
    )


def suite_shape(shapes: Shapes, repo: Repo, suite: CheckSuite) -> Shape:
    runs = [c for c in repo.checks.values() if c.suite == suite.id]
    done = bool(runs) and all(c.status == "completed" for c in runs)
    return complete(
        "check-suite",
        {
            "id": suite.id,
            "node_id": node_id("CS", suite.id),
            "head_sha": suite.head,
            "status": "completed" if done else "in_progress",
            "conclusion": worst([c.conclusion for c in runs]) if done else None,
            "url": f"{shapes.repo_url(repo)}/check-suites/{suite.id}",
            "created_at": shapes.hub.stamp(suite.created),
            "updated_at": shapes.hub.stamp(suite.created),
            "app": shapes.app_of_slug(suite.app),
            "repository": shapes.repo(repo, "minimal-repository"),
            "latest_check_runs_count": len(runs),
            "check_runs_url": f"{shapes.repo_url(repo)}/check-suites/{suite.id}/check-runs",
            "pull_requests": [],
        },
    )


def worst(conclusions: list[str | None]) -> str:
    """What several conclusions come to."""
    for bad in ("failure", "timed_out", "action_required", "cancelled", "neutral", "success"):
        if bad in conclusions:
            return bad
    return "neutral"
