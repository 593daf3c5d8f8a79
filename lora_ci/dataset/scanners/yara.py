"""YARA rules, matched by YARA-X in this process."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lora_ci.core.digest import sha256_file, sha256_json
from lora_ci.core.errors import InfrastructureError

SUFFIXES = (".yar", ".yara")
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class YaraRules:
    """Compiled rules; `digest` is of their files and of the library that reads them."""

    scanner: Any
    digest: str

    @property
    def name(self) -> str:
        return "YARA"

    def identity(self) -> str | None:
        return self.digest

    def scan(self, data: bytes) -> tuple[str, ...]:
        try:
            matching = self.scanner.scan(data).matching_rules
        except Exception as error:
            message = f"YARA fails on a file: {type(error).__name__}: {error}"[:300]
            raise InfrastructureError(message, rule="scan.fails") from error
        return tuple(rule.identifier for rule in matching)


def load_yara(place: Path) -> YaraRules:
    """The rules in a file, or in all `.yar` and `.yara` files of a folder.

    They may not include others: that would read files of the machine that they name.

    Raises InfrastructureError where there are none, one is wrong, or YARA-X is not installed.
    """
    try:
        import yara_x
    except ModuleNotFoundError as error:
        message = "YARA rules need the Python package `yara-x`"
        hint = "next: pip install 'lora-ci[scan]'"
        raise InfrastructureError(message, rule="scan.not-installed", hint=hint) from error
    files = [place]
    if place.is_dir():
        files = sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if not files or not all(file.is_file() for file in files):
        message = f"no YARA rules in {place}: expected files named {' or '.join(SUFFIXES)}"
        raise InfrastructureError(message, rule="scan.no-rules")
    compiler = yara_x.Compiler(includes_enabled=False)
    for file in files:
        try:
            compiler.add_source(file.read_text(encoding="utf-8"), origin=file.name)
        except (OSError, UnicodeDecodeError, yara_x.CompileError) as error:
            message = f"YARA rules in {file.name}: {str(error).strip()}"[:500]
            raise InfrastructureError(message, rule="scan.rules") from error
    scanner = yara_x.Scanner(compiler.build())
    scanner.set_timeout(TIMEOUT_S)
    read = [version("yara-x"), [sha256_file(file) for file in files]]
    return YaraRules(scanner=scanner, digest=sha256_json(read))
