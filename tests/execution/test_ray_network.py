"""Between us and Ray: a network that drops, delays and garbles. And no Ray at all."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.core.step import Outcome
from lora_ci.execution import drive
from lora_ci.execution.executor import ExecutorAwayError, Phase
from lora_ci.execution.lead import Leadership, lease_of, this_process
from lora_ci.execution.ray import RayExecutor
from lora_ci.execution.tick import Policy
from tests.execution.ray_world import cluster, executor_on
from tests.execution.toy import toy_command
from tests.execution.toy_world import ToyWorld, until, wait_for_end

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK\r\nContent-Length: "
FAULTS = {
    "drops": b"",
    "silent": None,
    "breaks": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
    "is no head": b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\ndefault",
    "is a gate": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "is a page": OK + b"13\r\n\r\n<html></html>",
    "ends early": OK + b"9000\r\n\r\n[{",
    "babbles": b"220 mail.example.org ESMTP\r\n",
    "is another": OK + b'15\r\n\r\n{"status": 200}',
}


class Line:
    """What lies between us and a port: passes on what it gets, unless it has a fault.

    `loses`: what is asked arrives, and the answer does not.
    """

    def __init__(self, port: int) -> None:
        self.fault = ""
        self._port = port
        self._ear = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._ear.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._ear.close()

    def _listen(self) -> None:
        while True:
            try:
                ours = self._ear.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def _serve(self, ours: socket.socket) -> None:
        with ours:
            ours.settimeout(20)
            if self.fault in FAULTS:
                self._fail(ours, FAULTS[self.fault])
                return
            with socket.create_connection(("127.0.0.1", self._port), timeout=20) as theirs:
                theirs.sendall(_request(ours))
                while piece := theirs.recv(65536):
                    if self.fault == "loses":
                        return
                    ours.sendall(piece)

    def _fail(self, ours: socket.socket, answer: bytes | None) -> None:
        _request(ours)
        if answer is None:
            # Until the other side loses patience.
            ours.recv(1)
        else:
            ours.sendall(answer)


def _request(ours: socket.socket) -> bytes:
    """A whole request, which asks that the connection is closed after the answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += ours.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(headers.get(b"content-length", 0)):
        body += ours.recv(65536)
    return head + b"\r\nConnection: close\r\n\r\n" + body


@pytest.fixture
def line() -> Iterator[Line]:
    """To nowhere, as long as it has no fault."""
    made = Line(1)
    yield made
    made.close()


@pytest.fixture
def world(tmp_path) -> ToyWorld:
    return ToyWorld(tmp_path)


def executor_at(world: ToyWorld, address: str) -> RayExecutor:
    ray = RayExecutor(address, world.root / "objects", world.root / "cache", toy_command)
    ray.jobs.timeout_s = 0.3
    return ray


@pytest.mark.parametrize("fault", FAULTS)
def test_where_nothing_can_be_known_nothing_is_said(line, world, fault):
    line.fault = fault
    for ask in (
        lambda ray: ray.phases(["lora-ci-1"]),
        lambda ray: ray.cancel("lora-ci-1", hard=True),
        lambda ray: ray.submit(world.attempt(world.spec(""))),
    ):
        with pytest.raises(ExecutorAwayError) as caught:
            ask(executor_at(world, line.address))
        finding = caught.value.findings[0]
        assert line.address in finding.message
        assert finding.hint.startswith(f"next: curl {line.address}/api/version")


def test_a_ray_that_is_away_costs_a_step_nothing(world, caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    spec = world.add(world.spec(""))
    reconciler = world.reconciler(executor_at(world, address))
    world.ledger.queue.beat("run-1", this_process())
    for _ in range(5):
        reconciler.tick()
    (step,) = world.ledger.queue.unfinished("run-1")
    assert (step.attempts, step.failures) == (1, 0)
    assert world.attempts(spec)[0]["handle"] is None
    assert [r.message.split(" why=")[0] for r in caplog.records] == ["executor.away name=ray"]


class Stopping(SystemClock):
    """Ctrl-C, the first time that somebody waits."""

    stopped = False

    def sleep(self, seconds: float) -> None:
        if not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt
        super().sleep(seconds)


def test_a_run_that_is_stopped_does_not_wait_for_a_ray_that_is_away(world, line, monkeypatch):
    monkeypatch.setattr(drive, "AWAY_S", 0.1)
    line.fault = "drops"
    spec = world.add(world.spec(""))
    reconciler = world.reconciler(executor_at(world, line.address), policy=Policy(grace_s=600.0))
    lead = Leadership(queue=reconciler.ledger.queue, clock=SystemClock(), name=lease_of("ray"))
    driver = drive.Driver(reconciler=reconciler, clock=Stopping(), watch=lambda *_: None, lead=lead)
    assert not driver.drive("run-1")
    # It may have begun: whoever is next finds out.
    assert world.attempts(spec)[0]["outcome"] is None


def test_a_job_of_somebody_else_names_no_file_to_us(line, world, monkeypatch):
    note = {"folder": str(world.root), "key": "step-1-1", "gpus": 0, "labels": {}}
    job = {"submission_id": "lora-ci-0-step-1-1", "status": "FAILED", "message": "echo"}
    body = json.dumps([job | {"metadata": {"lora-ci": json.dumps(note)}}]).encode()
    monkeypatch.setitem(FAULTS, "lies", OK + b"%d\r\n\r\n%s" % (len(body), body))
    line.fault = "lies"
    ray = executor_at(world, line.address)
    assert ray.phases(["lora-ci-0-step-1-1"]) == {"lora-ci-0-step-1-1": Phase.ENDED}
    assert not (world.root / "log.txt").exists()
    assert not (world.root / "attempts").exists()


@pytest.mark.parametrize(
    "address", ["", "head:8265", "ray://head:10001", "http://", "http://head:x", "http://[::1"]
)
def test_an_address_that_is_none_is_refused(world, address):
    with pytest.raises(UsageError, match="is no address of Ray's dashboard"):
        executor_at(world, address)


def test_what_was_asked_and_not_answered_is_done_once(world):
    line = Line(cluster().dashboard)
    ray = executor_on(cluster(), world.root, toy_command)
    far = executor_at(world, line.address)
    far.jobs.timeout_s = 10.0
    attempt = world.attempt(world.spec("journal", units=10))
    line.fault = "loses"
    with pytest.raises(ExecutorAwayError):
        far.submit(attempt)
    with pytest.raises(ExecutorAwayError, match="a moment ago"):
        far.submit(attempt)
    line.fault = ""
    until(lambda: not _is_away(lambda: far.submit(attempt)), "an answer")
    handle = far.submit(attempt)
    wait_for_end(far, handle)
    assert attempt.folder.read_result(attempt.spec.fingerprint).outcome is Outcome.PASSED
    assert (attempt.folder.path / "journal").read_text().count("begin") == 1
    line.fault = "loses"
    with pytest.raises(ExecutorAwayError):
        far.clear(handle)
    assert ray.phases([handle]) == {handle: Phase.ENDED}
    assert ray.jobs.find(handle) is None
    line.close()


def _is_away(ask) -> bool:
    try:
        ask()
    except ExecutorAwayError:
        return True
    return False
