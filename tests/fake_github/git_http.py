"""git over smart HTTP, through `git http-backend`."""

from __future__ import annotations

import gzip
import os
import subprocess
from typing import TYPE_CHECKING

from tests.fake_github.call import Answer, Refusal, Request
from tests.fake_github.state import Repo, Token
from tests.fake_github.tokens import identify

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

TIMEOUT_S = 120


def serve(hub: FakeGitHub, request: Request) -> Answer:
    """One request of a git client to `/<owner>/<name>.git/…`."""
    full_name, _, rest = request.path.lstrip("/").partition(".git/")
    pushing = "git-receive-pack" in rest or "service=git-receive-pack" in request.query
    try:
        token = identify(hub, request.headers)
    except Refusal:
        return _asks_who()
    repo = hub.repos.get(full_name.lower())
    if repo is None or not _may(token, repo, "read"):
        return Answer(404, b"Repository not found.\n") if token else _asks_who()
    if pushing and not _may(token, repo, "write"):
        if token is None:
            return _asks_who()
        said = f"Permission to {full_name}.git denied to {token.login}.\n"
        return Answer(403, said.encode())
    answer = _backend(hub, repo, rest, request)
    if rest == "git-receive-pack":
        hub.pushed(repo)
    return answer


def _may(token: Token | None, repo: Repo, level: str) -> bool:
    if level == "read" and not repo.private:
        return True
    if token is None or (token.repos is not None and repo.full_name not in token.repos):
        return False
    if token.is_app:
        return token.may("contents", level)
    if token.kind == "fine" and not token.may("contents", level):
        return False
    return repo.may(token.login, level)


def _asks_who() -> Answer:
    return Answer(401, b"Authentication required.\n", {"WWW-Authenticate": 'Basic realm="GitHub"'})


def _backend(hub: FakeGitHub, repo: Repo, rest: str, request: Request) -> Answer:
    data, headers = request.data, request.headers
    git_dir = hub.store(repo).git_dir
    if headers.get("content-encoding") == "gzip":
        data = gzip.decompress(data)
    settings = {
        "http.receivepack": "true",
        "receive.denyCurrentBranch": "ignore",
        "uploadpack.allowFilter": "true",
        "uploadpack.allowAnySHA1InWant": "true",
        "safe.directory": "*",
    }
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "GIT_PROJECT_ROOT": str(git_dir),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
        "PATH_INFO": f"/{rest}",
        "QUERY_STRING": request.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(data)),
        "REMOTE_USER": "pusher",
        "REMOTE_ADDR": "127.0.0.1",
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
    }
    for n, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    done = subprocess.run(
        ["git", "http-backend"],
        input=data,
        capture_output=True,
        env=env,
        check=False,
        timeout=TIMEOUT_S,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    found = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    status = int(found.pop("Status", "200").split()[0])
    return Answer(status, body, found)
