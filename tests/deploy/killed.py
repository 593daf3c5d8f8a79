"""Releases once for each file operation in two stores, killed there, and then again.

Prints how many places there were. A program of its own: it forks.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.core.step import Outcome, StepResult, StepSpec
from lora_ci.deploy.channels import open_pointer
from lora_ci.deploy.stores import FolderStore
from lora_ci.deploy.verify import verify_release
from lora_ci.signing.keys import load_key
from lora_ci.signing.signers import Signer, Signers
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}


def main(root: Path, step: Path) -> int:
    """The number of places at which a release was killed."""
    spec = StepFolder(step).read_spec()
    key = load_key(Path(spec.params["signing_key"])).public_key()
    signers = Signers(signers=(Signer(name="team", key=key),))
    place = 0
    while True:
        place += 1
        world = World(root / str(place), LocalStore(root / "objects"), spec)
        status = in_child(partial(world.die_at, place))
        world.check_nothing_half_done(signers)
        if not os.WIFSIGNALED(status):
            assert status == 0
            return place - 1
        assert in_child(world.release) == 0, place
        world.check_done(signers)


class World:
    """Two stores and a step folder of its own."""

    def __init__(self, root: Path, objects: LocalStore, spec: StepSpec) -> None:
        self.objects, self.cache = objects, root / "cache"
        self.root = root / "stores"
        self.stores = [FolderStore(self.root / name) for name in ("one", "two")]
        self.folder = StepFolder(root / "step")
        self.folder.path.mkdir(parents=True)
        settings = {**spec.params["settings"], "targets": ["one", "two"]}
        targets = [str(store.root) for store in self.stores]
        params = {**spec.params, "settings": settings, "targets": targets}
        self.folder.write_spec(replace(spec, params=params))

    def release(self) -> None:
        """Releases, or raises AssertionError."""
        result: StepResult = exec_step(self.folder, self.objects, self.cache)
        assert result.outcome is Outcome.PASSED, result
        assert result.details["version"] == "1.0.0"
        moves = [c["sequence"] for t in result.details["targets"] for c in t["channels"]]
        assert moves == [1, 1]

    def die_at(self, place: int) -> None:
        """Releases, but this process dies before its n-th operation on a file in a store."""
        store, count = str(self.root), 0

        def watch(event: str, args: tuple[object, ...]) -> None:
            nonlocal count
            if event in EVENTS and any(str(a).startswith(store) for a in args):
                count += 1
                if count == place:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        self.release()

    def check_nothing_half_done(self, signers: Signers) -> None:
        """What readers see is all of a release or none; a channel names one that is there."""
        today = SystemClock().now().date()
        for store in self.stores:
            for version in store.versions("mei"):
                verify_release(store.root / "releases" / "mei" / str(version), signers, today)
            if data := store.read_channel("mei", "latest"):
                pointer = open_pointer(data, "mei", "latest", signers, today)
                assert pointer.number in store.versions("mei")

    def check_done(self, signers: Signers) -> None:
        """The same release is in both, and nothing of the killed attempt."""
        self.check_nothing_half_done(signers)
        assert all(store.read_channel("mei", "latest") for store in self.stores)
        one, two = (store.root / "releases" / "mei" / "1.0.0" for store in self.stores)
        assert all(path.read_bytes() == (two / path.name).read_bytes() for path in one.iterdir())
        left = [p.name for p in self.root.rglob("*.partial")]
        assert not left, left


def in_child(act: Callable[[], None]) -> int:
    """How a child process that does something ended."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
