"""Who asks, and whether they may."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.fake_github.call import Call, Refusal, not_found
from tests.fake_github.routing import Route
from tests.fake_github.state import App, Repo, Token

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

JWT_LIFE_S = 600
CLOCK_TOLERANCE_S = 60


def bearer(headers: dict[str, str]) -> str | None:
    """The credential of a request, however it is dressed."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return value.strip()
    if scheme.lower() == "basic":
        _, _, secret = base64.b64decode(value).decode(errors="replace").partition(":")
        return secret
    return None


def identify(hub: FakeGitHub, headers: dict[str, str]) -> Token | None:
    """The token of a request, None for nobody in particular.

    Raises Refusal 401 for one that is unknown or too old.
    """
    value = bearer(headers)
    if value is None:
        return None
    token = hub.tokens.get(value)
    if token is None or (token.expires is not None and token.expires <= hub.now()):
        raise Refusal(401, "Bad credentials")
    return token


def identify_app(hub: FakeGitHub, headers: dict[str, str]) -> App:
    """The app whose JWT comes with a request.

    Raises Refusal 401, told as GitHub tells it.
    Source: docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App".
    """
    import jwt

    value = bearer(headers)
    if value is None or value.count(".") != 2:
        raise Refusal(401, "A JSON web token could not be decoded")
    try:
        claims = jwt.decode(value, options={"verify_signature": False})
        app = next(a for a in hub.apps.values() if str(a.id) == str(claims.get("iss")))
        jwt.decode(
            value,
            app.public_key,
            algorithms=["RS256"],
            options={"verify_exp": False, "verify_iat": False},
        )
    except StopIteration:
        raise Refusal(401, "'Issuer' claim ('iss') must be an Integer") from None
    except jwt.PyJWTError:
        raise Refusal(401, "A JSON web token could not be decoded") from None
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > hub.now() + CLOCK_TOLERANCE_S:
        raise Refusal(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion"
            " was issued",
        )
    if not isinstance(expires, int) or expires <= hub.now():
        raise Refusal(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time"
            " at which the assertion expires",
        )
    if expires > hub.now() + JWT_LIFE_S:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    return app


def authorize(call: Call, route: Route) -> None:
    """Raises Refusal unless the caller has one of the rights that a route needs."""
    if call.repo_here is not None and not _sees(call.token, call.repo):
        raise not_found()
    if not route.needs:
        return
    if call.token is None:
        if all(need.endswith(":read") for need in route.needs) and call.repo_here is not None:
            return
        raise Refusal(401, "Requires authentication")
    if any(_has(call, *need.split(":")) for need in route.needs):
        return
    raise _refused(call, route)


def _sees(token: Token | None, repo: Repo) -> bool:
    if not repo.private:
        return True
    if token is None or (token.repos is not None and repo.full_name not in token.repos):
        return False
    return token.is_app or repo.may(token.login, "read")


def _has(call: Call, name: str, level: str) -> bool:
    token, repo = call.token, call.repo_here
    assert token is not None
    if repo is not None and token.repos is not None and repo.full_name not in token.repos:
        return level == "read" and not repo.private
    if level == "read" and repo is not None and not repo.private and name in _PUBLIC:
        return True
    if token.is_app:
        return token.may(name, level)
    if name == "checks" and level == "write":
        return False
    if token.kind == "fine" and not token.may(name, level):
        return False
    if token.kind == "classic" and not {"repo", "public_repo"} & set(token.scopes):
        return False
    if repo is None:
        return name != "organization_self_hosted_runners" or "admin:org" in token.scopes
    return repo.may(token.login, _rank(name, level))


_PUBLIC = {"actions", "checks", "contents", "issues", "metadata", "pull_requests", "statuses"}


def _rank(name: str, level: str) -> str:
    """What a person must be to use a right. Whoever may read may comment."""
    if name in ("administration", "repository_hooks"):
        return "admin"
    if level == "read" or name in ("issues", "pull_requests"):
        return "read"
    return "write"


def _refused(call: Call, route: Route) -> Refusal:
    token = call.token
    assert token is not None
    accepted = {
        "X-Accepted-GitHub-Permissions": "; ".join(n.replace(":", "=") for n in route.needs)
    }
    if call.repo_here is not None and call.repo.private and call.method == "GET":
        return not_found()
    if token.is_app:
        return Refusal(403, "Resource not accessible by integration", headers=accepted)
    if "checks:write" in route.needs:
        return Refusal(403, "You must authenticate via a GitHub App.")
    if token.kind == "fine":
        return Refusal(403, "Resource not accessible by personal access token", headers=accepted)
    if call.repo_here is not None and call.repo.may(token.login, "write"):
        return Refusal(403, "Must have admin rights to Repository.")
    return not_found()
