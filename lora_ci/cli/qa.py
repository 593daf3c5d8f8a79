"""`lora-ci qa`: judges adapters, and the judge.

What follows it may be an action, the name of a LoRA (`run`) or the file of an adapter (`file`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lora_ci.cli.actions import add_actions
from lora_ci.cli.output import Output

ACTIONS = {
    "run": "judge LoRAs of the config, after what must be done before; `lora-ci qa LORA`",
    "file": "judge an adapter file, without a repository; `lora-ci qa ADAPTER.safetensors`",
    "rejudge": "judge again what is trained, by the present ruler and from pictures that are kept",
    "compare": "tell two judgements apart, metric by metric",
    "review": "let people choose between pictures, blind",
    "calibrate": "suggest gates that fit what people chose",
    "selftest": "judge the judge: how often does it find known faults, how often false ones?",
}
ENDING = ".safetensors"


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words after `qa` with the action that they mean."""
    first = words[0] if words else ""
    if not first or first.startswith("-") or first in ACTIONS:
        return list(words)
    is_file = "/" in first or first.lower().endswith(ENDING) or Path(first).is_file()
    return ["file" if is_file else "run", *words]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each action."""
    add_actions(parser, "qa", ACTIONS)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the chosen action."""
    return int(args.act(args, output))
