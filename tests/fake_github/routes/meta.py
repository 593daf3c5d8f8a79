"""Repositories, people, limits, and GitHub itself."""

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.limits import window
from tests.fake_github.routing import Routes
from tests.fake_github.spec import complete
from tests.fake_github.state import Repo

routes = Routes()


@routes.operation("GET", "/repos/{owner}/{repo}")
def get_repo(call: Call) -> Answer:
    shape = call.shapes.repo(call.repo, "full-repository")
    if call.token is not None and not call.token.is_app:
        shape["permissions"] = _levels(call.repo, call.login)
    return Answer(200, shape)


@routes.operation(
    "GET", "/repos/{owner}/{repo}/collaborators/{username}/permission", "metadata:read"
)
def get_permission(call: Call) -> Answer:
    """`permission` knows four levels only; `role_name` tells triage and maintain apart.

    A person needs push access to ask, an app only to be installed.
    """
    assert call.token is not None
    if not call.token.is_app and not call.repo.may(call.login, "write"):
        raise Refusal(403, "Must have push access to view collaborator permission.")
    login = call.params["username"]
    if login.lower() not in call.hub.people:
        raise Refusal(404, f"{login} is not a user")
    role = call.repo.permission(login)
    coarse = {"triage": "read", "maintain": "write"}.get(role, role)
    user = call.shapes.user(login) | {"role_name": role, "permissions": _levels(call.repo, login)}
    return Answer(200, {"permission": coarse, "role_name": role, "user": user})


@routes.operation("GET", "/user")
def get_user(call: Call) -> Answer:
    if call.token is None:
        raise Refusal(401, "Requires authentication")
    if call.token.is_app:
        raise Refusal(403, "Resource not accessible by integration")
    return Answer(200, call.shapes.user(call.login, "private-user") | {"user_view_type": "private"})


@routes.operation("GET", "/users/{username}")
def get_person(call: Call) -> Answer:
    login = call.params["username"]
    if login.lower() not in call.hub.people:
        raise not_found()
    return Answer(200, call.shapes.user(login, "public-user") | {"user_view_type": "public"})


@routes.operation("GET", "/rate_limit")
def rate_limit(call: Call) -> Answer:
    core = window(call.hub, call.token)
    return Answer(
        200,
        {
            "rate": core,
            "resources": complete("rate-limit-overview", {})["resources"]
            | {"core": core, "search": core},
        },
    )


@routes.operation("GET", "/meta")
def get_meta(call: Call) -> Answer:
    shape = complete("api-overview", {"hooks": ["127.0.0.1/32"], "git": ["127.0.0.1/32"]})
    return Answer(200, shape)


def _levels(repo: Repo, login: str) -> dict[str, bool]:
    levels = {"pull": "read", "triage": "triage", "push": "write"}
    levels |= {"maintain": "maintain", "admin": "admin"}
    return {name: repo.may(login, level) for name, level in levels.items()}
