"""Decoding in child processes: a decoder that hangs or crashes costs one file, not the run.

A child is a program of its own, not a fork: a script without `if __name__ == "__main__"` may
call us, and the child ends with its parent, as the pipe between them closes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from lora_ci.core.errors import InfrastructureError
from lora_ci.dataset.decode import Problem, measure
from lora_ci.dataset.measured import Measured, from_bytes, to_bytes
from lora_ci.report.picture import Preview

SECONDS_A_FILE = 20
SECONDS_TO_START = 120
# Address space, of which libraries take half a gibibyte without using it.
MEMORY_BYTES = 2 * 1024**3
MAX_FRAME_BYTES = 1 << 20
MAX_WORKERS = 16
# Starting a child takes as long as some pictures do.
FILES_A_WORKER = 8
LENGTH = struct.Struct("!I")


class _Measure(msgspec.Struct, tag=True):
    """Measure a file; a path as bytes, as it need not be UTF-8."""

    path: bytes
    max_pixels: int


class _Show(msgspec.Struct, tag=True):
    """Make a preview within so many bytes of a file, if it still has the sha256 it had."""

    path: bytes
    sha256: str
    most_bytes: int


_Task = _Measure | _Show
T = TypeVar("T")
# A task, and how its answer is read; that raises ValueError for nonsense.
_Job = tuple[_Task, Callable[[bytes], T]]


def measure_files(
    paths: Sequence[Path], max_pixels: int, progress: Callable[[int], None]
) -> list[Measured]:
    """Measures every file, in order; never raises for what is in a file.

    `progress` is called in this thread and may raise; then no child is left behind.
    """
    jobs = [(_Measure(os.fsencode(path), max_pixels), partial(from_bytes, path)) for path in paths]
    return [
        done if isinstance(done, Measured) else Measured(path=path, problems=(done,))
        for path, done in zip(paths, _do(jobs, progress), strict=True)
    ]


def preview_files(
    files: Sequence[tuple[Path, str]], most_bytes: int, progress: Callable[[int], None]
) -> list[Preview | None]:
    """A preview of each file of a path and sha256, in order, within so many bytes.

    None for a file that has another content by now, or cannot be decoded. As `measure_files` else.
    """
    read = msgspec.msgpack.Decoder(Preview | None).decode
    jobs = [(_Show(os.fsencode(path), sha256, most_bytes), read) for path, sha256 in files]
    return [done if isinstance(done, Preview) else None for done in _do(jobs, progress)]


def _do(jobs: Sequence[_Job[T]], progress: Callable[[int], None]) -> list[T | Problem]:
    """Does all, in order; a problem is what there is of a child that did not live to answer."""
    answers: dict[int, T | Problem] = {}
    with _Pool(jobs) as pool:
        for done, (index, answer) in enumerate(pool.results(), 1):
            answers[index] = answer
            progress(done)
    return [answers[index] for index in range(len(jobs))]


def workers_for(files: int) -> int:
    """As many as this process has cores, and as are worth starting."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_WORKERS, files // FILES_A_WORKER))


class _Pool(Generic[T]):
    """The children, each with a thread that waits for it."""

    def __init__(self, jobs: Sequence[_Job[T]]) -> None:
        self._jobs = jobs
        self._workers = [_Worker() for _ in range(workers_for(len(jobs)) if jobs else 0)]
        self._threads = [threading.Thread(target=self._work, args=(w,)) for w in self._workers]
        self._todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, T | Problem] | InfrastructureError] = (
            queue.SimpleQueue()
        )

    def __enter__(self) -> _Pool[T]:
        for index in range(len(self._jobs)):
            self._todo.put(index)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._todo.get_nowait()
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            thread.join()

    def results(self) -> Iterator[tuple[int, T | Problem]]:
        """(index, answer) as they come. Raises InfrastructureError if none can work."""
        for _ in self._jobs:
            result = self._done.get()
            if isinstance(result, InfrastructureError):
                raise result
            yield result

    def _work(self, worker: _Worker) -> None:
        try:
            while not worker.closed:
                index = self._todo.get_nowait()
                self._done.put((index, worker.do(self._jobs[index])))
        except queue.Empty:
            pass
        except InfrastructureError as error:
            self._done.put(error)


class _Worker:
    """A child, seen from the parent; started when it is needed, anew after an accident."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe = socket.socket()
        self._lock = threading.Lock()
        self.closed = False

    def do(self, job: _Job[T]) -> T | Problem:
        """What the child answers, or that it did not live to do so."""
        task, read = job
        if self._child is None:
            self._start()
        try:
            _send(self._pipe, msgspec.msgpack.encode(task))
            return read(_receive(self._pipe))
        except TimeoutError:
            problem = ("image.timeout", f"decoding it took over {SECONDS_A_FILE} s")
        except (OSError, EOFError, ValueError):
            problem = ("image.unreadable", "decoding it crashed the decoder")
        self._end()
        return problem

    def close(self) -> None:
        """Ends the child, from another thread than the one that waits for it."""
        self.closed = True
        with self._lock:
            if self._child:
                self._child.kill()
                self._child.wait()

    def _start(self) -> None:
        self._pipe, theirs = socket.socketpair()
        with theirs, self._lock:
            if self.closed:
                return
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
        with self._lock:
            if self._child:
                self._child.kill()
                self._child.wait()
                self._child = None


def serve(pipe: socket.socket) -> None:
    """The child: answers until the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    decode = msgspec.msgpack.Decoder(_Task).decode
    _send(pipe, b"ready")
    while True:
        task = decode(_receive(pipe))
        _limit_cpu()
        _send(pipe, _answer(task))


def _answer(task: _Task) -> bytes:
    path = Path(os.fsdecode(task.path))
    match task:
        case _Measure():
            return to_bytes(measure(path, task.max_pixels))
        case _Show():
            # What the many children that only measure need not load.
            from lora_ci.dataset.preview import make_preview

            return msgspec.msgpack.encode(make_preview(path, task.sha256, task.most_bytes))


def _limit_cpu() -> None:
    """Ends this process where its parent is stopped and the decoder never ends."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 2 * SECONDS_A_FILE
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


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
