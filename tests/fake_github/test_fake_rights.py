"""Who may do what: tokens, apps, people; renamed, deleted and private repositories."""

import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fake_github.client import ask

REPO = "acme/loras"
AT = f"/repos/{REPO}"
CHECK = {"name": "LoRA mei", "head_sha": "a" * 40}


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def app(hub, key):
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hub.add_app(public, permissions={"checks": "write", "issues": "write"})


def test_a_token_without_the_right_is_told_which_one_is_needed(hub):
    heard = ask(
        hub, f"POST {AT}/issues/1/comments", {"body": "x"}, token=hub.token({"issues": "read"})
    )
    assert heard.status == 403
    assert heard.json["message"] == "Resource not accessible by integration"
    assert "issues=write" in heard.headers["x-accepted-github-permissions"]


def test_bad_and_missing_credentials(hub):
    assert ask(hub, f"GET {AT}", token="nonsense").status == 401
    assert ask(hub, f"GET {AT}/pulls/1").status == 200
    assert ask(hub, f"POST {AT}/issues/1/comments", {"body": "x"}).status == 401


def test_what_is_private_is_not_found(hub):
    hub.repo(REPO).private = True
    assert ask(hub, f"GET {AT}/issues/1").status == 404
    assert ask(hub, f"GET {AT}/issues/1", token=hub.token(repos=("acme/other",))).status == 404
    assert ask(hub, f"GET {AT}/issues/1", token=hub.token({"issues": "read"})).status == 200


def test_checks_are_for_apps(hub):
    hub.grant("mei", REPO, "write")
    classic = hub.token(kind="classic", login="mei")
    heard = ask(hub, f"POST {AT}/check-runs", CHECK, token=classic)
    assert (heard.status, heard.headers["x-oauth-scopes"]) == (403, "repo")
    status = {"state": "success"}
    assert ask(hub, f"POST {AT}/statuses/{'a' * 40}", status, token=classic).status == 201
    assert ask(hub, f"POST {AT}/check-runs", CHECK, token=hub.token()).status == 201


def test_people_write_only_where_they_may(hub):
    hub.grant("guest", REPO, "read")
    guest = hub.token(kind="classic", login="guest")
    comment = ask(hub, f"POST {AT}/issues/1/comments", {"body": "x"}, token=guest)
    assert comment.json["user"]["login"] == "guest"
    assert ask(hub, f"POST {AT}/statuses/{'a' * 40}", {"state": "error"}, token=guest).status == 404
    assert ask(hub, f"GET {AT}/collaborators/guest/permission", token=guest).status == 403


def signed(key, app, *, iat=0.0, exp=540.0):
    now = int(time.time())
    claims = {"iss": str(app.id), "iat": now + int(iat), "exp": now + int(exp)}
    return jwt.encode(claims, key, algorithm="RS256")


def test_an_app_gets_a_token_for_an_installation(hub, app, key):
    installation = hub.install(app, REPO)
    token = signed(key, app, iat=-60)
    assert ask(hub, "GET /app", token=token).json["slug"] == "lora-ci"
    assert ask(hub, f"GET {AT}/installation", token=token).json["id"] == installation
    at = f"POST /app/installations/{installation}/access_tokens"
    minted = ask(hub, at, {"permissions": {"checks": "write"}}, token=token).json
    check = ask(hub, f"POST {AT}/check-runs", CHECK, token=minted["token"])
    assert (check.status, check.json["app"]["slug"]) == (201, "lora-ci")
    assert (
        ask(hub, f"POST {AT}/issues/1/comments", {"body": "x"}, token=minted["token"]).status == 403
    )
    assert (
        ask(hub, "GET /installation/repositories", token=minted["token"]).json["total_count"] == 1
    )
    assert ask(hub, at, {"permissions": {"contents": "write"}}, token=token).status == 422
    hub.tokens[minted["token"]].expires = time.time() - 1
    assert ask(hub, f"GET {AT}", token=minted["token"]).status == 401


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"iat": 600, "exp": 1100}, "iat"),  # the caller's clock is ten minutes fast
        ({"iat": -1200, "exp": -600}, "exp"),
        ({"iat": 0, "exp": 900}, "too far"),
    ],
)
def test_a_clock_that_is_off(hub, app, key, times, said):
    heard = ask(hub, "GET /app", token=signed(key, app, **times))
    assert heard.status == 401
    assert said in heard.json["message"]
    assert "date" in heard.headers


def test_a_key_that_is_not_the_apps(hub, app):
    other = rsa.generate_private_key(65537, 2048)
    assert ask(hub, "GET /app", token=signed(other, app)).status == 401


def test_renamed_and_deleted(hub):
    token = hub.token()
    hub.rename_repo(REPO, "adapters")
    moved = ask(hub, f"GET {AT}/issues/1", token=token)
    assert moved.status == 301
    path = moved.headers["location"].removeprefix(hub.api_url)
    assert ask(hub, f"GET {path}", token=token).json["number"] == 1
    assert ask(hub, f"POST {AT}/issues/1/comments", {"body": "x"}, token=token).status == 307
    hub.delete_repo("acme/adapters")
    assert ask(hub, "GET /repos/acme/adapters", token=token).status == 404


def test_limits_are_told_and_kept(hub):
    token = hub.token()
    kept = hub.tokens[token]
    kept.limit, kept.limited = 2, True
    assert ask(hub, f"GET {AT}", token=token).headers["x-ratelimit-remaining"] == "1"
    ask(hub, f"GET {AT}", token=token)
    over = ask(hub, f"GET {AT}", token=token)
    assert (over.status, over.headers["x-ratelimit-remaining"]) == (403, "0")
    assert int(over.headers["x-ratelimit-reset"]) > time.time()


def test_what_is_known_is_not_sent_again(hub):
    first = ask(hub, f"GET {AT}/issues/1", token=hub.token())
    again = {"If-None-Match": first.headers["etag"]}
    assert ask(hub, f"GET {AT}/issues/1", headers=again).status == 304
    hub.repo(REPO).issues[1].title = "Another"
    assert ask(hub, f"GET {AT}/issues/1", headers=again).status == 200
