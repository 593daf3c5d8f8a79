"""`lora-ci config`: checks the config, shows it resolved, prints its schema and its keys."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.place import top_of
from lora_ci.config.compare import rules, values
from lora_ci.config.model import FILE_NAME, Config
from lora_ci.config.reference import render_reference
from lora_ci.config.schema import render_schema
from lora_ci.config.work_tree import read_config
from lora_ci.core.errors import ExitCode
from lora_ci.core.text import clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the config of the work tree."""
    parser.add_argument("what", choices=("check", "show", "schema", "keys"))
    parser.add_argument("--repo", type=Path, help="repository (default: the one that holds this)")
    parser.add_argument(
        "--resolved", action="store_true", help="show: every value and its origin (as always)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Reads the file in the work tree, so that it can be checked before a commit."""
    if args.what == "schema":
        print(render_schema(), end="")  # noqa: T201 - the schema is the output
        return ExitCode.PASSED
    if args.what == "keys":
        print(render_reference(), end="")  # noqa: T201 - the tables are the output
        return ExitCode.PASSED
    config = read_config(folder_of(args.repo) / FILE_NAME)
    if args.what == "check":
        output.findings(config.notes)
        names = list(config.loras)
        text = f"{FILE_NAME} is fine: {len(names)} LoRA{'s' * (len(names) != 1)}"
        body = {"loras": names, "notes": config.notes}
        output.result(f"{text} ({', '.join(names)})", body, schema="config-check")
    else:
        output.result(render(config), resolved(config), schema="config")
    return ExitCode.PASSED


def folder_of(named: Path | None) -> Path:
    """The top of the repository, as for `plan`; a folder that was named and has its own config."""
    if named and os.path.lexists(named / FILE_NAME):
        return named
    return top_of(named or Path())


def resolved(config: Config) -> dict[str, Any]:
    """Every value with its origin, null where it is the default: by LoRA, then the repository's."""
    loras = {
        name: rows(config, f"loras.{name}.", values(lora)) for name, lora in config.loras.items()
    }
    return {"loras": loras, "repository": rows(config, "", rules(config))}


def rows(config: Config, prefix: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`path`, `value`, `file`, `line`, `column` of each value."""
    found = []
    for path, value in given.items():
        where = config.places.get(prefix + path)
        found.append(
            {
                "path": path,
                "value": value,
                "file": where.file if where else None,
                "line": where.line if where else None,
                "column": where.column if where else None,
            }
        )
    return found


def render(config: Config) -> str:
    """Every resolved value with the place it comes from."""
    body = resolved(config)
    lines: list[str] = []
    for name, found in body["loras"].items():
        lines += [f"{name}:", *lines_of(found)]
    return "\n".join([*lines, "the repository:", *lines_of(body["repository"])])


def lines_of(found: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """One line for each value."""
    for row in found:
        shown = json.dumps(row["value"], ensure_ascii=False)
        origin = f"{row['file']}:{row['line']}:{row['column']}" if row["file"] else "default"
        yield clean(f"  {row['path']:<32} {shown:<40} {origin}")
