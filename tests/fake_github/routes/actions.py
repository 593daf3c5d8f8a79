"""Workflow runs, their jobs and artifacts."""

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.state import Artifact, WorkflowRun

routes = Routes()
ACTIONS = "/repos/{owner}/{repo}/actions"


@routes.operation("GET", ACTIONS + "/runs", "actions:read")
def list_runs(call: Call) -> Answer:
    asked = {k: call.query.get(k) for k in ("branch", "event", "head_sha", "status", "actor")}
    found = [
        run
        for run in reversed(call.repo.runs.values())
        if asked["branch"] in (None, run.branch)
        and asked["event"] in (None, run.event)
        and asked["head_sha"] in (None, run.head)
        and asked["actor"] in (None, run.login)
        and asked["status"] in (None, run.status, run.conclusion)
    ]
    return call.page(found, lambda r: call.shapes.run(call.repo, r), "workflow_runs")


@routes.operation("GET", ACTIONS + "/runs/{run_id}", "actions:read")
def get_run(call: Call) -> Answer:
    return Answer(200, call.shapes.run(call.repo, _run(call)))


@routes.operation("POST", ACTIONS + "/runs/{run_id}/cancel", "actions:write")
def cancel_run(call: Call) -> Answer:
    run = _run(call)
    if run.status == "completed":
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    run.status, run.conclusion = "completed", "cancelled"
    return Answer(202, {})


@routes.operation("GET", ACTIONS + "/runs/{run_id}/jobs", "actions:read")
def list_jobs(call: Call) -> Answer:
    run = _run(call)
    return call.page(run.jobs, lambda j: call.shapes.job(call.repo, run, j), "jobs")


@routes.operation("GET", ACTIONS + "/jobs/{job_id}", "actions:read")
def get_job(call: Call) -> Answer:
    wanted = call.number("job_id")
    for run in call.repo.runs.values():
        for job in run.jobs:
            if job.id == wanted:
                return Answer(200, call.shapes.job(call.repo, run, job))
    raise not_found()


@routes.operation("GET", ACTIONS + "/artifacts", "actions:read")
def list_artifacts(call: Call) -> Answer:
    return _listed(call, list(call.repo.artifacts.values()))


@routes.operation("GET", ACTIONS + "/runs/{run_id}/artifacts", "actions:read")
def artifacts_of_run(call: Call) -> Answer:
    run = call.number("run_id")
    return _listed(call, [a for a in call.repo.artifacts.values() if a.run == run])


@routes.operation("GET", ACTIONS + "/artifacts/{artifact_id}", "actions:read")
def get_artifact(call: Call) -> Answer:
    return Answer(200, call.shapes.artifact(call.repo, _artifact(call)))


@routes.operation("GET", ACTIONS + "/artifacts/{artifact_id}/{archive_format}", "actions:read")
def download_artifact(call: Call) -> Answer:
    """A signed address, which needs no token (and must not be sent one)."""
    if call.token is None:
        raise Refusal(401, "You must have the actions scope to download artifacts.")
    artifact = _artifact(call)
    if call.params["archive_format"] != "zip":
        raise not_found()
    if artifact.expired:
        raise Refusal(410, "Artifact has expired")
    at = f"{call.hub.web_url}/api/downloads/artifacts/{call.repo.id}/{artifact.id}?sig=signed"
    return Answer(302, None, {"Location": at})


def _listed(call: Call, found: list[Artifact]) -> Answer:
    name = call.query.get("name")
    found = [a for a in reversed(found) if name in (None, a.name)]
    return call.page(found, lambda a: call.shapes.artifact(call.repo, a), "artifacts")


def _run(call: Call) -> WorkflowRun:
    run = call.repo.runs.get(call.number("run_id"))
    if run is None:
        raise not_found()
    return run


def _artifact(call: Call) -> Artifact:
    artifact = call.repo.artifacts.get(call.number("artifact_id"))
    if artifact is None:
        raise not_found()
    return artifact
