"""A folder instead of a git host: what the command line and the demo use."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalForge:
    """Writes `reports/`, `pulls/` and `checks/` below `folder`."""

    folder: Path

    def publish_report(self, run_id: str, page: str) -> str:
        path = self.folder / "reports" / f"{run_id}.html"
        _write(path, page)
        return path.as_uri() if path.is_absolute() else str(path)

    def upsert_comment(self, number: int, body: str) -> None:
        _write(self.folder / "pulls" / str(number) / "comment.md", body)

    def publish_check(self, head: str, name: str, outcome: str, summary: str) -> None:
        body = {"name": name, "outcome": outcome, "summary": summary}
        _write(self.folder / "checks" / head / f"{name}.json", json.dumps(body, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
