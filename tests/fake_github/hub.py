"""The fake GitHub: its world, and the server that serves it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.fake_github import delivery, payloads
from tests.fake_github.faults import Faults
from tests.fake_github.state import Delivery, Hook, Logged
from tests.fake_github.validation import Validator
from tests.fake_github.world import World


class FakeGitHub(World):
    """A GitHub on 127.0.0.1 as long as the `with` block lasts.

    Leaving the block raises AssertionError if a request or an answer broke GitHub's published
    description. `validate`: False, or the share of requests to check. `now` is its clock.
    """

    def __init__(
        self,
        *,
        validate: bool | float = True,
        now: Callable[[], float] = time.time,
        port: int = 0,
        seed: int = 0,
    ):
        super().__init__(now)
        self.requests: list[Logged] = []
        self.violations: list[str] = []
        self.loose_deliveries: list[Delivery] = []
        self.threads: list[threading.Thread] = []
        self.faults = Faults(random.Random(seed))
        self.validator = Validator(float(validate), random.Random(seed))
        self._port = port
        self._server: Any = None

    # -- serving --------------------------------------------------------------------------------

    def start(self) -> None:
        from tests.fake_github.server import Server

        self._server = Server(self, self._port)
        self._server.start()

    def stop(self) -> None:
        for thread in self.threads:
            thread.join(delivery.TIMEOUT_S)
        self._server.stop()
        self.forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raises AssertionError if anything broke GitHub's published description."""
        assert not self.violations, "\n".join(["against GitHub's description:", *self.violations])

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def api_url(self) -> str:
        return self.web_url

    @property
    def enterprise_url(self) -> str:
        """The API where GitHub Enterprise has it."""
        return f"{self.web_url}/api/v3"

    def git_url(self, repo: str) -> str:
        return f"{self.web_url}/{repo}.git"

    # -- webhooks -------------------------------------------------------------------------------

    def payload(self, name: str, repo: str, **changes: Any) -> dict[str, Any]:
        """A real example of a delivery (`pull_request.opened`, `push`…), fitted to what is here.

        See payloads.py for what may be changed.
        """
        return payloads.build(self, name, self.repo(repo), changes)

    def deliver(
        self,
        url: str,
        secret: str | None,
        event: str,
        payload: dict[str, Any],
        *,
        delivery_id: str | None = None,
        hook: Hook | None = None,
        lost: bool = False,
    ) -> Delivery:
        """Posts a signed delivery and remembers it, at `hook` if given; `lost` never arrives."""
        return delivery.deliver(
            self, url, secret, event, payload, guid=delivery_id, hook=hook, lost=lost
        )

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries of all hooks and of `deliver`, oldest first."""
        return delivery.all_of(self)

    # -- looking --------------------------------------------------------------------------------

    def count(self, method: str, ending: str = "", *, status: int | None = None) -> int:
        """How many requests of a method had a path (without its query) that ends like this."""
        return sum(
            r.method == method
            and r.path.partition("?")[0].endswith(ending)
            and status in (None, r.status)
            for r in list(self.requests)
        )
