"""`lora-ci`: the table of commands and the one place where errors become exit codes.

Only the module of the chosen command is imported, so that `--help` and `plan` start fast.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import keyword
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import lora_ci
from lora_ci.cli.output import Output
from lora_ci.core.errors import ExitCode, LoraCIError, machine_error

COMMANDS: dict[str, str] = {
    "init": "write a first .lora-ci.yml for this repository",
    "import": "write a config for a folder of another trainer's",
    "config": "check, show or describe the config",
    "plan": "say what a commit changes, what would run, and why",
    "changes": "say which files of which datasets differ between two commits",
    "simulate": "say what a push would run to its end, as if its start were done",
    "simulate-fleet": "say what a number of GPUs would do with a number of LoRAs a day",
    "explain": "show what a LoRA's fingerprints are made of, and which part moved",
    "run": "do what the plan says: validate, train, judge, report",
    "train": "run one LoRA as far as training",
    "qa": "judge a LoRA, an adapter file, or the judge",
    "batch": "do many LoRAs from folders in one go, without a repository",
    "sweep": "do the matrix of a LoRA, and say which values are best",
    "dataset": "check a dataset folder, or build one of the best pictures of a folder",
    "formats": "look at adapter files; convert, shrink, merge and check them",
    "shard": "deal a dataset out to sites; make one adapter of what they trained",
    "deploy": "release what a tag names, or make the key that signs",
    "verify": "tell whether a release folder is whole, and who signed it",
    "pull": "take a release out of a store, verified",
    "yank": "say of a release that it must not be used any more",
    "report": "render the report of a recorded run again",
    "status": "show the recent runs, or the steps of one",
    "logs": "show what steps printed, or what they print now",
    "ledger": "look after what ran: check, clean up, back up, restore, export",
    "runners": "show the machines that run steps; let one take no more, or again",
    "doctor": "tell whether this machine can do the work, and what to mend",
    "demo": "see the story on a throw-away repository",
    "serve": "be the bot: hear GitHub's webhooks, run what they ask for",
    "exec-step": "execute one step folder (what executors call)",
    "exec-job": "do one job of the bot (what `serve` calls)",
}


def main(argv: Sequence[str]) -> int:
    """Runs a command and returns the exit code of the design (see `core.errors`)."""
    output = Output(json=False, quiet=False)
    try:
        parser = build_parser(argv)
        args = parser.parse_args(spelled_out(argv))
        if not getattr(args, "run", None):
            parser.print_help(sys.stderr)
            return ExitCode.USAGE
        output = Output(json=args.json, quiet=args.quiet)
        code = int(args.run(args, output))
        sys.stdout.flush()
    except LoraCIError as error:
        output.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return interrupted(output)
    except BrokenPipeError:
        # Who read our output has gone; what is left of it must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PASSED
    except OSError as error:
        expected = machine_error(error)
        if expected is None:
            return bug(output)
        output.error(expected)
        return expected.exit_code
    except Exception as error:  # noqa: BLE001 - the border: a bug of ours must never look like the user's fault
        return interrupted(output) if came_of_signal(error) else bug(output)
    return code


def interrupted(output: Output) -> int:
    """Tells that a signal ended the command."""
    output.note("interrupted; the same command goes on where it stopped")
    return ExitCode.INTERRUPTED


def came_of_signal(error: BaseException | None) -> bool:
    """True if a signal lies under it: libraries wrap what is raised inside their calls."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def bug(output: Output) -> int:
    """Shows the error that nobody expected; it is ours, never the user's."""
    output.fault(
        f"{traceback.format_exc()}\nthis is a bug in lora-ci; please report it with the text above"
    )
    return ExitCode.INFRASTRUCTURE


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command named in `argv` adds its arguments."""
    parser = argparse.ArgumentParser(
        prog="lora-ci", description="Continuous integration for LoRA adapters."
    )
    parser.add_argument("--version", action="version", version=f"lora-ci {lora_ci.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            # `import` is no name that a module can have.
            ending = "_" * keyword.iskeyword(name)
            module = importlib.import_module(f"lora_ci.cli.{name.replace('-', '_')}{ending}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def spelled_out(argv: Sequence[str]) -> list[str]:
    """The arguments, with what a command lets people leave out."""
    at = next((i for i, word in enumerate(argv) if not word.startswith("-")), len(argv))
    if "qa" not in argv[at : at + 1]:
        return list(argv)
    from lora_ci.cli.qa import spelled_out as spelled

    return [*argv[: at + 1], *spelled(argv[at + 1 :])]


def entry() -> None:
    """A command as a process. SIGTERM stops it as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if sys.stderr is not None:
        # A crash inside a library's native code would end us without a word.
        faulthandler.enable()
    # What libraries warn of when they are loaded is for us, not for users.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    sys.exit(main(sys.argv[1:]))
