"""The options that say where results are shown, and the git host that they name."""

from __future__ import annotations

import argparse
import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TextIO

from lora_ci.app.announce import publish_refusal
from lora_ci.app.commands import Run
from lora_ci.app.records import FORGE, STATE
from lora_ci.app.scope import UnknownLora
from lora_ci.changes.git import open_repository
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import (
    InfrastructureError,
    Interrupted,
    LoraCIError,
    UsageError,
    machine_error,
)
from lora_ci.forge.forge import Forge, Host
from lora_ci.forge.job import Job
from lora_ci.forge.local import REPORTS
from lora_ci.report.markdown import prose
from lora_ci.store.layered import Remote

if TYPE_CHECKING:
    from lora_ci.forge.github.client import GitHubClient

# Steps wait for no single request for longer than others wait for a sign of life.
JOBS_DEADLINE_S = 10.0

# The names of what carries an object, by its sha256.
KeptIn = Callable[[str], tuple[str, ...]]


def add_forge_arguments(parser: argparse.ArgumentParser) -> None:
    """Where results are shown."""
    group = parser.add_argument_group("where results are shown")
    group.add_argument(
        "--forge",
        choices=("local", "github"),
        default="local",
        help="a folder below .lora-ci/, or GitHub: with GITHUB_TOKEN and GITHUB_REPOSITORY set",
    )
    group.add_argument(
        "--report-url", metavar="URL", help="where the page of the run can be opened"
    )
    group.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="leave there what the reporting job needs"
    )
    group.add_argument(
        "--bundle-name", metavar="NAME", help="workflow artifact that will carry the bundle"
    )
    group.add_argument(
        "--github-output", type=Path, metavar="FILE", help="outputs of a workflow step"
    )
    group.add_argument(
        "--summary", type=Path, metavar="FILE", help="markdown that a workflow's page shows"
    )
    group.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="workflow commands that annotate the job, for a step that prints them",
    )
    group.add_argument(
        "--buttons", action="store_true", help="checks have buttons: a bot is there to hear them"
    )


@dataclass(frozen=True, slots=True)
class Jobs:
    """A repository whose workflows may be run, and who asks for that."""

    client: GitHubClient
    repo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The git host of a run and the job it is in; `host` is None where nobody can ask anything.

    `artifacts` fetches what earlier jobs made, by the names of what carries it; `jobs` is the
    repository as a place for new ones.
    """

    job: Job = field(default_factory=Job)
    forge: Forge | None = None
    host: Host | None = None
    artifacts: Callable[[KeptIn], Remote] | None = None
    jobs: Callable[[], Jobs] | None = None

    @contextmanager
    def refusing(self, asked: Run | None) -> Iterator[None]:
        """Shows on the host what kept the block from its end, where that has a commit.

        What is only a slip in a comment is answered there, and what is shown of the commit stays.
        """
        try:
            yield
        except Interrupted:
            raise
        except UnknownLora as error:
            self._answer(asked, error)
            raise
        except Exception as error:
            head = asked.event.head if asked else None
            if self.forge and asked and head:
                publish_refusal(_told(error), asked.event, head, self.forge, self.host)
            raise

    def _answer(self, asked: Run | None, error: LoraCIError) -> None:
        if not (self.host and asked and asked.key and asked.event.number):
            return
        told = f"Nothing runs: {prose(str(error))}; {prose(error.findings[0].hint or '')}."
        with suppress(LoraCIError):
            self.host.reply(asked.event.number, asked.key, told)


def _told(error: Exception) -> LoraCIError:
    """What people are told of any error; the words of one that nobody foresaw may be secret."""
    if isinstance(error, LoraCIError):
        return error
    known = machine_error(error) if isinstance(error, OSError) else None
    hint = "the log of the job tells more"
    return known or InfrastructureError(f"lora-ci crashed: {type(error).__name__}", hint=hint)


def open_hub(args: argparse.Namespace) -> Hub:
    """The git host that the options name. Raises UsageError: the environment does not tell it."""
    job = Job(summary=args.summary, output=args.github_output, commands=_log(args.annotations))
    if args.forge == "local":
        return Hub(job=job)
    from lora_ci.forge.github.artifacts import ActionsArtifacts
    from lora_ci.forge.github.open import API_URL, SERVER_URL, open_client, open_github

    token, repository = os.environ.get("GITHUB_TOKEN"), os.environ.get("GITHUB_REPOSITORY")
    missing = [
        name
        for name, value in (("GITHUB_TOKEN", token), ("GITHUB_REPOSITORY", repository))
        if not value
    ]
    if missing or not token or not repository:
        hint = "in a workflow: env: GITHUB_TOKEN: ${{ github.token }}"
        raise UsageError(f"--forge github needs {' and '.join(missing)} to be set", hint=hint)
    server = os.environ.get("GITHUB_SERVER_URL") or SERVER_URL
    run = os.environ.get("GITHUB_RUN_ID")
    address = args.report_url or (f"{server}/{repository}/actions/runs/{run}" if run else None)
    clock, rng = SystemClock(), Random()
    api_url = os.environ.get("GITHUB_API_URL") or API_URL
    client = open_client(token, clock=clock, rng=rng, api_url=api_url)
    forge, host = open_github(
        client,
        repository,
        clock=clock,
        rng=rng,
        pages=open_repository(args.repo).root / STATE / FORGE / REPORTS,
        report_url=address,
        job=job,
        server_url=server,
        login=os.environ.get("LORA_CI_LOGIN") or None,
    )
    lend_git(token, server)

    def artifacts(kept_in: KeptIn) -> Remote:
        return ActionsArtifacts(client, repository, kept_in)

    def jobs() -> Jobs:
        patience_s = JOBS_DEADLINE_S
        own = open_client(token, clock=clock, rng=rng, api_url=api_url, deadline_s=patience_s)
        return Jobs(own, repository)

    return Hub(job=job, forge=forge, host=host, artifacts=artifacts, jobs=jobs)


def _log(file: Path | None) -> TextIO | None:
    return file.open("a", encoding="utf-8") if file else None


def run_id_of(args: argparse.Namespace) -> str | None:
    """The jobs of one workflow run share this; None outside of a workflow."""
    run, attempt = os.environ.get("GITHUB_RUN_ID"), os.environ.get("GITHUB_RUN_ATTEMPT")
    if args.forge != "github" or not run:
        return None
    return f"actions-{run}-{attempt or 1}"


def lend_git(token: str, server: str) -> None:
    """Lets the git commands of this process fetch and push with the token, to that server alone.

    It goes through the environment: an argument or a config file would be seen by others.
    """
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    # The empty one forgets what a checkout has left behind: GitHub refuses two.
    for at, value in enumerate(("", f"AUTHORIZATION: basic {basic}"), start=count):
        os.environ[f"GIT_CONFIG_KEY_{at}"] = f"http.{server}/.extraheader"
        os.environ[f"GIT_CONFIG_VALUE_{at}"] = value
    os.environ["GIT_CONFIG_COUNT"] = str(count + 2)
