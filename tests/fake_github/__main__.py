"""The fake by hand: `python -m tests.fake_github --port 8030 --repo acme/loras=/tmp/loras`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.fake_github import FakeGitHub


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_github", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--repo", action="append", default=[], metavar="OWNER/NAME=PATH")
    parser.add_argument(
        "--token", default="fake-token", help="acts as a workflow's token with all rights"
    )
    chosen = parser.parse_args()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    hub = FakeGitHub(port=chosen.port)
    hub.start()
    try:
        for spec in chosen.repo:
            name, _, path = spec.partition("=")
            hub.add_repo(name, path=Path(path).resolve() if path else None)
        hub.token(value=chosen.token)
        print(hub.api_url, flush=True)  # noqa: T201
        done.wait()
    finally:
        hub.stop()
    for violation in hub.violations:
        print(violation, file=sys.stderr)  # noqa: T201
    return 1 if hub.violations else 0


if __name__ == "__main__":
    sys.exit(main())
