"""Who wrote something, and whether that was us."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient

BOT = "[bot]"


@dataclass(frozen=True, slots=True)
class Person:
    """An account; `type` is `User`, `Bot` or `Organization`."""

    login: str
    type: str = "User"


@dataclass(frozen=True, slots=True)
class App:
    """The App that made something."""

    slug: str | None = None


@dataclass(frozen=True, slots=True)
class Me:
    """Our own account; `login` is None where the token does not tell whose it is."""

    login: str | None

    def wrote(self, author: Person | None, body: str, marker: str) -> bool:
        """True for a text of ours that has the marker, whoever edited it since."""
        if author is None or marker not in body:
            return False
        if self.login is None:
            # Somebody of many Apps: people quote markers, Apps do not begin with them.
            return author.type == "Bot" and body.lstrip().startswith(marker)
        return author.login.casefold() == self.login.casefold()

    def made(self, app: App | None) -> bool:
        """False for what another App made."""
        if self.login is None or app is None or app.slug is None:
            return True
        return f"{app.slug}{BOT}".casefold() == self.login.casefold()


def fetch_me(client: GitHubClient) -> Me:
    """Whose token it is. That of an App, and so of a workflow's job, may not ask."""
    try:
        return Me(client.get("/user", Person).login)
    except Refused as refused:
        if refused.is_forbidden and refused.status != 401:
            return Me(None)
        raise
