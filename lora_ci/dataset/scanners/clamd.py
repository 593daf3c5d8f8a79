"""ClamAV's daemon, spoken to over its socket; what it does not say clearly is never clean.

Source of the protocol: https://linux.die.net/man/8/clamd, INSTREAM and VERSION.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass

from lora_ci.core.errors import InfrastructureError, UsageError

CHUNK_BYTES = 1 << 20
MAX_ANSWER_BYTES = 4096
# ClamAV gives up on a file after two minutes of its own (MaxScanTime).
TIMEOUT_S = 150.0
ADDRESS = re.compile(r"unix:(?P<path>/.+)|tcp:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(?P<port>\d+)")
FOUND = re.compile(r"stream: ([!-~]{1,200}) FOUND")
# `ClamAV 1.4.3/27500/Thu Jan  1 09:35:12 2026`: the second is the number of the signatures.
VERSION = re.compile(r"ClamAV [!-~]+?/[0-9]+/[ -~]+")
LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamd:
    """The daemon at a socket: a path, or a host and its port. One connection a file."""

    place: str | tuple[str, int]
    timeout_s: float = TIMEOUT_S

    @property
    def name(self) -> str:
        return "ClamAV"

    def identity(self) -> str | None:
        said = self._ask(b"zVERSION\0")
        if not said.startswith("ClamAV "):
            raise self._failure(f"called itself `{said[:80]}`")
        return said if VERSION.fullmatch(said) else None

    def scan(self, data: bytes) -> tuple[str, ...]:
        said = self._ask(b"zINSTREAM\0", data)
        if said == "stream: OK":
            return ()
        if found := FOUND.fullmatch(said):
            return (found[1],)
        hint = None
        if "size limit exceeded" in said:
            hint = "next: raise StreamMaxLength and MaxFileSize in its clamd.conf"
        raise self._failure(f"answered `{said[:80]}` for {len(data)} bytes", hint)

    def _ask(self, command: bytes, stream: bytes | None = None) -> str:
        """Its answer to a command, sent with a stream of bytes or without."""
        deadline = time.monotonic() + self.timeout_s
        try:
            with self._connected() as connection:
                try:
                    connection.sendall(command)
                    if stream is not None:
                        _send_stream(connection, stream, deadline)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it reads no more, and its answer tells why
                return self._answer(connection, deadline)
        except TimeoutError:
            raise self._failure(f"took more than {self.timeout_s:g} s") from None
        except OSError as error:
            raise self._failure(f"cannot be reached: {error.strerror or error}") from error

    def _connected(self) -> socket.socket:
        if isinstance(self.place, tuple):
            return socket.create_connection(self.place, self.timeout_s)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.timeout_s)
        try:
            connection.connect(self.place)
        except OSError:
            connection.close()
            raise
        return connection

    def _answer(self, connection: socket.socket, deadline: float) -> str:
        said = bytearray()
        while not said.endswith(b"\0"):
            connection.settimeout(_left(deadline))
            piece = connection.recv(MAX_ANSWER_BYTES)
            said += piece
            if not piece or len(said) > MAX_ANSWER_BYTES:
                told = bytes(said[:80]).decode(errors="replace")
                raise self._failure(
                    "does not stop" if piece else f"broke off in its answer `{told}`"
                )
        return said[:-1].decode("ascii", errors="replace")

    def _failure(self, told: str, hint: str | None = None) -> InfrastructureError:
        place = self.place if isinstance(self.place, str) else f"{self.place[0]}:{self.place[1]}"
        message = f"ClamAV at {place} {told}: nothing is known of the files"
        hint = hint or "next: systemctl status clamav-daemon, on the machine that has it"
        return InfrastructureError(message, rule="scan.fails", hint=hint)


def clamd_at(address: str, timeout_s: float = TIMEOUT_S) -> Clamd:
    """The daemon at `unix:/path` or `tcp:host:port`. Raises UsageError for what is neither."""
    found = ADDRESS.fullmatch(address)
    if found is None or (found["port"] and not 0 < int(found["port"]) < 65536):
        message = f"LORA_CI_CLAMD is `{address[:80]}`: no address of a daemon"
        hint = "such as `unix:/run/clamav/clamd.ctl` or `tcp:127.0.0.1:3310`"
        raise UsageError(message, hint=hint)
    place = found["path"] or (found["host"].strip("[]"), int(found["port"]))
    return Clamd(place=place, timeout_s=timeout_s)


def _send_stream(connection: socket.socket, stream: bytes, deadline: float) -> None:
    """Pieces, each behind its length; one of no length is the end."""
    view = memoryview(stream)
    for start in range(0, len(view), CHUNK_BYTES):
        piece = view[start : start + CHUNK_BYTES]
        connection.settimeout(_left(deadline))
        connection.sendall(LENGTH.pack(len(piece)))
        connection.sendall(piece)
    connection.sendall(LENGTH.pack(0))


def _left(deadline: float) -> float:
    """Seconds that are left. Raises TimeoutError if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
