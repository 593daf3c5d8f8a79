"""The lines of a log that grows: it may not be there yet, be cut off, or be another file by now."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lora_ci.core.text import clean

CHUNK_BYTES = 64 * 1024
# One line of a log is shown in parts of at most so many characters.
LONGEST = 16 * 1024
# Colours and movements of the cursor. Source: ECMA-48, 5.4 (control sequences) and 8.3.89 (OSC).
SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-Z\\^_]")


def shown(line: str) -> str:
    """A line as a terminal that obeyed its `\\r` would show it in the end, without any control.

    A progress bar writes over itself: its last state is what counts.
    """
    states = [state for state in line.split("\r") if state.strip()]
    return clean(SEQUENCE.sub("", states[-1] if states else "").expandtabs()).rstrip()


class Tail:
    """Reads what is new of a file, in whole lines, without holding all of it."""

    def __init__(self, path: Path, skip_bytes: int = 0) -> None:
        self.path = path
        self._skip = skip_bytes
        self._file: BinaryIO | None = None
        self._read = 0
        self._line = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def unfinished(self) -> str:
        """What stands in the last line, which has no end yet: a progress bar perhaps."""
        return shown(self._line)

    def lines(self) -> Iterator[str]:
        """The lines that came since the last call."""
        while True:
            if self._file is None and not self._open():
                return
            yield from self._rest_of_file()
            if self._is_current():
                return
            yield from self.close()

    def close(self) -> Iterator[str]:
        """The last line, though it has no end."""
        self._line += self._decoder.decode(b"", final=True)
        if self._line:
            yield shown(self._line)
        self._line = ""
        self._decoder.reset()
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            return False
        # One that is shorter than what is to be skipped was begun anew.
        size = os.fstat(self._file.fileno()).st_size
        self._read = self._file.seek(self._skip if self._skip <= size else 0)
        self._skip = 0
        return True

    def _is_current(self) -> bool:
        """False where the path has another file by now, or the file became shorter."""
        if self._file is None:
            return True
        own = os.fstat(self._file.fileno())
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True  # moved away: until another is there, it is this one that is written to
        same = (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
        return same and own.st_size >= self._read

    def _rest_of_file(self) -> Iterator[str]:
        while self._file and (data := self._file.read(CHUNK_BYTES)):
            self._read += len(data)
            *whole, self._line = (self._line + self._decoder.decode(data)).split("\n")
            for line in whole:
                yield from _in_parts(line)
            if "\r" in self._line[:-1]:
                self._line = self._line[self._line[:-1].rindex("\r") :]
            while len(self._line) > LONGEST:
                yield shown(self._line[:LONGEST])
                self._line = self._line[LONGEST:]


def _in_parts(line: str) -> Iterator[str]:
    text = shown(line)
    yield text[:LONGEST]
    yield from (text[i : i + LONGEST] for i in range(LONGEST, len(text), LONGEST))
