"""Which function serves which operation of GitHub's API."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.fake_github.call import Answer, Call

# What these stand for may hold slashes.
_WITH_SLASHES = {"path": ".*", "ref": ".+", "branch": ".+", "tag": ".+"}


@dataclass(frozen=True, slots=True)
class Route:
    """`needs`: rights of which one is enough, e.g. `issues:write`; `app` asks for an app's JWT."""

    method: str
    template: str
    pattern: re.Pattern[str]
    needs: tuple[str, ...]
    serve: Callable[[Call], Answer]


class Routes:
    """The operations of one subject, or of all."""

    def __init__(self) -> None:
        self.all: list[Route] = []

    def operation(
        self, method: str, template: str, *needs: str
    ) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
        """Lets a function serve an operation, named as in the published description."""

        def register(serve: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
            self.all.append(Route(method, template, _pattern(template), needs, serve))
            return serve

        return register

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The most literal route for a path as it was sent, and the decoded parts of the path."""
        for route in self.all:
            if route.method == method and (match := route.pattern.fullmatch(path)):
                return route, {k: unquote(v) for k, v in match.groupdict().items()}
        return None


def merged(parts: list[Routes]) -> Routes:
    """All of them, the more literal first."""
    routes = Routes()
    for part in parts:
        routes.all.extend(part.all)
    routes.all.sort(key=lambda r: (r.template.count("{"), -r.template.count("/")))
    routes.all.sort(key=lambda r: -sum("{" not in s for s in r.template.split("/")))
    return routes


def _pattern(template: str) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        name = match[1]
        return f"(?P<{name}>{_WITH_SLASHES.get(name, '[^/]+')})"

    return re.compile(re.sub(r"\\{(\w+)\\}", group, re.escape(template)))
