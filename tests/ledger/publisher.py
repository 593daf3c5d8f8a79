"""Publishes records of its own from a clone: `publisher.py CLONE FIRST COUNT`."""

import random
import sys
from pathlib import Path

from lora_ci.changes.git import Repository
from lora_ci.core.clock import SystemClock
from lora_ci.ledger.remote_records import publish_records
from tests.past import make_record

if __name__ == "__main__":
    clone, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    findings = publish_records(
        Repository(clone),
        "origin",
        [make_record(first + n, lora=f"lora-{(first + n) % 7}") for n in range(count)],
        kept_in=None,
        clock=SystemClock(),
        rng=random.Random(first),
    )
    sys.exit(len(findings))
