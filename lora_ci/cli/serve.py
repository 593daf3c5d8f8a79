"""`lora-ci serve`: the bot. Secrets come from files or the environment, never from arguments."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from lora_ci.bot.access import HOOK_PATH, Access, AppAccess, Server, TokenAccess
from lora_ci.bot.child import ChildRunner
from lora_ci.bot.tend import Tender
from lora_ci.bot.worker import Worker
from lora_ci.cli.events import positive
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.run import executor_name
from lora_ci.cli.serve_start import EVERYBODY, SECRET_NAME, TOKEN_NAME, Secrets, check_start
from lora_ci.cli.server_log import FORMATS, set_up_log
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, InfrastructureError, UsageError

LOG = logging.getLogger("lora_ci.serve")

API_URL = "https://api.github.com"
SERVER_URL = "https://github.com"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where it listens, who it is, how much it does at once."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (8080)")
    parser.add_argument(
        "--state", type=Path, default=Path("lora-ci-bot"), help="folder of its own (./lora-ci-bot)"
    )
    parser.add_argument(
        "--url",
        help="where GitHub and browsers reach it, such as https://ci.example.org; without it no "
        "report page is linked",
    )
    parser.add_argument(
        "--secret-file", type=Path, help=f"file with the webhook's secret (default: {SECRET_NAME})"
    )
    parser.add_argument("--app-id", metavar="ID", help="the GitHub App that it is")
    parser.add_argument("--key-file", type=Path, help="the App's private key (.pem)")
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"file with a token, instead of an App (default: {TOKEN_NAME})",
    )
    parser.add_argument(
        "--owner",
        action="append",
        default=[],
        metavar="NAME",
        help="serve only repositories of this account; may be repeated (default: all)",
    )
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time (1)")
    steps = parser.add_argument_group("where steps run")
    steps.add_argument(
        "--executor",
        type=executor_name,
        default="inline",
        metavar="WHERE",
        help="`inline`: in the process of their run; `local`, `ray=URL`, `slurm`: the steps "
        "of all repositories in one queue, by priority and in fair turns (default: inline)",
    )
    steps.add_argument(
        "--steps",
        type=positive,
        default=1,
        metavar="N",
        help="steps of that queue at a time (1)",
    )
    steps.add_argument(
        "--quota",
        type=positive,
        metavar="N",
        help="GPUs that the steps of one repository may have at a time (default: all)",
    )
    steps.add_argument(
        "--ledger-url",
        default=os.environ.get("LORA_CI_LEDGER_URL") or None,
        metavar="URL",
        help="database of that queue (default: LORA_CI_LEDGER_URL, else a file in --state)",
    )
    parser.add_argument(
        "--queue", type=int, default=1000, help="what may wait before GitHub gets a 503 (1000)"
    )
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default="human",
        help="of the log on stderr: lines for people, or a JSON object each (human)",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Serves until a signal; what runs then is interrupted and taken up by the next server."""
    secrets = check_start(args)
    set_up_log(args.log_format)
    from lora_ci.ledger.database import open_database
    from lora_ci.ledger.inbox import Inbox
    from lora_ci.ledger.jobs import Jobs
    from lora_ci.web.app import Door, create_app
    from lora_ci.web.serve import open_server

    state, url = args.state.resolve(), args.url.rstrip("/") if args.url else None
    with only_one(state):
        clock = SystemClock()
        database = open_database(f"sqlite:///{state / 'ledger.db'}", clock)
        inbox = Inbox(database)
        access = open_access(args, secrets, url)
        worker = Worker(
            inbox=inbox,
            jobs=Jobs(database),
            access=access,
            runner=ChildRunner(state, access.environment, url, shared_by_jobs(args, state)),
            clock=clock,
            state=state,
            parallel=args.parallel,
            owners=frozenset(owner.lower() for owner in args.owner),
        )
        tender = Tender(worker)
        door = Door(
            inbox=inbox,
            secret=secrets.webhook,
            repos=state / "repos",
            limit=args.queue,
            wake=tender.wake,
        )
        try:
            server = open_server(create_app(door), args.host, args.port)
        except OSError as error:
            message = f"{args.host}:{args.port}: {error.strerror}"
            raise InfrastructureError(message, hint="next: --port, or ss -ltnp") from error
        if args.app_id and not args.owner:
            LOG.warning("serve.everybody why=%s hint=%s", EVERYBODY.message, EVERYBODY.hint)
        thread = threading.Thread(target=tender.run, name="worker")
        thread.start()
        if args.log_format == "human":
            output.note("Ctrl-C ends it")
        LOG.info("serve.listening address=http://%s:%d%s", args.host, args.port, HOOK_PATH)
        try:
            server.run()  # returns on a signal
        finally:
            server.close()
            tender.stop()
            thread.join()
            database.close()
            LOG.info("serve.ended")
    return ExitCode.PASSED


def shared_by_jobs(args: argparse.Namespace, state: Path) -> dict[str, str]:
    """The environment that lets jobs have one queue of steps, store and cache; or none of it."""
    if args.executor == "inline":
        return {}
    return {
        "LORA_CI_EXECUTOR": args.executor,
        "LORA_CI_PARALLEL": str(args.steps),
        "LORA_CI_QUOTA": str(args.quota or ""),
        "LORA_CI_LEDGER_URL": args.ledger_url or f"sqlite:///{state / 'steps.db'}",
        "LORA_CI_STORE": os.environ.get("LORA_CI_STORE") or str(state / "objects"),
        "LORA_CI_CACHE": str(state / "cache"),
        "LORA_CI_PASS_ENV": os.environ.get("LORA_CI_PASS_ENV", ""),
    }


def open_access(args: argparse.Namespace, secrets: Secrets, url: str | None) -> Access:
    """Who the bot is at GitHub."""
    from lora_ci.forge.github.open import open_app, open_client

    server = Server(
        api_url=os.environ.get("GITHUB_API_URL") or API_URL,
        server_url=os.environ.get("GITHUB_SERVER_URL") or SERVER_URL,
    )
    clock, rng = SystemClock(), Random()
    if secrets.key:
        app, client = open_app(
            args.app_id, secrets.key, clock=clock, rng=rng, api_url=server.api_url
        )
        app.authorization()  # a key that cannot sign is told now
        return AppAccess(server, app, client, rng)
    token = secrets.token or ""
    client = open_client(token, clock=clock, rng=rng, api_url=server.api_url)
    hook = f"{url}{HOOK_PATH}" if url else None
    return TokenAccess(server, client, token, clock, hook)


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Keeps a second server out of the folder. Raises UsageError."""
    with (state / "server.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "next: stop it, or give this one a --state of its own"
            raise UsageError(f"{state}: another server works there", hint=hint) from error
        yield
