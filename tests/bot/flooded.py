"""A bot whose jobs show their results at once: through the real forge, without a process each.

As a program it serves until it is killed; see `main`.
"""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lora_ci.app.commands import Run
from lora_ci.bot.access import Server, TokenAccess
from lora_ci.bot.runner import End, Ending
from lora_ci.bot.tend import Tender
from lora_ci.bot.worker import Worker
from lora_ci.core.event import EventKind
from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Check, ReleaseDraft
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.open import open_client, open_github
from lora_ci.ledger.database import open_database
from lora_ci.ledger.inbox import Inbox
from lora_ci.ledger.jobs import Job, Jobs
from lora_ci.web.app import Door, create_app
from lora_ci.web.serve import open_server

SECRET = "a secret of many characters"


class HastyClock:
    """Waiting takes no time; only the clock moves on, `speed` times as fast as others."""

    def __init__(self, ahead: timedelta = timedelta(), speed: int = 1) -> None:
        self.ahead, self.speed, self.began = ahead, speed, datetime.now(UTC)

    def now(self) -> datetime:
        return self.began + self.speed * (datetime.now(UTC) - self.began) + self.ahead

    def monotonic(self) -> float:
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass
class HastyRunner:
    """Each job ends before `start` returns; what another process began is lost."""

    client: GitHubClient
    server: Server
    state: Path
    clock: HastyClock
    starts: list[str] = field(default_factory=list)
    _ended: set[int] = field(default_factory=set)

    def start(self, job: Job, wanted: Run) -> str:
        self.starts.append(job.delivery)
        forge, _ = open_github(
            self.client,
            job.repo,
            clock=self.clock,
            rng=random.Random(job.id),
            pages=self.state / "pages",
            server_url=self.server.server_url,
        )
        event, head = wanted.event, job.head
        if event.number:
            forge.upsert_comment(event.number, f"what came of {head}")
        forge.publish_check(Check(head=head, name="lora-ci", outcome=Outcome.PASSED, title="good",
                                  summary="All is well."))  # fmt: skip
        if event.kind is EventKind.TAG and event.tag:
            file = self.state / f"{job.id}.safetensors"
            file.write_bytes(event.tag.encode())
            forge.publish_release(
                ReleaseDraft(tag=event.tag, commit=head, title=event.tag, notes="New.",
                             files={"adapter.safetensors": file})
            )  # fmt: skip
        self._ended.add(job.id)
        return "here"

    def end(self, job: Job) -> End | None:
        if job.id in self._ended:
            return End(ending=Ending.DONE, note="passed", run_id=f"r-{job.id}")
        return End(ending=Ending.LOST, note="another process began it")

    def stop(self, job: Job, *, hard: bool) -> None:
        return


@dataclass
class Flooded:
    """The bot and what it works with."""

    inbox: Inbox
    jobs: Jobs
    runner: HastyRunner
    worker: Worker
    clock: HastyClock

    def drain(self) -> None:
        """Turns until nothing waits; the clock is moved to what is due later."""
        while self.worker.turn() or any(
            (self.inbox.waiting().deliveries, self.inbox.waiting().jobs)
        ):
            self.clock.sleep(1)


def make_bot(
    state: Path, url: str, api_url: str, token: str, *, ahead_s: float = 0, speed: int = 1
) -> Flooded:
    """A bot on the ledger of a folder, with a token."""
    clock = HastyClock(timedelta(seconds=ahead_s), speed)
    database = open_database(f"sqlite:///{state / 'ledger.db'}", clock)
    inbox, jobs = Inbox(database), Jobs(database)
    client = open_client(token, clock=clock, rng=random.Random(1), api_url=api_url)
    server = Server(api_url=api_url, server_url=api_url)
    runner = HastyRunner(client, server, state, clock)
    access = TokenAccess(server, client, token, clock, f"{url}/webhook")
    worker = Worker(inbox=inbox, jobs=jobs, access=access, runner=runner, clock=clock,
                    state=state, parallel=4)  # fmt: skip
    return Flooded(inbox, jobs, runner, worker, clock)


def main(state: str, port: str, api_url: str, token: str, ahead_s: str) -> None:
    """Serves until it is killed."""
    url = f"http://127.0.0.1:{port}"
    bot = make_bot(Path(state), url, api_url, token, ahead_s=float(ahead_s), speed=100)
    tender = Tender(bot.worker)
    door = Door(inbox=bot.inbox, secret=SECRET.encode(), repos=Path(state) / "repos", limit=10_000,
                wake=tender.wake)  # fmt: skip
    server = open_server(create_app(door), "127.0.0.1", int(port))
    threading.Thread(target=tender.run, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
