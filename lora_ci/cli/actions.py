"""Commands that are families: what follows the command is one of its actions."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from typing import Any


class LateParser(argparse.ArgumentParser):
    """A parser that gets its arguments when it has some to parse: no other action is imported."""

    module: str | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, which calls it for the chosen action alone."""
        if self.module:
            module = importlib.import_module(self.module)
            self.module = None
            module.add_arguments(self)
            self.set_defaults(act=module.run)
        return super().parse_known_args(args, namespace)


def add_actions(parser: argparse.ArgumentParser, family: str, actions: Mapping[str, str]) -> None:
    """A sub-command for each action, of the module `<family>_<action>`, and what it does."""
    commands = parser.add_subparsers(
        dest="action", metavar="<action>", required=True, parser_class=LateParser
    )
    for name, summary in actions.items():
        action = commands.add_parser(name, help=summary, description=summary)
        action.module = f"lora_ci.cli.{family}_{name}"
