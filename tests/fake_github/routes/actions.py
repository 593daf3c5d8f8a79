"""Workflow runs, their jobs and artifacts."""

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes, node_id
from tests.fake_github.spec import complete
from tests.fake_github.state import Artifact, Job, Repo, WorkflowRun

routes = Routes()
ACTIONS = "/repos/{owner}/{repo}/actions"


@routes.operation("GET", ACTIONS + "/runs", "actions:read")
def list_runs(call: Call) -> Answer:
    return _runs(call, list(call.repo.runs.values()))


@routes.operation("GET", ACTIONS + "/workflows/{workflow_id}/runs", "actions:read")
def list_runs_of_workflow(call: Call) -> Answer:
    path = _workflow(call)
    return _runs(call, [run for run in call.repo.runs.values() if run.path == path])


@routes.operation("POST", ACTIONS + "/workflows/{workflow_id}/dispatches", "actions:write")
def dispatch(call: Call) -> Answer:
    """The run is queued. Its name is `lora-ci` and the input `key`, as our workflow says."""
    path, body, repo = _workflow(call), call.json(), call.repo
    if body["ref"] != repo.default_branch:
        raise Refusal(422, f"No ref found for: {body['ref']}")
    inputs = body.get("inputs", {})
    run = WorkflowRun(
        call.hub.new_id(), "step", "workflow_dispatch", "0" * 40, repo.default_branch,
        call.login, call.hub.now(), status="queued", path=path,
        title=f"lora-ci {inputs.get('key', '')}",
    )  # fmt: skip
    repo.runs[run.id] = run
    repo.workflows[call.params["workflow_id"]].begin(run, inputs)
    if not body.get("return_run_details"):
        return Answer(204, None)
    shape = run_shape(call.shapes, repo, run)
    told = {"workflow_run_id": run.id, "run_url": shape["url"], "html_url": shape["html_url"]}
    return Answer(200, told)


def _workflow(call: Call) -> str:
    file = call.params["workflow_id"]
    if file not in call.repo.workflows:
        raise not_found()
    return f".github/workflows/{file}"


def _runs(call: Call, runs: list[WorkflowRun]) -> Answer:
    asked = {k: call.query.get(k) for k in ("branch", "event", "head_sha", "status", "actor")}
    found = [
        run
        for run in reversed(runs)
        if run.listed
        and _since(call.query.get("created")) <= call.hub.stamp(run.created)
        and asked["branch"] in (None, run.branch)
        and asked["event"] in (None, run.event)
        and asked["head_sha"] in (None, run.head)
        and asked["actor"] in (None, run.login)
        and asked["status"] in (None, run.status, run.conclusion)
    ]
    return call.page(found, lambda r: run_shape(call.shapes, call.repo, r), "workflow_runs")


def _since(created: str | None) -> str:
    """The start of a range such as `>=2026-01-31`; no other is understood."""
    assert created is None or created.startswith(">="), created
    return (created or "").removeprefix(">=")


@routes.operation("GET", ACTIONS + "/runs/{run_id}", "actions:read")
def get_run(call: Call) -> Answer:
    return Answer(200, run_shape(call.shapes, call.repo, _run(call)))


@routes.operation("POST", ACTIONS + "/runs/{run_id}/cancel", "actions:write")
def cancel_run(call: Call) -> Answer:
    return _cancel(call, hard=False)


@routes.operation("POST", ACTIONS + "/runs/{run_id}/force-cancel", "actions:write")
def force_cancel_run(call: Call) -> Answer:
    return _cancel(call, hard=True)


def _cancel(call: Call, *, hard: bool) -> Answer:
    run = _run(call)
    if run.status == "completed":
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    machine = call.repo.workflows.get(run.path.rpartition("/")[2])
    if machine is None:
        run.status, run.conclusion = "completed", "cancelled"
    else:
        machine.cancel(run, hard=hard)
    return Answer(202, {})


@routes.operation("GET", ACTIONS + "/runs/{run_id}/jobs", "actions:read")
def list_jobs(call: Call) -> Answer:
    run = _run(call)
    return call.page(run.jobs, lambda j: job_shape(call.shapes, call.repo, run, j), "jobs")


@routes.operation("GET", ACTIONS + "/jobs/{job_id}", "actions:read")
def get_job(call: Call) -> Answer:
    wanted = call.number("job_id")
    for run in call.repo.runs.values():
        for job in run.jobs:
            if job.id == wanted:
                return Answer(200, job_shape(call.shapes, call.repo, run, job))
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
    return Answer(200, artifact_shape(call.shapes, call.repo, _artifact(call)))


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
    return call.page(found, lambda a: artifact_shape(call.shapes, call.repo, a), "artifacts")


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


def run_shape(shapes: Shapes, repo: Repo, run: WorkflowRun) -> Shape:
    url = f"{shapes.repo_url(repo)}/actions/runs/{run.id}"
    return complete(
        "workflow-run",
        {
            "id": run.id,
            "node_id": node_id("WFR", run.id),
            "name": run.name,
            "display_title": run.title or run.name,
            "event": run.event,
            "path": run.path,
            "head_sha": run.head,
            "head_branch": run.branch,
            "status": run.status,
            "conclusion": run.conclusion,
            "run_number": 1,
            "run_attempt": run.attempt,
            "url": url,
            "html_url": f"{shapes.web(repo)}/actions/runs/{run.id}",
            "jobs_url": f"{url}/jobs",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "created_at": shapes.hub.stamp(run.created),
            "updated_at": shapes.hub.stamp(run.created),
            "actor": shapes.user(run.login),
            "repository": shapes.repo(repo, "minimal-repository"),
            "head_repository": shapes.repo(repo, "minimal-repository"),
        },
    )


def job_shape(shapes: Shapes, repo: Repo, run: WorkflowRun, job: Job) -> Shape:
    done = job.status == "completed"
    return complete(
        "job",
        {
            "id": job.id,
            "node_id": node_id("JOB", job.id),
            "run_id": run.id,
            "run_url": f"{shapes.repo_url(repo)}/actions/runs/{run.id}",
            "name": job.name,
            "status": job.status,
            "conclusion": job.conclusion if done else None,
            "head_sha": run.head,
            "labels": list(job.labels),
            "runner_name": job.runner,
            "completed_at": shapes.hub.stamp() if done else None,
            "url": f"{shapes.repo_url(repo)}/actions/jobs/{job.id}",
        },
    )


def artifact_shape(shapes: Shapes, repo: Repo, artifact: Artifact) -> Shape:
    url = f"{shapes.repo_url(repo)}/actions/artifacts/{artifact.id}"
    return complete(
        "artifact",
        {
            "id": artifact.id,
            "node_id": node_id("AF", artifact.id),
            "name": artifact.name,
            "size_in_bytes": len(artifact.data),
            "url": url,
            "archive_download_url": f"{url}/zip",
            "expired": artifact.expired,
            "created_at": shapes.hub.stamp(artifact.created),
            "updated_at": shapes.hub.stamp(artifact.created),
            "expires_at": shapes.hub.stamp(artifact.created + 90 * 86400),
            "workflow_run": {
                "id": artifact.run,
                "repository_id": repo.id,
                "head_repository_id": repo.id,
                "head_sha": artifact.head,
            },
        },
    )
