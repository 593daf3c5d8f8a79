"""Releases once for each file operation in the store, killed there, and then again.

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
    """A store and a step folder of its own."""

    def __init__(self, root: Path, objects: LocalStore, spec: StepSpec) -> None:
        self.objects, self.cache = objects, root / "cache"
        self.store = FolderStore(root / "store")
        self.folder = StepFolder(root / "step")
        self.folder.path.mkdir(parents=True)
        params = {**spec.params, "store": str(self.store.root)}
        self.folder.write_spec(replace(spec, params=params))

    def release(self) -> None:
        """Releases, or raises AssertionError."""
        result: StepResult = exec_step(self.folder, self.objects, self.cache)
        assert result.outcome is Outcome.PASSED, result
        assert (result.details["version"], result.details["sequence"]) == ("1.0.0", 1)

    def die_at(self, place: int) -> None:
        """Releases, but this process dies before its n-th operation on a file in the store."""
        store, count = str(self.store.root), 0

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
        for version in self.store.versions("mei"):
            verify_release(self.store.root / "releases" / "mei" / str(version), signers, today)
        if data := self.store.read_channel("mei", "latest"):
            pointer = open_pointer(data, "mei", "latest", signers, today)
            assert pointer.number in self.store.versions("mei")

    def check_done(self, signers: Signers) -> None:
        """The release is there, and nothing of the killed attempt."""
        self.check_nothing_half_done(signers)
        assert self.store.read_channel("mei", "latest")
        left = [p.name for p in self.store.root.rglob("*.partial")]
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
