"""Ray's Jobs API over HTTP. Source: Ray's `dashboard/modules/job` (2.60), and its REST reference.

Every request may be made twice: a job has an id of ours, and the end of one is its end for good. So
what fails on the way is tried again for a while, and then it is for the caller to ask again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

import lora_ci
from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.text import clean
from lora_ci.execution.executor import ExecutorAwayError

T = TypeVar("T")

TIMEOUT_S = 10.0
WAITS_S = (0.1, 0.4)
# So long nothing is asked after a request that failed: a reconciler would, ten times a second.
REST_S = 1.0
MAX_BYTES = 256 * 1024 * 1024
PIECE_BYTES = 1 << 16
TAIL = 300
NODES = "/nodes?view=summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What Ray tells of a job; one that a driver made itself has no `submission_id`."""

    status: str
    submission_id: str | None = None
    entrypoint: str = ""
    message: str | None = None
    error_type: str | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Raylet:
    state: str = ""
    resourcesTotal: Mapping[str, float] = field(default_factory=dict)  # noqa: N815 - Ray's name


@dataclass(frozen=True, slots=True)
class _Node:
    raylet: _Raylet


@dataclass(frozen=True, slots=True)
class _Summary:
    summary: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Nodes:
    data: _Summary


@dataclass(frozen=True, slots=True)
class _Submitted:
    submission_id: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    data: bytes

    @property
    def last_words(self) -> str:
        """The last line: Ray answers with the traceback of what went wrong."""
        lines = self.data[-4096:].decode(errors="replace").strip(" \n.").split("\n")
        return clean(lines[-1])[-TAIL:]


@dataclass(slots=True)
class RayJobs:
    """The jobs of the cluster whose dashboard is at `address`.

    All calls raise ExecutorAwayError where Ray does not answer, and InfrastructureError where it
    refuses.
    """

    address: str
    clock: Clock
    token: str = field(default="", repr=False)
    timeout_s: float = TIMEOUT_S
    _rests_until: float | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.address)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            sound = None
        if not sound:
            raise UsageError(
                f"{self.address!r} is no address of Ray's dashboard",
                hint="expected such as http://ray-head:8265: `ray start --head` prints it",
            )

    def submit(self, job: Mapping[str, Any]) -> None:
        """Starts a job; one whose id is taken already stays alone."""
        answer = self._ask("POST", "/api/jobs/", job)
        if answer.status == 200:
            self._parsed("POST /api/jobs/", answer, _Submitted)
        elif b"already exists" not in answer.data:
            raise self._refused("POST /api/jobs/", answer)

    def all(self) -> tuple[Job, ...]:
        """Every job that Ray remembers."""
        answer = self._ask("GET", "/api/jobs/")
        if answer.status == 200:
            return self._parsed("GET /api/jobs/", answer, tuple[Job, ...])
        raise self._refused("GET /api/jobs/", answer)

    def find(self, job: str) -> Job | None:
        """The job of that id, if Ray knows it."""
        answer = self._ask("GET", _path(job))
        if answer.status == 200:
            return self._parsed(f"GET {_path(job)}", answer, Job)
        if answer.status == 404:
            return None
        raise self._refused(f"GET {_path(job)}", answer)

    def stop(self, job: str) -> None:
        """Sends SIGTERM to the job's processes; one that waits for its turn gets it then."""
        answer = self._ask("POST", f"{_path(job)}/stop")
        if answer.status not in (200, 404):
            raise self._refused(f"POST {_path(job)}/stop", answer)

    def forget(self, job: str) -> None:
        """Removes what Ray remembers of a job that has ended; one that has not is left alone."""
        answer = self._ask("DELETE", _path(job))
        if answer.status not in (200, 404) and b"non-terminal" not in answer.data:
            raise self._refused(f"DELETE {_path(job)}", answer)

    def gpus(self) -> list[int]:
        """How many GPUs each node has that lives."""
        answer = self._ask("GET", NODES)
        if answer.status != 200:
            raise self._refused(f"GET {NODES}", answer)
        nodes = self._parsed(f"GET {NODES}", answer, _Nodes).data.summary
        raylets = [node.raylet for node in nodes if node.raylet.state == "ALIVE"]
        return [int(raylet.resourcesTotal.get("GPU", 0)) for raylet in raylets]

    def _ask(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> _Answer:
        """An answer of Ray itself, be it a yes or a no."""
        now = self.clock.monotonic()
        if self._rests_until is not None and now < self._rests_until:
            raise self._away(f"{verb} {path}", "it did not answer a moment ago")
        until, why = now + self.timeout_s, ""
        for wait_s in (*WAITS_S, None):
            try:
                answer = self._exchange(verb, path, body, until)
                if _is_ray(answer):
                    self._rests_until = None
                    return answer
                why = f"{answer.status} {answer.last_words}"
            except (OSError, HTTPException, ValueError) as error:
                why = str(error) or type(error).__name__
            if wait_s is None or self.clock.monotonic() + wait_s > until:
                break
            self.clock.sleep(wait_s)
        self._rests_until = self.clock.monotonic() + REST_S
        raise self._away(f"{verb} {path}", why)

    def _exchange(
        self, verb: str, path: str, body: Mapping[str, Any] | None, until: float
    ) -> _Answer:
        parts = urlsplit(self.address)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        left_s = max(0.1, until - self.clock.monotonic())
        connection = kind(parts.hostname or "", parts.port, timeout=left_s)
        try:
            connection.request(
                verb,
                parts.path.rstrip("/") + path,
                body=None if body is None else json.dumps(body),
                headers=self._headers(),
            )
            response = connection.getresponse()
            data = bytearray()
            while piece := response.read1(PIECE_BYTES):
                data += piece
                if len(data) > MAX_BYTES or self.clock.monotonic() > until:
                    raise TimeoutError(f"no end of its answer after {len(data)} bytes")
            # Of an answer that ends too early, `read1` says nothing.
            if response.length:
                raise ConnectionResetError(f"{response.length} bytes of its answer are missing")
            return _Answer(response.status, bytes(data))
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"lora-ci/{lora_ci.__version__}",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _parsed(self, what: str, answer: _Answer, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.data, type=kind)
        except msgspec.DecodeError as error:
            raise self._away(what, f"its answer makes no sense ({error})") from None

    def _away(self, what: str, why: str) -> ExecutorAwayError:
        return ExecutorAwayError(
            f"Ray at {self.address} does not answer: {what}: {why}",
            hint=f"next: curl {self.address}/api/version; is the head up, and this its dashboard?",
        )

    def _refused(self, what: str, answer: _Answer) -> InfrastructureError:
        hint = None
        if answer.status in (401, 403):
            hint = "next: check the token; `ray get-auth-token` on the head prints it"
        return InfrastructureError(
            f"Ray at {self.address} refuses {what}: {answer.status} {answer.last_words}",
            rule="executor.refused",
            hint=hint,
        )


def _path(job: str) -> str:
    return f"/api/jobs/{quote(job, safe='')}"


def _is_ray(answer: _Answer) -> bool:
    """False for a proxy before it, and for a Ray that has no ear for us now.

    Its refusals are 400, 401, 403, a 404 that names the job, and a 500 with the traceback of what a
    value of ours led to.
    """
    if answer.status in (200, 400, 401, 403):
        return True
    if answer.status == 404:
        return re.fullmatch(rb"Job \S+ does not exist", answer.data.strip()) is not None
    return answer.status == 500 and (
        re.search(rb"^(ValueError|TypeError|RuntimeError: Attempted to delete)", answer.data, re.M)
        is not None
    )
