"""What a workflow's job can show without any right: annotations, its summary, its outputs.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from lora_ci.core.errors import UsageError
from lora_ci.report.annotations import Annotation, Level

# More of a level are dropped by GitHub, of a step.
MOST_A_LEVEL = 10
SUMMARY_BYTES = 1024 * 1024
CUT = "\n\n… cut here: the report has the rest.\n"
COMMANDS: dict[Level, str] = {"failure": "error", "warning": "warning", "notice": "notice"}
OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def annotation_commands(annotations: Iterable[Annotation], shown: Counter[Level]) -> str:
    """Lines for the log that make annotations of a job; `shown` counts what it has of each level.

    What is foreign stays on its line and inside its field: it starts no command.
    """
    lines = []
    for note in annotations:
        if shown[note.level] < MOST_A_LEVEL:
            shown[note.level] += 1
            place = f"file={_field(note.file)},line={note.line},title={_field(note.title)}"
            lines.append(f"::{COMMANDS[note.level]} {place}::{_data(note.message)}\n")
    return "".join(lines)


@dataclass(slots=True)
class Job:
    """The files and the log of a step of a workflow; what is None is left out.

    `commands` is a stream that the runner reads: stdout, or stderr where stdout is for programs.
    """

    summary: Path | None = None
    output: Path | None = None
    commands: TextIO | None = None
    token: Callable[[], str] = secrets.token_hex
    _sections: dict[str, str] = field(default_factory=dict)
    _shown: Counter[Level] = field(default_factory=Counter)
    _told: set[Annotation] = field(default_factory=set)

    def write_summary(self, markdown: str, section: str = "") -> None:
        """Shows markdown on the page of the job; a second call for a section replaces it."""
        self._sections[section] = markdown
        if self.summary is not None:
            data = "\n\n".join(self._sections.values()).encode()
            if len(data) > SUMMARY_BYTES:
                whole = data[: SUMMARY_BYTES - len(CUT.encode())].rpartition(b"\n")[0]
                data = whole + CUT.encode()
            self.summary.write_bytes(data)

    def shows(self, markdown: str) -> bool:
        """True if a section says just this."""
        return markdown in self._sections.values()

    @property
    def is_silent(self) -> bool:
        """True if the summary has nothing yet."""
        return not self._sections

    def annotate(self, annotations: Iterable[Annotation]) -> None:
        """Shows annotations at the job, each once, up to GitHub's limit."""
        if self.commands is not None:
            new = [note for note in annotations if note not in self._told]
            self._told.update(new)
            self.commands.write(annotation_commands(new, self._shown))
            self.commands.flush()

    def set_output(self, name: str, value: str) -> None:
        """Gives a value to later steps. Raises UsageError for what is no name of an output."""
        if not OUTPUT_NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of an output")
        if self.output is not None:
            # Nobody who wrote the value could know the line that ends it.
            end = f"ghadelimiter_{self.token()}"
            with self.output.open("a", encoding="utf-8") as file:
                file.write(f"{name}<<{end}\n{value}\n{end}\n")


def _data(text: str) -> str:
    """Text behind the second `::`."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _field(text: str) -> str:
    """Text of a field before it."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
