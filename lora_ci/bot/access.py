"""Who the bot is at the git host: a token, or an App where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

from lora_ci.core.clock import Clock
from lora_ci.forge.forge import Host

if TYPE_CHECKING:
    from lora_ci.forge.github.auth import AppAuth, InstallationAuth
    from lora_ci.forge.github.client import GitHubClient

HOOK_PATH = "/webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the git host is."""

    api_url: str
    server_url: str


@dataclass(frozen=True, slots=True)
class HookLog:
    """Where the git host tells what it delivered: `path` has the deliveries of one webhook."""

    client: GitHubClient
    path: str


class Access(Protocol):
    """The way to repositories; one thread uses it. Calls raise LoraCIError."""

    def host(self, repo: str) -> Host:
        """The repository as the place where people ask for things."""
        ...

    def environment(self, repo: str) -> Mapping[str, str]:
        """What a process needs in its environment to work on the repository; it is secret."""
        ...

    def hook_logs(self, repos: tuple[str, ...]) -> tuple[HookLog, ...]:
        """Where deliveries can be looked up that did not arrive; `repos` are known to us."""
        ...


@dataclass(slots=True)
class TokenAccess:
    """A token that is good for all repositories; `hook_url` is what their webhooks call."""

    server: Server
    client: GitHubClient
    token: str = field(repr=False)
    clock: Clock
    hook_url: str | None
    _hosts: dict[str, Host] = field(default_factory=dict)

    def host(self, repo: str) -> Host:
        if repo not in self._hosts:
            self._hosts[repo] = _host(self.client, repo, self.server, self.clock, None)
        return self._hosts[repo]

    def environment(self, repo: str) -> Mapping[str, str]:
        return _environment(self.server, repo, self.token)

    def hook_logs(self, repos: tuple[str, ...]) -> tuple[HookLog, ...]:
        found = []
        for repo in repos:
            for page in self.client.pages(f"/repos/{repo}/hooks", list[_Hook]):
                found += [
                    HookLog(self.client, f"/repos/{repo}/hooks/{hook.id}/deliveries")
                    for hook in page
                    if hook.config.url == self.hook_url
                ]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Config:
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Hook:
    id: int
    config: _Config


@dataclass(slots=True)
class AppAccess:
    """An App: each repository has tokens of its own, and each process a new one."""

    server: Server
    app: AppAuth
    client: GitHubClient
    rng: Random
    _installed: dict[str, tuple[InstallationAuth, Host]] = field(default_factory=dict)

    def host(self, repo: str) -> Host:
        return self._installation(repo)[1]

    def environment(self, repo: str) -> Mapping[str, str]:
        auth, _ = self._installation(repo)
        auth.renew(None)  # one that lasts as long as any can
        return {**_environment(self.server, repo, auth.token()), "LORA_CI_LOGIN": auth.login()}

    def hook_logs(self, repos: tuple[str, ...]) -> tuple[HookLog, ...]:
        return (HookLog(self.client, "/app/hook/deliveries"),)

    def _installation(self, repo: str) -> tuple[InstallationAuth, Host]:
        from lora_ci.forge.github.open import open_installation

        if repo not in self._installed:
            auth, client = open_installation(
                self.app, self.client, repo, rng=self.rng, api_url=self.server.api_url
            )
            host = _host(client, repo, self.server, self.app.clock, auth.login())
            self._installed[repo] = auth, host
        return self._installed[repo]


def _host(client: GitHubClient, repo: str, server: Server, clock: Clock, login: str | None) -> Host:
    from lora_ci.forge.github.open import open_github

    _, host = open_github(
        client,
        repo,
        clock=clock,
        rng=Random(),
        pages=Path(),  # the forge's half, which is not used here
        server_url=server.server_url,
        login=login,
    )
    return host


def _environment(server: Server, repo: str, token: str) -> dict[str, str]:
    return {
        "GITHUB_TOKEN": token,
        "GITHUB_REPOSITORY": repo,
        "GITHUB_API_URL": server.api_url,
        "GITHUB_SERVER_URL": server.server_url,
    }
