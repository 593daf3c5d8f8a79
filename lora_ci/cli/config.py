"""`lora-ci config`: checks the config, shows it resolved, prints its schema and its keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.folder_source import read_config
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.config.model import FILE_NAME, Config
from lora_ci.config.reference import render_reference
from lora_ci.config.schema import render_schema
from lora_ci.core.errors import ExitCode
from lora_ci.core.settings import settings_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the config of the work tree."""
    parser.add_argument("what", choices=("check", "show", "schema", "keys"))
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Reads the file in the work tree, so that it can be checked before a commit."""
    if args.what == "schema":
        print(render_schema(), end="")  # noqa: T201 - the schema is the output
        return ExitCode.PASSED
    if args.what == "keys":
        print(render_reference(), end="")  # noqa: T201 - the tables are the output
        return ExitCode.PASSED
    config = read_config(args.repo / FILE_NAME)
    if args.what == "check":
        names = list(config.loras)
        text = f"{FILE_NAME} is fine: {len(names)} LoRA{'s' * (len(names) != 1)}"
        output.result(f"{text} ({', '.join(names)})", {"loras": names}, schema="config-check")
    else:
        output.result(render(config), {"loras": config.loras}, schema="config")
    return ExitCode.PASSED


def render(config: Config) -> str:
    """Every resolved value with the line it comes from."""
    lines = []
    for name, lora in config.loras.items():
        lines.append(f"{name}:")
        for key, value in settings_json(lora).items():
            items = value.items() if isinstance(value, dict) and key != "name" else [("", value)]
            for inner, shown in items:
                path = f"{key}.{inner}" if inner else key
                full = f"loras.{name}.{path}"
                where = config.places.get(full)
                origin = f"{where.file}:{where.line}" if where else "default"
                lines.append(f"  {path:<32} {shown!r:<40} {origin}")
    return "\n".join(lines)
