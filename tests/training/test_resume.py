"""Killed at any step and started again, a training makes the very same bytes."""

import random
from pathlib import Path

import pytest

from lora_ci.core.settings import TrainSettings
from lora_ci.training import checkpoint
from tests.tiny_sd import write_dataset
from tests.training.forked import Place, die, forked

pytestmark = pytest.mark.slow

APART = Path(__file__).parents[2] / ".venv" / "apart" / "adamw8bit"
STEPS = 11
PLAIN = TrainSettings(
    rank=4, alpha=2.0, learning_rate=3e-3, batch_size=2, steps=STEPS, resolution=16, flip=True,
    checkpoint_every=3, seed=3, schedule="cosine",
)  # fmt: skip
VARIANTS = {
    "adamw": {},
    "adamw8bit": {"optimizer": "adamw8bit", "rank": 128, "modules": ("attention", "feed-forward")},
    "prodigy": {"optimizer": "prodigy", "warmup_steps": 2},
    "schedule-free": {"optimizer": "schedule-free-adamw", "warmup_steps": 4, "validate_every": 2,
                      "validation_share": 0.3},
    "adafactor": {"optimizer": "adafactor", "schedule": "linear"},
    "ema": {"ema_decay": 0.8, "validation_share": 0.3, "validate_every": 2},
    "accumulation": {"batch_size": 3, "gradient_accumulation": 2, "gradient_checkpointing": True},
    "dora": {"method": "dora", "rank_stabilized": True},
    "text-encoder": {"text_encoder": True, "text_encoder_learning_rate": 1e-4,
                     "gradient_checkpointing": True},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "convolution": {"modules": ("convolution", "attention"), "ranks": {"mid_block": 2}},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_sd):
    root = tmp_path_factory.mktemp("resume")
    dataset = write_dataset(root / "dataset")

    def place(name: str, **more: object) -> Place:
        work = root / name
        return Place(base=tiny_sd, dataset=dataset, work=work, cache=root / "cache", **more)

    return place


def settings_of(variant: str) -> TrainSettings:
    from dataclasses import replace

    return replace(PLAIN, **VARIANTS[variant])


def run(place: Place, settings: TrainSettings, kill_at: int | None = None, saving: bool = False):
    """Trains in a fork that kills itself at the end of a step, or while it saves after it."""

    def work() -> None:
        def progress(done: int, total: int, note: str) -> None:
            if done == kill_at and not saving:
                die()

        if saving:
            before = checkpoint.save_tensors

            def torn(path, tensors, metadata=None):
                if f"{kill_at:08d}" in path.name:
                    path.with_name(f".{path.name}.1").write_bytes(b"half of it")
                    die()
                before(path, tensors, metadata)

            checkpoint.save_tensors = torn
        place.train(settings, progress=progress)

    return forked(work, APART if settings.optimizer == "adamw8bit" else None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_at_random_steps_gives_the_same_bytes(world, variant):
    settings = settings_of(variant)
    undisturbed, killed = world(f"{variant}-whole"), world(f"{variant}-killed")
    assert run(undisturbed, settings) == 0
    chance = random.Random(variant)
    for kill_at in sorted(chance.sample(range(1, STEPS + 1), 2)):
        assert run(killed, settings, kill_at) == -9
    assert run(killed, settings) == 0
    assert killed.digest() == undisturbed.digest()


def test_killed_while_it_saves_gives_the_same_bytes(world):
    undisturbed, killed = world("saves-whole"), world("saves-killed")
    assert run(undisturbed, PLAIN) == 0
    for kill_at in (3, 6, 9):
        assert run(killed, PLAIN, kill_at, saving=True) == -9
    assert run(killed, PLAIN) == 0
    assert killed.digest() == undisturbed.digest()
