"""Decoding in a child process: a decoder that hangs or crashes costs one file, not the run.

The child is a program of its own, not a fork: a script without `if __name__ == "__main__"` may
call us, and the child ends with its parent, as the pipe between them closes.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from lora_ci.core.errors import InfrastructureError
from lora_ci.dataset.decode import HASHES_SHAPE, THUMBNAILS_SHAPE, Measured, measure

SECONDS_A_FILE = 20
SECONDS_TO_START = 120
MEMORY_BYTES = 4 * 1024**3
MAX_FRAME_BYTES = 1 << 20
LENGTH = struct.Struct("!I")


class _Task(msgspec.Struct):
    """What the child is asked."""

    path: str
    max_pixels: int


class _Answer(msgspec.Struct):
    """What the child found; arrays as their bytes, empty where there is none."""

    problems: tuple[tuple[str, str], ...]
    width: int
    height: int
    pixels: str
    hashes: bytes
    thumbnails: bytes
    blur: float


def measure_files(
    paths: Sequence[Path], max_pixels: int, progress: Callable[[int], None]
) -> list[Measured]:
    """Measures every file, in order; never raises for what is in a file."""
    measured: list[Measured] = []
    with _Worker() as worker:
        for path in paths:
            measured.append(worker.measure(path, max_pixels))
            progress(len(measured))
    return measured


class _Worker:
    """The child, seen from the parent; started when it is needed, anew after an accident."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe = socket.socket()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def measure(self, path: Path, max_pixels: int) -> Measured:
        """What the child says of the file, or that it did not live to say it."""
        if self._child is None:
            self._start()
        try:
            _send(self._pipe, msgspec.msgpack.encode(_Task(str(path), max_pixels)))
            return _measured(path, msgspec.msgpack.decode(_receive(self._pipe), type=_Answer))
        except (OSError, EOFError, ValueError):
            self._end()
            message = f"decoding it crashed or took over {SECONDS_A_FILE} s"
            return Measured(path=path, problems=(("image.unreadable", message),))

    def _start(self) -> None:
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "lora_ci.dataset.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        self._pipe.settimeout(SECONDS_TO_START)
        try:
            _receive(self._pipe)
        except (OSError, EOFError, ValueError) as error:
            self._end()
            message = f"the process that decodes images does not start ({type(error).__name__})"
            hint = "next: python -m lora_ci.dataset.worker </dev/null, to see why"
            raise InfrastructureError(message, hint=hint) from error
        self._pipe.settimeout(SECONDS_A_FILE)

    def _end(self) -> None:
        self._pipe.close()
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None


def _measured(path: Path, answer: _Answer) -> Measured:
    """Raises ValueError for arrays that are not of our shapes."""
    hashes = thumbnails = None
    if answer.hashes:
        hashes = np.frombuffer(answer.hashes, np.uint8).reshape(HASHES_SHAPE)
        thumbnails = np.frombuffer(answer.thumbnails, np.uint8).reshape(THUMBNAILS_SHAPE)
    return Measured(
        path=path,
        problems=answer.problems,
        width=answer.width,
        height=answer.height,
        pixels=answer.pixels,
        hashes=hashes,
        thumbnails=thumbnails,
        blur=answer.blur,
    )


def serve(pipe: socket.socket) -> None:
    """The child: answers until the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _send(pipe, b"ready")
    while True:
        task = msgspec.msgpack.decode(_receive(pipe), type=_Task)
        found = measure(Path(task.path), task.max_pixels)
        answer = _Answer(
            problems=found.problems,
            width=found.width,
            height=found.height,
            pixels=found.pixels,
            hashes=b"" if found.hashes is None else found.hashes.tobytes(),
            thumbnails=b"" if found.thumbnails is None else found.thumbnails.tobytes(),
            blur=found.blur,
        )
        _send(pipe, msgspec.msgpack.encode(answer))


def _send(pipe: socket.socket, frame: bytes) -> None:
    pipe.sendall(LENGTH.pack(len(frame)) + frame)


def _receive(pipe: socket.socket) -> bytes:
    """One frame. Raises EOFError when the other end is gone, ValueError for one of nonsense."""
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return _exactly(pipe, length)


def _exactly(pipe: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = pipe.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        serve(socket.socket(fileno=0))
