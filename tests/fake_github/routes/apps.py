"""GitHub Apps: who they are, where they are installed, their tokens."""

import secrets
from typing import Any

from tests.fake_github.call import Answer, Call, Refusal, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.state import App, Installation, Token
from tests.fake_github.tokens import identify_app

routes = Routes()
TOKEN_LIFE_S = 3600


@routes.operation("GET", "/app", "app")
def get_app(call: Call) -> Answer:
    return Answer(200, call.shapes.app(identify_app(call.hub, call.headers)))


@routes.operation("GET", "/app/installations", "app")
def list_installations(call: Call) -> Answer:
    app = identify_app(call.hub, call.headers)
    return call.page(app.installations, lambda i: call.shapes.installation(app, i))


@routes.operation("GET", "/app/installations/{installation_id}", "app")
def get_installation(call: Call) -> Answer:
    app = identify_app(call.hub, call.headers)
    return Answer(200, call.shapes.installation(app, _installation(call, app)))


@routes.operation("GET", "/repos/{owner}/{repo}/installation", "app")
def installation_of_repo(call: Call) -> Answer:
    app = identify_app(call.hub, call.headers)
    for installation in app.installations:
        if call.repo.full_name in installation.repos:
            return Answer(200, call.shapes.installation(app, installation))
    raise not_found()


@routes.operation("POST", "/app/installations/{installation_id}/access_tokens", "app")
def create_token(call: Call) -> Answer:
    app = identify_app(call.hub, call.headers)
    installation = _installation(call, app)
    if installation.suspended:
        raise Refusal(403, "This installation has been suspended")
    asked = call.json()
    permissions = asked.get("permissions") or installation.permissions
    for name, level in permissions.items():
        if not _within(level, installation.permissions.get(name)):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
    repos = _asked_repos(call, installation, asked)
    token = Token(
        value="ghs_" + secrets.token_hex(18),
        kind="installation",
        login=f"{app.slug}[bot]",
        permissions={"metadata": "read", **permissions},
        repos=tuple(repos),
        app=app.slug,
        expires=call.hub.now() + TOKEN_LIFE_S,
    )
    call.hub.tokens[token.value] = token
    shape: dict[str, Any] = {
        "token": token.value,
        "expires_at": call.hub.stamp(token.expires),
        "permissions": token.permissions,
        "repository_selection": "selected",
    }
    if "repositories" in asked or "repository_ids" in asked:
        shape["repositories"] = [call.shapes.repo(call.hub.repo(name)) for name in repos]
    return Answer(201, shape)


@routes.operation("GET", "/installation/repositories", "metadata:read")
def repos_of_installation(call: Call) -> Answer:
    assert call.token is not None
    if call.token.kind != "installation":
        raise Refusal(403, "Resource not accessible by personal access token")
    found = [call.hub.repo(name) for name in call.token.repos or ()]
    return call.page(found, call.shapes.repo, "repositories")


def _installation(call: Call, app: App) -> Installation:
    wanted = call.number("installation_id")
    for installation in app.installations:
        if installation.id == wanted:
            return installation
    raise not_found()


def _within(asked: str, granted: str | None) -> bool:
    return granted == "write" or (granted == "read" and asked == "read")


def _asked_repos(call: Call, installation: Installation, asked: dict[str, Any]) -> list[str]:
    here = {name: call.hub.repos.get(name.lower()) for name in installation.repos}
    known = {name: repo for name, repo in here.items() if repo is not None}
    if "repositories" in asked:
        names = {f"{installation.account}/{name}".lower() for name in asked["repositories"]}
        found = [name for name in known if name.lower() in names]
    elif "repository_ids" in asked:
        names = set(asked["repository_ids"])
        found = [name for name, repo in known.items() if repo.id in names]
    else:
        return list(known)
    if len(found) != len(names):
        raise Refusal(
            422,
            "There is at least one repository that does not exist or is not accessible to the"
            " parent installation.",
        )
    return found
