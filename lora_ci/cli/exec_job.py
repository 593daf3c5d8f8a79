"""`lora-ci exec-job`: fetches what a job of the bot is about, then becomes `run` or `report`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lora_ci.bot.child import note_process
from lora_ci.bot.clone import ensure_clone
from lora_ci.cli.events import read_run
from lora_ci.cli.hub import lend_git
from lora_ci.cli.output import Output, add_output_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's folder, and where the bot is."""
    parser.add_argument("folder", type=Path, help="folder of the job: asked.json says what it is")
    parser.add_argument("--clone", type=Path, required=True, help="where the clone is, or will be")
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME", help="on GitHub")
    parser.add_argument("--report-url", metavar="URL", help="folder in which pages are seen")
    parser.add_argument("--show", metavar="RUN", help="only show this run again")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """The exit code is that of the run. GITHUB_TOKEN and GITHUB_SERVER_URL are set."""
    note_process(args.folder)
    asked_file = args.folder / "asked.json"
    event = read_run(asked_file).event
    server = os.environ["GITHUB_SERVER_URL"]
    lend_git(os.environ["GITHUB_TOKEN"], server)
    clone = args.clone.resolve()
    url = f"{server}/{args.repository}.git"
    ensure_clone(clone, url, head=event.head or "", number=event.number)
    command = ["report", args.show] if args.show else ["run", "--asked", str(asked_file.resolve())]
    command += ["--repo", str(clone), "--forge", "github", "--buttons", "--json"]
    command += ["--report-url", args.report_url] if args.report_url else []
    command += ["--quiet"] if output.quiet else []
    # The lock on the folder goes along: the process stays the same.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "lora_ci", *command])  # noqa: S606
