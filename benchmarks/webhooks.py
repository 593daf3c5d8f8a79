"""How fast `lora-ci serve` answers webhooks, from another process on the same machine.

Requests are sent on a timetable, each on a connection of its own; an answer is timed from when its
request was due, so that one that has to queue is not made to look quick.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import machine, render_table

SECRET = "a secret of many characters"
SENDERS = 64
START_S = 30
HEADER = ["what", "sent/s", "202", "503", "p50, ms", "p99, ms", "max, ms"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One delivery: how long after it was due it was answered, and how."""

    took_s: float
    status: int
    retry_after: str | None


def main() -> int:
    """Prints the table; 1 if an answer was neither 202 nor 503 with Retry-After."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="deliveries a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kib", type=int, default=24, help="size of a payload")
    args = parser.parse_args()
    print(machine())
    rows, good = [], True
    for queue, burst in ((100_000, 1), (100_000, 2), (500, 2)):
        rate = args.rate * burst
        with served(queue) as port:
            answers, lasted_s = flood(port, rate, args.seconds, payload(args.kib))
        what = f"{rate}/s for {args.seconds:g} s, --queue {queue}"
        rows.append(row(what, answers, lasted_s))
        good = good and all(a.status == 202 or (a.status, a.retry_after) == (503, "60")
                            for a in answers)  # fmt: skip
    print(render_table(HEADER, rows))
    return 0 if good else 1


def payload(kib: int) -> bytes:
    """A push to a pull request, filled up to the size of a real one.

    What the bot then asks GitHub gets no answer here, so that all of it stays in the queue.
    """
    sha = "a" * 40
    said = {
        "action": "synchronize",
        "repository": {"full_name": "acme/loras", "default_branch": "main"},
        "sender": {"login": "mei"},
        "pull_request": {
            "number": 1,
            "head": {"sha": sha, "ref": "work", "repo": {"full_name": "acme/loras"}},
            "base": {"sha": sha},
        },
        "filling": ["x" * 60] * (kib * 16),
    }
    return json.dumps(said).encode()


@contextmanager
def served(queue: int) -> Iterator[int]:
    """A real server on a free port."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "lora_ci", "serve", "--port", str(port)]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--queue", str(queue), "--state", f"{folder}/bot"],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "LORA_CI_WEBHOOK_SECRET": SECRET,
                    "LORA_CI_TOKEN": "ghp_none",
                    "GITHUB_API_URL": "http://127.0.0.1:1",
                },
            )
        try:
            wait_until_it_listens(port)
            yield port
        finally:
            process.kill()
            process.wait()


def wait_until_it_listens(port: int) -> None:
    """Raises OSError if it never does."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def flood(port: int, rate: int, seconds: float, body: bytes) -> tuple[list[Answer], float]:
    """The answers to deliveries on a timetable, and how long all of it took."""
    started = time.perf_counter() + 0.5

    def send(number: int) -> Answer:
        # The same body again would be known.
        own = body[:-1] + b', "number": %d}' % number
        signature = "sha256=" + hmac.new(SECRET.encode(), own, hashlib.sha256).hexdigest()
        due = started + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "pull_request",
            "X-GitHub-Delivery": f"{port}-{number}",
            "X-Hub-Signature-256": signature,
        }
        connection.request("POST", "/webhook", own, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        took_s = time.perf_counter() - due
        return Answer(took_s, answer.status, answer.getheader("Retry-After"))

    with ThreadPoolExecutor(SENDERS) as senders:
        answers = list(senders.map(send, range(int(rate * seconds))))
    return answers, time.perf_counter() - started


def row(what: str, answers: list[Answer], lasted_s: float) -> list[str]:
    """One row of the table."""
    took_ms = sorted(answer.took_s * 1000 for answer in answers)
    statuses = Counter(answer.status for answer in answers)
    p99 = statistics.quantiles(took_ms, n=100)[98]
    return [
        what,
        f"{len(answers) / lasted_s:.0f}",
        str(statuses[202]),
        str(statuses[503]),
        f"{statistics.median(took_ms):.1f}",
        f"{p99:.1f}",
        f"{took_ms[-1]:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
