"""The door: GitHub for one repository, as a forge and as a host, asked by a token or by an App."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from lora_ci.core.clock import Clock
from lora_ci.core.errors import UsageError
from lora_ci.forge.github.auth import AppAuth, InstallationAuth, TokenAuth
from lora_ci.forge.github.checks import Checks
from lora_ci.forge.github.client import DEADLINE_S, GitHubClient
from lora_ci.forge.github.comments import Comments
from lora_ci.forge.github.forge import GitHubForge
from lora_ci.forge.github.host import GitHubHost
from lora_ci.forge.github.people import Me, fetch_me
from lora_ci.forge.github.pictures import Pictures
from lora_ci.forge.github.releases import Releases
from lora_ci.forge.github.statuses import Statuses
from lora_ci.forge.github.suggestions import Suggestions
from lora_ci.forge.job import Job

API_URL = "https://api.github.com"
SERVER_URL = "https://github.com"
# Owners that a company manages have an underscore.
REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,64}/[A-Za-z0-9._-]{1,100}")


def open_github(
    client: GitHubClient,
    repository: str,
    *,
    clock: Clock,
    rng: random.Random,
    pages: Path,
    report_url: str | None = None,
    job: Job | None = None,
    server_url: str = SERVER_URL,
    login: str | None = None,
) -> tuple[GitHubForge, GitHubHost]:
    """Both faces of a repository such as `acme/loras`.

    `login` is whose name stands at what the token writes; None: GitHub is asked, which it answers
    for people only. Where two Apps use lora-ci on one repository, each must know its own.

    Raises UsageError for what is no repository's name.
    """
    if not REPOSITORY.fullmatch(repository) or repository.endswith(("/.", "/..")):
        raise UsageError(f"{repository!r} is no repository on GitHub", hint="expected OWNER/NAME")
    repo = f"/repos/{repository}"

    @cache
    def me() -> Me:
        return Me(login) if login else fetch_me(client)

    page = f"{server_url.rstrip('/')}/{repository}"
    forge = GitHubForge(
        comments=Comments(client, repo, me),
        suggestions=Suggestions(client, repo, me),
        checks=Checks(client, repo, me),
        statuses=Statuses(client, repo),
        pictures=Pictures(client, repo, page, clock, rng),
        releases=Releases(client, repo),
        pages=pages,
        report_url=report_url,
        job=job or Job(),
    )
    return forge, GitHubHost(client, repo, me)


def open_client(
    token: str,
    *,
    clock: Clock,
    rng: random.Random,
    api_url: str = API_URL,
    deadline_s: float = DEADLINE_S,
) -> GitHubClient:
    """Asks with a token. Raises UsageError for what is no token."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("there is no token for GitHub", hint="set GITHUB_TOKEN")
    return GitHubClient(api_url, TokenAuth(token), clock, rng, deadline_s=deadline_s)


def open_app(
    app_id: str,
    private_key_pem: str,
    *,
    clock: Clock,
    rng: random.Random,
    api_url: str = API_URL,
) -> tuple[AppAuth, GitHubClient]:
    """Asks as the App itself, which is known to GitHub by its key."""
    app = AppAuth(app_id, private_key_pem, clock)
    return app, GitHubClient(api_url, app, clock, rng)


def open_installation(
    app: AppAuth,
    client: GitHubClient,
    repository: str,
    *,
    rng: random.Random,
    api_url: str = API_URL,
) -> tuple[InstallationAuth, GitHubClient]:
    """Asks as the App where it is installed; the first part mints tokens and knows its login."""
    auth = InstallationAuth(app, client, repository)
    return auth, GitHubClient(api_url, auth, app.clock, rng)
