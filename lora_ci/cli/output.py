"""What commands print: results to stdout (text or JSON), progress and notes to stderr."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable

import msgspec

from lora_ci.cli.pace import Pace, left_text
from lora_ci.core.errors import LoraCIError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Stage
from lora_ci.core.text import clean

# Between two lines of one step, two bars of it, and how long the bar is its alone.
LINES_S = 5.0
DRAW_S = 0.1
TURN_S = 2.0
COLORS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.INFO: "36"}


def add_output_arguments(
    parser: argparse.ArgumentParser, *, json: str = "print one JSON object"
) -> None:
    """The options every command has; `json` says what is printed with that option."""
    parser.add_argument("--json", action="store_true", help=json)
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, no notes")


class Output:
    """Prints; keeps JSON alone on stdout."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json = json
        self.quiet = quiet
        self._bar_drawn_at = 0.0
        self._bar_open = False
        self._bar_label = ""
        self._bar_since = 0.0
        self._full: set[str] = set()
        self._told_at: dict[str, float] = {}
        self._paces: dict[str, Pace] = {}

    def result(self, text: str, value: object, *, schema: str | None) -> None:
        """The command's result: `text` for people, `value` for `--json`.

        `schema` is None where the value tells its own version.
        """
        if self.json:
            named = {"schema": f"lora-ci.{schema}/1"} if schema else {}
            body = {**named, **msgspec.to_builtins(value)}
            print(msgspec.json.format(msgspec.json.encode(body)).decode())
        else:
            self._end_bar()
            print(text)

    def line(self, text: str) -> None:
        """One line of a stream, on stdout at once."""
        self._erase_bar()
        print(text, flush=True)

    def event(self, value: object) -> None:
        """One JSON object in one line, on stdout at once."""
        self.line(msgspec.json.encode(value).decode())

    def standing(self, text: str) -> None:
        """What stands in the last line of a terminal until something else is printed."""
        if self.quiet or self.json or not sys.stderr.isatty():
            return
        self._erase_bar()
        if text:
            width = shutil.get_terminal_size().columns - 1
            print(text[:width], end="", flush=True, file=sys.stderr)
            self._bar_open = True

    def note(self, text: str) -> None:
        """Lines for people, on stderr."""
        if not self.quiet:
            self.fault(text)

    def fault(self, text: str) -> None:
        """Lines that are told however quiet it is to be, on stderr."""
        self._end_bar()
        print("\n".join(map(clean, text.split("\n"))), file=sys.stderr)

    def findings(self, findings: Iterable[Finding]) -> None:
        """Findings on stderr, one each, with the hint below."""
        self._end_bar()
        for finding in findings:
            print(self._finding_text(finding), file=sys.stderr)

    def error(self, error: LoraCIError) -> None:
        """An expected error: its findings, as JSON on stdout too with `--json`."""
        self.findings(error.findings)
        if self.json:
            self.result("", {"error": error.rule, "findings": error.findings}, schema="error")

    def progress(self, label: str, done: int, total: int, note: str) -> None:
        """A bar on a terminal, else a line every five seconds; with the time to go once known.

        Of what goes on at once, each has its lines, and the bar in turn.
        """
        if self.quiet or total <= 0:
            return
        label, note = clean(label), clean(note)
        now = time.monotonic()
        pace = self._paces.setdefault(label, Pace.start(done, total, now))
        left = pace.left_s(done, total, now)
        if left is not None:
            note = ", ".join(filter(None, (note, left_text(left))))
        if sys.stderr.isatty():
            self._draw(label, done, total, note, now)
        elif done < total and now - self._told_at.get(label, -LINES_S) >= LINES_S:
            self._told_at[label] = now
            print(f"{label} {done}/{total} {note}", file=sys.stderr)

    def _draw(self, label: str, done: int, total: int, note: str, now: float) -> None:
        if done >= total:
            # A step that is done with its work takes a while to end, and is told of meanwhile.
            if label in self._full:
                return
            self._full.add(label)
        else:
            self._full.discard(label)
            turn = (self._bar_drawn_at, DRAW_S), (self._bar_since, TURN_S)
            since, pause = turn[label != self._bar_label]
            if now - since < pause:
                return
        if label != self._bar_label:
            self._bar_label, self._bar_since = label, now
        width = shutil.get_terminal_size().columns - 1
        name, figures = f"{label:<24}", f"{done}/{total} {note}"
        # A line that wraps could not be drawn over.
        room = max(4, min(24, width - len(name) - len(figures) - 2))
        filled = round(room * done / total)
        bar = "█" * filled + "·" * (room - filled)
        print(f"\r\033[K{f'{name} {bar} {figures}'[:width]}", end="", file=sys.stderr)
        self._bar_open, self._bar_drawn_at = True, now
        if done >= total:
            self._end_bar()
            self._bar_since = 0.0

    def watch(self, lora: str, stage: Stage, done: int, total: int, note: str) -> None:
        """The progress of a step."""
        self.progress(f"{stage} {lora}", done, total, note)

    def _erase_bar(self) -> None:
        if self._bar_open:
            print("\r\033[K", end="", flush=True, file=sys.stderr)
            self._bar_open = False

    def _end_bar(self) -> None:
        if self._bar_open:
            print(file=sys.stderr)
            self._bar_open = False

    def _finding_text(self, finding: Finding) -> str:
        severity = finding.severity.value
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            severity = f"\033[{COLORS[finding.severity]}m{severity}\033[0m"
        where = finding.location()
        message = f"{where + ': ' if where else ''}{finding.message} [{finding.rule}]"
        text = f"{severity}: {clean(message)}"
        return f"{text}\n  → {clean(finding.hint)}" if finding.hint else text
