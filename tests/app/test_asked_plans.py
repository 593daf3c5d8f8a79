"""What a comment asks for is what is planned: these LoRAs, and made anew where that is wished."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lora_ci.app.commands import Run
from lora_ci.app.git_source import open_git_source
from lora_ci.cli.plan import dated, plan_asked
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.step import Stage
from lora_ci.forge.payload import Announced
from tests.builders import RepoBuilder
from tests.records import DictRecords

CONFIG = """\
version: 1
defaults: {base_model: models/sd}
loras:
  mei: {dataset: datasets/mei}
  leo: {dataset: datasets/leo}
"""
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class World:
    """A repository of two LoRAs, where all has passed at noon."""

    def __init__(self, root):
        made = RepoBuilder(root)
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            made.write(f"models/sd/{part}/config.json", "{}")
        for name in ("mei", "leo"):
            made.dvc_add(f"datasets/{name}", {"a.png": name.encode()})
        made.write(".lora-ci.yml", CONFIG)
        head = made.commit()
        self.source = open_git_source(made.root)
        self.event = Event(kind=EventKind.MANUAL, repo="team/loras", head=head)
        self.records = DictRecords()
        while self.plan().to_run():
            self.records.run(self.plan())
            noon = [replace(r, finished_at=NOON.isoformat()) for r in self.records.items]
            self.records.items[:] = noon

    def plan(self, **asked):
        event = Announced(kind=EventKind.MANUAL, repo="team/loras")
        run = dated(Run(event=event, **asked), SystemClock())
        return plan_asked(run, self.event, self.source, self.records, SystemClock())[0]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_only_the_named_ones_are_planned(world):
    assert {d.lora for d in world.plan().decisions} == {"mei", "leo"}
    assert {d.lora for d in world.plan(loras=("leo",)).decisions} == {"leo"}
    assert world.plan(loras=("leo",)).left_out == (), "mei is known to pass"
    world.records.items[:] = [r for r in world.records.items if r.lora == "leo"]
    assert world.plan(loras=("leo",)).left_out == ("mei",)
    with pytest.raises(UsageError, match="no LoRA `nobody`"):
        world.plan(loras=("nobody",))


def test_what_is_wished_anew_is_planned_anew_until_it_was_made(world):
    assert world.plan().to_run() == ()
    before, after = (NOON + timedelta(minutes=m) for m in (-1, 1))
    anew = world.plan(loras=("mei",), retrain=True, asked_at=after.isoformat())
    assert [(d.lora, d.stage, d.why) for d in anew.to_run()] == [
        ("mei", Stage.TRAIN, "asked to be made again")
    ]
    assert world.plan(retrain=True, asked_at=before.isoformat()).to_run() == ()


def test_the_jobs_of_a_run_agree_on_when_it_was_asked_for():
    asked = Run(event=Announced(kind=EventKind.MANUAL, repo="team/loras"), retrain=True)
    told = dated(asked, SystemClock())
    assert told
    assert told.asked_at
    assert dated(told, SystemClock()) == told
