"""Moves a channel many times and prints the numbers it gave out: one of several processes."""

import sys
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.deploy.channels import Target, move_channel
from lora_ci.deploy.stores import FolderStore
from lora_ci.deploy.version import Version
from lora_ci.signing.keys import load_key

store, key = FolderStore(Path(sys.argv[1])), load_key(Path(sys.argv[2]))
first, step, count = (int(word) for word in sys.argv[3:])
today = SystemClock().now().date()
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
for patch in range(first, first + step * count, step):
    version = Version(1, 0, patch)
    target = Target(lora="mei", channel="latest", version=version, release="0" * 64)
    pointer = move_channel(store, target, key, today)
    if pointer.number == version:
        sys.stdout.write(f"{pointer.sequence}\n")
