"""A training asks for the memory that others of its kind took, where GPUs are known."""

from dataclasses import replace

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.specs import make_spec
from lora_ci.app.wiring import open_deps
from lora_ci.core.event import Event, EventKind
from lora_ci.core.machine import Gpu, Machine
from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.diffusion.families import SD1
from lora_ci.ledger.ledger import Ledger
from lora_ci.plan.fingerprints import train_fingerprint
from lora_ci.plan.memory import CONTEXT_GIB, MARGIN
from tests.builders import RepoBuilder

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {rank: 8}
"""
TOOK = {"peak_memory_mb": 8 * 2**30 / 1e6, "resolution": 512.0, "step_s": 0.5}
HOW = {
    "memory": {"rows": 4, "checkpointing": False}, "device": "cuda", "processes": 1,
    "precision": "bfloat16",
}  # fmt: skip


class World:
    """A repository whose LoRA was trained once, on a GPU."""

    def __init__(self, root) -> None:
        repo = RepoBuilder(root)
        parts = {f"{part}/config.json": b"{}" for part in SD1.parts}
        repo.dvc_add("models/sd", {"model_index.json": b"{}", **parts})
        repo.dvc_add("datasets/mei", {f"{i}.png": b"picture %d" % i for i in range(3)})
        repo.write(".lora-ci.yml", CONFIG)
        event = Event(kind=EventKind.PUSH, repo="r", head=repo.commit())
        source = open_git_source(repo.root)
        self.gathered = source.gather(event)
        self.deps = open_deps(source)
        self.deps.ledger.start_run("run-1", event)

    def spec(self, **train):
        """The spec of a training with these settings."""
        lora, facts = self.gathered.config.loras["mei"], self.gathered.facts["mei"]
        lora = replace(lora, train=replace(lora.train, **train))
        config = replace(self.gathered.config, loras={"mei": lora})
        decision = Decision(
            lora="mei", stage=Stage.TRAIN, action=Action.RUN, why="test",
            fingerprint=train_fingerprint(lora, facts),
        )  # fmt: skip
        plan = Plan(head="h", decisions=(decision,), changes=self.gathered.changes)
        return decision, make_spec(decision, plan, replace(self.gathered, config=config), self.deps)

    def train(self) -> None:
        decision, spec = self.spec()
        queue = self.deps.ledger.queue
        queue.add("run-1", decision, spec, commit="c")
        (step,) = queue.unfinished("run-1")
        queue.begin([(step, {})], executor="local")
        (attempt,) = queue.open_attempts()
        result = StepResult(outcome=Outcome.PASSED, metrics=TOOK, details=HOW)
        assert queue.finish(attempt, result)

    def see_gpu(self, gib: float) -> None:
        gpu = Gpu(index=0, uuid="GPU-1", name="x", total_gib=gib, free_gib=gib)
        self.deps.ledger.runners.see(Machine(name="m", gpus=(gpu,)))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.deps.ledger.close()


def asked(world: World, **train) -> float:
    return world.spec(**train)[1].resources.vram_gib


def test_memory_is_foretold_for_a_gpu_that_has_it(world):
    world.see_gpu(24)
    assert asked(world) == 0
    world.train()
    assert asked(world, seed=1) == pytest.approx(8 * MARGIN + CONTEXT_GIB)
    assert asked(world, seed=1, rank=64) == 0
    world.see_gpu(8)
    assert asked(world, seed=1) == 0


def test_that_reads_trainings_and_not_all_that_is_on_record(world, monkeypatch):
    # There may be thousands of it, and a thousand trainings that ask.
    world.see_gpu(24)
    world.train()
    monkeypatch.setattr(Ledger, "newest", lambda _: pytest.fail("all is read"))
    assert asked(world, seed=1) > 0


def test_without_a_known_gpu_nothing_is_asked_for(world):
    world.train()
    assert asked(world, seed=1) == 0
