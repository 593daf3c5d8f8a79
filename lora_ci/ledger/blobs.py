"""Blobs of a repository as they are asked for, all from one git process."""

from __future__ import annotations

import subprocess
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import IO

from lora_ci.changes.git import QUESTIONS, Repository
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.signals import signals_wait

END_TIMEOUT_S = 5


class Blobs:
    """A reader that starts with the first question and ends with the object, or by `close`."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def read(self, oids: Sequence[str]) -> list[bytes | None]:
        """The bytes of blobs; None for one that is not here. Raises InfrastructureError."""
        process = self._process
        assert process.stdin
        assert process.stdout
        found: list[bytes | None] = []
        # A signal in the middle of an answer would make it the answer to the next question.
        with signals_wait():
            for first in range(0, len(oids), QUESTIONS):
                asked = oids[first : first + QUESTIONS]
                try:
                    process.stdin.write("".join(f"{oid}\n" for oid in asked).encode())
                    process.stdin.flush()
                except OSError as error:
                    raise self._ended() from error
                found += [self._answer(process.stdout, oid) for oid in asked]
        return found

    def _answer(self, stream: IO[bytes], oid: str) -> bytes | None:
        header = stream.readline().split()
        if header[1:] == [b"missing"]:
            return None
        if len(header) == 3 and header[0] == oid.encode():
            size_bytes = int(header[2])
            data = stream.read(size_bytes + 1)
            if len(data) == size_bytes + 1:
                return data[:-1]
        raise self._ended()

    def close(self) -> None:
        """Ends the reader; there is none if nothing was asked."""
        process = self.__dict__.pop("_process", None)
        if process:
            _end(process)

    @cached_property
    def _process(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["git", "-C", str(self._repo.root), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A signal from the keyboard is for us; the reader ends when its input does.
            start_new_session=True,
        )
        weakref.finalize(self, _end, process)
        return process

    def _ended(self) -> InfrastructureError:
        self.close()
        return InfrastructureError(
            f"{self._repo.root}: git cat-file ended too early", hint="next: git fsck"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        # What could not be written to one that is gone is written once more.
        with suppress(OSError):
            if pipe:
                pipe.close()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
