"""Webhooks of repositories and apps, and what was delivered to them."""

from tests.fake_github import delivery
from tests.fake_github.call import Answer, Call, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes
from tests.fake_github.spec import complete
from tests.fake_github.state import Delivery, Hook, Repo
from tests.fake_github.tokens import identify_app

routes = Routes()
REPO = "/repos/{owner}/{repo}/hooks"
APP = "/app/hook"


@routes.operation("GET", REPO, "repository_hooks:read")
def list_hooks(call: Call) -> Answer:
    return call.page(
        list(call.repo.hooks.values()), lambda h: hook_shape(call.shapes, call.repo, h)
    )


@routes.operation("GET", REPO + "/{hook_id}", "repository_hooks:read")
def get_hook(call: Call) -> Answer:
    return Answer(200, hook_shape(call.shapes, call.repo, _hook(call)))


@routes.operation("GET", APP + "/config", "app")
def get_app_hook(call: Call) -> Answer:
    return Answer(200, hook_config_shape(call.shapes, _hook(call)))


def list_deliveries(call: Call) -> Answer:
    """Newest first. `cursor` is opaque: here the id of the last one that was seen."""
    found = sorted(_hook(call).deliveries, key=lambda d: d.id, reverse=True)
    if call.query.get("cursor"):
        found = [d for d in found if d.id < int(call.query["cursor"].split("_")[1])]
    if call.query.get("status") == "failure":
        found = [d for d in found if not 200 <= d.status_code < 400]
    elif call.query.get("status") == "success":
        found = [d for d in found if 200 <= d.status_code < 400]
    each = min(max(int(call.query.get("per_page", "30")), 1), 100)
    shown = found[:each]
    headers = {}
    if len(found) > each:
        next_ = f"{call.api}{call.path}?per_page={each}&cursor=v1_{shown[-1].id}"
        if "status" in call.query:
            next_ += f"&status={call.query['status']}"
        headers["Link"] = f'<{next_}>; rel="next"'
    return Answer(200, [delivery_shape(call.shapes, d) for d in shown], headers)


def get_delivery(call: Call) -> Answer:
    return Answer(200, delivery_shape(call.shapes, _delivery(call), "hook-delivery"))


def redeliver(call: Call) -> Answer:
    delivery.redeliver(call.hub, _hook(call), _delivery(call))
    return Answer(202, {})


for at, read, write in (
    (REPO + "/{hook_id}", "repository_hooks:read", "repository_hooks:write"),
    (APP, "app", "app"),
):
    routes.operation("GET", at + "/deliveries", read)(list_deliveries)
    routes.operation("GET", at + "/deliveries/{delivery_id}", read)(get_delivery)
    routes.operation("POST", at + "/deliveries/{delivery_id}/attempts", write)(redeliver)


def _hook(call: Call) -> Hook:
    if call.repo_here is not None:
        hook = call.repo.hooks.get(call.number("hook_id"))
    else:
        hook = identify_app(call.hub, call.headers).hook
    if hook is None:
        raise not_found()
    return hook


def _delivery(call: Call) -> Delivery:
    wanted = call.number("delivery_id")
    for found in _hook(call).deliveries:
        if found.id == wanted:
            return found
    raise not_found()


def hook_shape(shapes: Shapes, repo: Repo, hook: Hook) -> Shape:
    url = f"{shapes.repo_url(repo)}/hooks/{hook.id}"
    last = hook.deliveries[-1] if hook.deliveries else None
    return complete(
        "hook",
        {
            "id": hook.id,
            "type": "Repository",
            "name": "web",
            "active": hook.active,
            "events": list(hook.events),
            "config": hook_config_shape(shapes, hook),
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {
                "code": last.status_code if last else None,
                "status": last.status if last else "unused",
                "message": None,
            },
        },
    )


def hook_config_shape(shapes: Shapes, hook: Hook) -> Shape:
    return {
        "url": hook.url,
        "content_type": "json",
        "insecure_ssl": "0",
        "secret": "********",
    }


def delivery_shape(shapes: Shapes, delivery: Delivery, schema: str = "hook-delivery-item") -> Shape:
    shape = complete(
        schema,
        {
            "id": delivery.id,
            "guid": delivery.guid,
            "delivered_at": shapes.hub.stamp(delivery.delivered),
            "redelivery": delivery.redelivery,
            "duration": round(delivery.duration_s, 3),
            "status": delivery.status,
            "status_code": delivery.status_code,
            "event": delivery.event,
            "action": delivery.action,
            "installation_id": delivery.installation,
            "repository_id": delivery.repository,
            "throttled_at": None,
        },
    )
    if schema == "hook-delivery":
        shape["request"] = {"headers": delivery.request_headers, "payload": delivery.payload}
        shape["response"] = {
            "headers": delivery.response_headers,
            "payload": delivery.response,
        }
    return shape
