"""A folder instead of a git host: what the command line and the demo use."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError
from lora_ci.core.finding import Finding
from lora_ci.forge.forge import Check, LineComment, ReleaseDraft
from lora_ci.report.markdown import escape
from lora_ci.report.release_notes import with_yank_banner

REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class LocalForge:
    """Writes `reports/`, `pictures/`, `pulls/`, `suggestions/`, `checks/` and `releases/`."""

    folder: Path

    def publish_report(self, run_id: str, page: str, twin: str) -> str:
        _write(twin_file(self.folder / REPORTS, run_id), twin)
        return _address(_write(page_file(self.folder / REPORTS, run_id), page))

    def publish_picture(self, name: str, png: bytes) -> str:
        path = self.folder / "pictures" / f"{sha256_bytes(png)}.png"
        if not path.is_file():
            _write(path, png)
        # Relative to the comments, so that a reader who moves the folder keeps the pictures.
        return f"../../pictures/{path.name}"

    def upsert_comment(self, number: int, body: str) -> None:
        _write(self.folder / "pulls" / str(number) / "comment.md", body)

    def publish_check(self, check: Check) -> None:
        body = msgspec.json.format(msgspec.json.encode(check), indent=1)
        folder = self.folder / "checks" / file_name(check.head)
        _write(folder / f"{file_name(check.name)}.json", body + b"\n")

    def publish_release(self, release: ReleaseDraft) -> str:
        place = self.folder / "releases" / file_name(release.tag)
        for name, source in release.files.items():
            target = place / "files" / file_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, _beside(target))
            _beside(target).replace(target)
        _write(place / "notes.md", f"# {escape(release.title)}\n\n{release.notes}")
        return _address(place / "notes.md")

    def mark_yanked(self, tag: str, reason: str) -> None:
        path = self.folder / "releases" / file_name(tag) / "notes.md"
        if not path.is_file():
            raise InputError(f"{tag} was not released here", hint="next: lora-ci status")
        _write(path, with_yank_banner(path.read_text(), reason))

    def suggest(self, number: int, head: str, key: str, change: LineComment | None) -> bool:
        path = self.folder / "suggestions" / str(number) / f"{file_name(key)}.md"
        if change is None:
            path.unlink(missing_ok=True)
            return False
        lines = f"{change.path}:{change.first_line}-{change.last_line}"
        _write(path, f"<!-- {head} {lines} -->\n{change.body}\n")
        return True

    def notes(self) -> tuple[Finding, ...]:
        return ()


def page_file(folder: Path, run_id: str) -> Path:
    """The page of a run in a folder of pages."""
    return folder / f"{file_name(run_id)}.html"


def twin_file(folder: Path, run_id: str) -> Path:
    """The facts of a run as JSON, beside its page."""
    return folder / f"{file_name(run_id)}.json"


def file_name(text: str) -> str:
    """A name of any kind as that of one visible file; different names stay different."""
    name = quote(text, safe=" @+") or "%"
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    _beside(path).write_bytes(data)
    return _beside(path).replace(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _address(path: Path) -> str:
    return path.as_uri() if path.is_absolute() else str(path)
