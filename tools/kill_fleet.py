"""Kills drivers and steps at many random points, and checks what must hold afterwards.

python -m tools.kill_fleet --points 200 --ledger sqlite
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.execution.killing import Killing
from tests.execution.toy_world import toy_world
from tests.ledgers import drop_ledger, new_ledger


def main() -> int:
    """Prints what was killed; an assertion fails where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200, help="how often something is killed")
    parser.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--drivers", type=int, default=3, help="processes that drive, at a time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-fleet-") as folder:
        url = new_ledger(Path(folder), args.ledger)
        try:
            with toy_world(Path(folder), url) as world:
                killing = Killing(world, points=args.points, seed=args.seed, drivers=args.drivers)
                killing.kill()
                killing.check()
        finally:
            drop_ledger(url)
    killed = ", ".join(f"{count} × {what}" for what, count in sorted(killing.killed.items()))
    seconds = time.monotonic() - started
    print(f"{args.ledger}, seed {args.seed}: killed {killed}; ", end="")
    print(f"{killing.steps} steps in {killing.attempts} attempts, {seconds:.0f} s: all right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
