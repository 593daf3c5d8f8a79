"""Self-hosted runners: only just-in-time registration."""

import base64
import json
from functools import partial

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes
from tests.fake_github.state import Runner

routes = Routes()
REPO = "/repos/{owner}/{repo}/actions/runners"
ORG = "/orgs/{org}/actions/runners"
ORG_RIGHT = "organization_self_hosted_runners"


def _known(call: Call) -> dict[int, Runner]:
    if call.repo_here is not None:
        return call.repo.runners
    return call.hub.org_runners.setdefault(call.params["org"].lower(), {})


def list_runners(call: Call) -> Answer:
    name = call.query.get("name")
    found = [r for r in _known(call).values() if name in (None, r.name)]
    return call.page(found, partial(runner_shape, call.shapes), "runners")


def generate_jitconfig(call: Call) -> Answer:
    asked = call.json()
    runners = _known(call)
    name = str(asked["name"])
    if any(runner.name == name for runner in runners.values()):
        raise Refusal(409, f"Already exists - A runner with the name {name} already exists.")
    if not 1 <= len(asked["labels"]) <= 100:
        raise Refusal(422, "Invalid labels")
    runner = Runner(
        id=call.hub.new_id(),
        name=name,
        labels=tuple(asked["labels"]),
        group=int(asked["runner_group_id"]),
    )
    folder = asked.get("work_folder", "_work")
    settings = {"agentId": runner.id, "agentName": name, "workFolder": folder, "ephemeral": True}
    runner.jit_config = base64.b64encode(json.dumps({".runner": settings}).encode()).decode()
    runners[runner.id] = runner
    shape = {"runner": runner_shape(call.shapes, runner), "encoded_jit_config": runner.jit_config}
    return Answer(201, shape)


def delete_runner(call: Call) -> Answer:
    runners = _known(call)
    runner = runners.get(call.number("runner_id"))
    if runner is None:
        raise not_found()
    if runner.busy:
        raise Refusal(422, "Bad request - Runner is still running a job")
    del runners[runner.id]
    return Answer(204)


for at, right in ((REPO, "administration"), (ORG, ORG_RIGHT)):
    routes.operation("GET", at, f"{right}:read")(list_runners)
    routes.operation("POST", at + "/generate-jitconfig", f"{right}:write")(generate_jitconfig)
    routes.operation("DELETE", at + "/{runner_id}", f"{right}:write")(delete_runner)


def runner_shape(shapes: Shapes, runner: Runner) -> Shape:
    return {
        "id": runner.id,
        "runner_group_id": runner.group,
        "name": runner.name,
        "os": "linux",
        "status": runner.status,
        "busy": runner.busy,
        "ephemeral": True,
        "labels": [{"name": label, "type": "custom"} for label in runner.labels],
    }
