"""Speaks with a program of the user's: a line of JSON to it, a line of JSON from it.

It gets no secrets, and a bounded time for answers of a bounded length; nothing of it stays alive.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from PIL import Image

from lora_ci.core.children import clean_environment, started
from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture

# Pictures that a program is shown at once.
BATCH = 32
# For the start and the first answer together, and for each answer after it.
ANSWER_S = 600.0
# Time to end by itself once its input has ended.
GRACE_S = 5.0
MAX_ANSWER_BYTES = 16 * 2**20
TAIL_BYTES = 2000
CHUNK_BYTES = 65536


@dataclass(slots=True, kw_only=True, eq=False)
class Conversation:
    """A program that runs; `what` is how messages call it."""

    process: subprocess.Popen[bytes]
    what: str
    answer_s: float
    _heard: bytearray = field(default_factory=bytearray)
    _errors: bytearray = field(default_factory=bytearray)

    def ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Its answer to a request, a JSON object.

        Raises:
            InfrastructureError: it ended, did not answer in time, or its answer is too long or no
                JSON object.
        """
        line = self._exchange(json.dumps(request).encode() + b"\n")
        try:
            # Python's own, as programs write NaN with it: that is told better further up.
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            shown = line[:80].decode(errors="replace")
            message = f"{self.what} answered `{shown}`; expected a JSON object on one line"
            hint = "print nothing else to standard output; what people read goes to standard error"
            raise InfrastructureError(message, rule="program.answer", hint=hint)
        return answer

    def _exchange(self, request: bytes) -> bytes:
        """Writes the request and reads to the end of a line; what it says beside that is kept."""
        deadline = time.monotonic() + self.answer_s
        unsent = memoryview(request)
        with selectors.DefaultSelector() as selector:
            selector.register(_pipe(self.process.stdin), selectors.EVENT_WRITE)
            selector.register(_pipe(self.process.stdout), selectors.EVENT_READ)
            selector.register(_pipe(self.process.stderr), selectors.EVENT_READ)
            while b"\n" not in self._heard:
                if len(self._heard) > MAX_ANSWER_BYTES:
                    message = f"{self.what} answered with more than {MAX_ANSWER_BYTES >> 20} MiB"
                    raise InfrastructureError(message, rule="program.answer")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._gone(f"did not answer within {self.answer_s:g} s")
                for key, _ in selector.select(min(left, 1.0)):
                    if key.fileobj is self.process.stdin:
                        unsent = self._send(unsent)
                        if not unsent:
                            selector.unregister(key.fileobj)
                    elif key.fileobj is self.process.stderr:
                        if not self._hear_errors():
                            selector.unregister(key.fileobj)
                    elif not self._hear():
                        raise self._ended()
        line, _, rest = self._heard.partition(b"\n")
        self._heard = rest
        return bytes(line)

    def _send(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(_pipe(self.process.stdin).fileno(), unsent) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            # It reads no more; what it says, or its end, tells why.
            return unsent[:0]

    def _hear(self) -> bytes:
        data = _read(_pipe(self.process.stdout))
        self._heard += data
        return data

    def _hear_errors(self) -> bytes:
        data = _read(_pipe(self.process.stderr))
        self._errors = (self._errors + data)[-TAIL_BYTES:]
        return data

    def _ended(self) -> InfrastructureError:
        """It closed its output before it answered."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=GRACE_S)
        while self._hear_errors():
            pass
        code = self.process.poll()
        return self._gone("closed its output" if code is None else f"ended with code {code}")

    def _gone(self, told: str) -> InfrastructureError:
        said = self._errors.decode(errors="replace").strip()
        message = f"{self.what} {told} before it answered"
        hint = "next: run it by hand, as docs/embedders.md shows"
        if said:
            message += f"; it said: {said}"
        return InfrastructureError(message, rule="program.fails", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Pictures that a program was shown, its answer, and the folder that it works in."""

    pictures: Sequence[Picture]
    answer: Mapping[str, Any]
    folder: Path


@contextmanager
def conversation(
    command: tuple[str, ...], *, what: str, folder: Path, answer_s: float = ANSWER_S
) -> Iterator[Conversation]:
    """Starts the program in `folder`; at the end its input ends, and soon it is killed.

    Raises InfrastructureError if it cannot be started.
    """
    with ExitStack() as stack:
        try:
            process = stack.enter_context(
                started(
                    command,
                    folder=folder,
                    environment=clean_environment(os.environ),
                    stdin=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
        except OSError as error:
            message = f"{what} cannot be started: {command[0]}: {os.strerror(error.errno or 0)}"
            hint = "next: install it on the machine that judges, or give its absolute path"
            raise InfrastructureError(message, rule="program.not-started", hint=hint) from error
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(_pipe(pipe).fileno(), False)
        yield Conversation(process=process, what=what, answer_s=answer_s)
        with suppress(BrokenPipeError):
            _pipe(process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S)


def show(
    command: tuple[str, ...], pictures: Sequence[Picture], *, what: str, answer_s: float
) -> Generator[Shown]:
    """Shows pictures to a program as PNG files, some at a time; it runs until the last is told.

    Close it (`contextlib.closing`) where it may not be read to its end.
    Raises InfrastructureError as `conversation` and `Conversation.ask` do.
    """
    with tempfile.TemporaryDirectory(prefix="lora-ci-") as name:
        folder = Path(name)
        with conversation(command, what=what, folder=folder, answer_s=answer_s) as program:
            for start in range(0, len(pictures), BATCH):
                part = pictures[start : start + BATCH]
                paths = [folder / f"{number}.png" for number in range(len(part))]
                for path, picture in zip(paths, part, strict=True):
                    Image.fromarray(picture).save(path, compress_level=1)
                answer = program.ask({"pictures": [str(path) for path in paths]})
                yield Shown(pictures=part, answer=answer, folder=folder)


def _read(pipe: IO[bytes]) -> bytes:
    """What can be read now; nothing at the end, or where nothing is."""
    try:
        return os.read(pipe.fileno(), CHUNK_BYTES)
    except BlockingIOError:
        return b""


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the program was started without pipes")
    return pipe
