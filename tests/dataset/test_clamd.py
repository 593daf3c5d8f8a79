"""What ClamAV does not say clearly is never a clean file."""

import contextlib
import socket
import threading

import pytest

from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.dataset.scanners.clamd import CHUNK_BYTES, Clamd, clamd_at
from tests.clamav import EICAR, clamd, needs_clamd


@contextlib.contextmanager
def daemon(answer: bytes, *, reads: bool = True, hangs: bool = False):
    """Says one thing to everybody who connects, on a port of this machine."""
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.settimeout(5)
                piece = b"?" if reads else b""
                while piece and not piece.endswith((b"N\0", b"\0\0\0\0")):
                    piece = connection.recv(1 << 16)
                connection.sendall(answer)
                if hangs:
                    done.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp:127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            with contextlib.suppress(OSError):
                socket.create_connection(server.getsockname(), 1).close()
            thread.join(20)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "broke off in its answer ``"),
        (b"stream: O", "broke off in its answer `stream: O`"),
        (b"stream: OK", "broke off"),
        (b"\0", "answered ``"),
        (b"OK\0", "answered `OK`"),
        (b"stream: OK \0", "answered"),
        (b"stream: OKAY\0", "answered"),
        (b"stream:  FOUND\0", "answered"),
        (b"stream: A\nB FOUND\0", "answered"),
        (b"stream: Can't allocate memory ERROR\0", "Can't allocate memory"),
        (b"\xff\xfe\x00", "answered"),
        (b"PONG\0", "answered `PONG`"),
        (b"x" * 9000, "does not stop"),
    ],
)
def test_an_answer_that_is_none_is_not_clean(answer, words):
    with daemon(answer) as address, pytest.raises(InfrastructureError) as caught:
        clamd_at(address, 5).scan(b"a picture")
    assert words in str(caught.value)
    assert caught.value.findings[0].rule == "scan.fails"


def test_a_slow_one_is_not_clean():
    slow = pytest.raises(InfrastructureError, match=r"took more than 0\.2 s")
    with daemon(b"stream: ", hangs=True) as address, slow:
        clamd_at(address, 0.2).scan(b"a picture")


def test_one_that_reads_nothing_is_not_clean():
    slow = pytest.raises(InfrastructureError, match=r"took more than 0\.3 s")
    with daemon(b"", reads=False, hangs=True) as address, slow:
        clamd_at(address, 0.3).scan(bytes(40 * CHUNK_BYTES))


def test_one_that_stops_reading_tells_why():
    answer = b"INSTREAM size limit exceeded. ERROR\0"
    with daemon(answer, reads=False) as address, pytest.raises(InfrastructureError) as caught:
        clamd_at(address, 5).scan(b"")
    assert "size limit exceeded" in str(caught.value)
    assert "StreamMaxLength" in caught.value.findings[0].hint


@pytest.mark.parametrize("place", ["/nowhere/clamd.ctl", ("127.0.0.1", 1)])
def test_one_that_is_not_there_is_not_clean(place):
    with pytest.raises(InfrastructureError, match="cannot be reached"):
        Clamd(place=place).scan(b"a picture")


@pytest.mark.parametrize(
    ("said", "identity"),
    [
        (b"ClamAV 1.4.3/27500/Thu Jan  1 09:35:12 2026\0", True),
        (b"ClamAV 1.4.3\0", False),
        (b"ClamAV 1.4.3/-1/x\0", False),
    ],
)
def test_answers_are_kept_only_of_signatures_that_have_a_number(said, identity):
    with daemon(said) as address:
        assert (clamd_at(address, 5).identity() is not None) is identity


def test_another_server_is_no_clamav():
    with daemon(b"HTTP/1.1 400 Bad Request\0") as address, pytest.raises(InfrastructureError):
        clamd_at(address, 5).identity()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("unix:/run/clamd.ctl", "/run/clamd.ctl"),
        ("tcp:scan.example:3310", ("scan.example", 3310)),
        ("tcp:[::1]:3310", ("::1", 3310)),
    ],
)
def test_addresses(address, place):
    assert clamd_at(address).place == place


@pytest.mark.parametrize(
    "address",
    ["", "/run/clamd.ctl", "unix:run/x", "tcp:host", "tcp:host:0", "tcp:h:70000", "tcp:a:b:1"],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="LORA_CI_CLAMD"):
        clamd_at(address)


class TestRealDaemon:
    """ClamAV itself."""

    pytestmark = needs_clamd

    def test_a_file_beyond_its_limit_is_not_clean(self):
        with clamd(limit_mib=1) as running:
            with pytest.raises(InfrastructureError, match="size limit exceeded"):
                clamd_at(running.address).scan(bytes(8_000_000) + EICAR)
            assert clamd_at(running.address).scan(EICAR)

    def test_one_that_goes_away_is_not_clean(self):
        with clamd() as running:
            scanner = clamd_at(running.address)
            assert scanner.scan(EICAR)
            running.process.kill()
            running.process.wait(10)
            with pytest.raises(InfrastructureError, match="cannot be reached"):
                scanner.scan(b"a picture")
