"""`lora-ci qa`: judges adapters, and the judge.

What follows it may be an action, the name of a LoRA (`run`) or the file of an adapter (`file`).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from lora_ci.cli.output import Output

ACTIONS = {
    "run": "judge a LoRA of the config, after what must be done before; `lora-ci qa LORA`",
    "file": "judge an adapter file, without a repository; `lora-ci qa ADAPTER.safetensors`",
    "rejudge": "judge again what is trained, by the present ruler and from pictures that are kept",
    "compare": "tell two judgements apart, metric by metric",
    "review": "let people choose between pictures, blind",
    "calibrate": "suggest gates that fit what people chose",
}
ENDING = ".safetensors"


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words after `qa` with the action that they mean."""
    first = words[0] if words else ""
    if not first or first.startswith("-") or first in ACTIONS:
        return list(words)
    is_file = first.lower().endswith(ENDING) or Path(first).is_file()
    return ["file" if is_file else "run", *words]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each action."""
    commands = parser.add_subparsers(dest="action", metavar="<action>", required=True)
    for name, summary in ACTIONS.items():
        module = importlib.import_module(f"lora_ci.cli.qa_{name}")
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(act=module.run)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the chosen action."""
    return int(args.act(args, output))
