"""Shards in plans: trained side by side, then merged; what is on record is asked of nobody."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lora_ci.app.anew import Anew, AnewRecords
from lora_ci.app.scope import Scope
from lora_ci.automl.matrix import sharing_of
from lora_ci.config.load import load_config
from lora_ci.core.plan import Action, Plan
from lora_ci.core.settings import Policy, TrainSettings
from lora_ci.core.shard import Shard, owner_of, parse_shard
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.budget import make_budget
from lora_ci.plan.shards import lora_of, shards_of
from lora_ci.plan.simulate import Imagined, imagine
from lora_ci.plan.split import split
from tests.plan.test_decide import actions, facts_of, plan_for, run_to_the_end
from tests.records import DictRecords

TEXT = """\
version: 1
loras:
  mei: {dataset: datasets/mei, base_model: models/sd, train: {shards: 3}}
"""
SHARDS = tuple(f"mei.shard-{number}-of-3" for number in (1, 2, 3))


def told(plan: Plan) -> str:
    """`mei.shard-1-of-3:run …`: what becomes of each training."""
    trainings = (d for d in plan.decisions if d.stage is Stage.TRAIN)
    return " ".join(f"{d.lora.removeprefix('mei.')}:{d.action}" for d in trainings)


def reasons(plan: Plan) -> dict[str, str]:
    return {d.lora: d.why for d in plan.decisions if d.stage is Stage.TRAIN}


def validated() -> DictRecords:
    records = DictRecords()
    records.run(plan_for(records, text=TEXT))
    return records


def test_all_shards_run_at_once_and_the_merge_waits_for_them():
    records = DictRecords()
    plan = plan_for(records, text=TEXT)
    assert told(plan) == "shard-1-of-3:wait shard-2-of-3:wait shard-3-of-3:wait mei:wait"
    records.run(plan)
    plan = plan_for(records, text=TEXT)
    assert told(plan) == "shard-1-of-3:run shard-2-of-3:run shard-3-of-3:run mei:wait"
    assert reasons(plan)["mei"] == "waits for 3 of 3 shards"
    assert all(len(plan.of(shard)) == 1 for shard in SHARDS)
    records.run(replace(plan, decisions=plan.of(SHARDS[1])))
    plan = plan_for(records, text=TEXT)
    assert told(plan) == "shard-1-of-3:run shard-2-of-3:reuse shard-3-of-3:run mei:wait"
    assert reasons(plan)["mei"] == "waits for 2 of 3 shards"
    records.run(plan)
    plan = plan_for(records, text=TEXT)
    assert reasons(plan)["mei"] == "merges 3 shards; first time"
    assert [d.lora for d in plan.to_run()] == ["mei"]


def test_once_merged_no_shard_is_run_or_asked_for():
    records = DictRecords()
    run_to_the_end(records, text=TEXT)
    assert not plan_for(records, text=TEXT).to_run()
    records.items = [r for r in records.items if r.lora != SHARDS[0]]
    plan = plan_for(records, text=TEXT)
    assert told(plan) == "shard-2-of-3:reuse shard-3-of-3:reuse mei:reuse"
    # With the merged adapter lost, what its shards made is still worth something.
    records.items = [r for r in records.items if (r.lora, r.stage) != ("mei", Stage.TRAIN)]
    plan = plan_for(records, text=TEXT)
    assert told(plan) == "shard-1-of-3:run shard-2-of-3:reuse shard-3-of-3:reuse mei:wait"


def test_other_data_settings_and_numbers_of_shards_train_anew():
    records = DictRecords()
    run_to_the_end(records, text=TEXT)
    plan = plan_for(records, text=TEXT, ids={"datasets/mei": "new"})
    assert told(plan) == "shard-1-of-3:wait shard-2-of-3:wait shard-3-of-3:wait mei:wait"
    records.run(plan)
    plan = plan_for(records, text=TEXT, ids={"datasets/mei": "new"})
    assert reasons(plan)[SHARDS[0]] == "dataset: changed"
    plan = plan_for(records, text=TEXT.replace("shards: 3", "shards: 2"))
    assert told(plan) == "shard-1-of-2:run shard-2-of-2:run mei:wait"
    plan = plan_for(records, text=TEXT.replace("{shards: 3}", "{shards: 3, rank: 4}"))
    assert reasons(plan)[SHARDS[2]] == "config: train.rank 16 (default) → 4"
    assert told(plan_for(records, text=TEXT.replace("shards: 3", "shards: 1"))) == "mei:run"


def test_the_fingerprint_of_the_merge_depends_on_no_adapter_and_those_of_shards_differ():
    records = validated()
    plan = plan_for(records, text=TEXT)
    made = {d.lora: d.fingerprint for d in plan.to_run()}
    assert len({f.value for f in made.values()}) == 3
    assert made[SHARDS[0]].changed_parts(made[SHARDS[1]].parts) == ("shard",)
    assert made[SHARDS[1]].parts["shard"] == "2 of 3"
    records.run(plan)
    (merge,) = plan_for(records, text=TEXT).to_run()
    assert merge.fingerprint.parts["train.shards"] == "[3]"
    assert not {"adapter", "shard"} & merge.fingerprint.parts.keys()


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({}, {"images_seen": 1334}),
        ({"images_seen": 10}, {"images_seen": 4}),
        ({"steps": 300}, {"steps": 100}),
        ({"steps": 2}, {"steps": 1}),
        ({"epochs": 7}, {"epochs": 7}),
    ],
)
def test_the_budget_is_shared(given, part):
    config = load_config(TEXT.encode())
    mei = replace(config.loras["mei"], train=TrainSettings(shards=3, **given))
    assert [lora.train for lora in shards_of(mei)] == [TrainSettings(**part)] * 3


def test_the_cost_is_that_of_one_training_and_the_merge_is_free():
    one = plan_for(validated(), text=TEXT.replace("shards: 3", "shards: 1"))
    three = plan_for(validated(), text=TEXT)
    assert three.estimate.expected == pytest.approx(one.estimate.expected, rel=0.01)
    assert next(d for d in three.of("mei") if d.stage is Stage.TRAIN).estimate is None


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.INCONCLUSIVE])
def test_a_shard_that_did_not_pass_blocks_the_merge_and_says_why(outcome):
    records = validated()
    plan = plan_for(records, text=TEXT)
    records.run(replace(plan, decisions=plan.of(SHARDS[0])))
    records.run(replace(plan, decisions=plan.of(SHARDS[1])), outcome)
    plan = plan_for(records, text=TEXT)
    why = f"shard 2 of 3: train {outcome} in run run-2"
    assert {d.stage: d.why for d in plan.of("mei") if d.action is Action.BLOCKED} == {
        Stage.TRAIN: why, Stage.QA: why, Stage.OPTIMIZE: why,
    }  # fmt: skip


def test_what_blocks_training_blocks_its_shards():
    policy = Policy(max_gpu_hours_per_run=0.001)
    plan = plan_for(validated(), text=TEXT, budget=make_budget(policy, 0.0))
    assert (
        told(plan) == "shard-1-of-3:blocked shard-2-of-3:blocked shard-3-of-3:blocked mei:blocked"
    )
    failed = DictRecords()
    failed.run(plan_for(failed, text=TEXT), Outcome.FAILED)
    assert told(plan_for(failed, text=TEXT)) == "mei:blocked"


def test_shards_wait_for_what_their_lora_needs():
    text = TEXT + "  leo: {dataset: d, base_model: models/sd}\n"
    text = text.replace("train: {shards: 3}", "train: {shards: 3}, needs: [leo]")
    records = DictRecords()
    records.run(plan_for(records, text=text))
    plan = plan_for(records, text=text)
    assert set(reasons(plan).values()) == {"waits for qa of leo", "first time"}
    run_to_the_end(records, text=text)
    assert actions(plan_for(records, text=text)).count("reuse") == 4


def test_the_same_shards_of_two_loras_are_trained_once():
    other = "  ming: {trigger: mei, dataset: datasets/mei, base_model: models/sd, "
    text = TEXT + other + "train: {shards: 3}}\n"
    records = DictRecords()
    records.run(plan_for(records, text=text))
    why = reasons(plan_for(records, text=text))
    same = "the same as train of mei.shard-2-of-3, which runs now"
    assert (why["ming.shard-2-of-3"], why["ming"]) == (same, "waits for 3 of 3 shards")
    run_to_the_end(records, text=text)
    assert sum(r.stage is Stage.TRAIN for r in records.items) == 4


def test_shards_with_a_longer_budget_go_on_from_the_same_shards_of_a_shorter_one():
    text = TEXT.replace(
        "{shards: 3}", "{shards: 3, schedule: constant}, matrix: {train.epochs: [2, 4]}"
    )
    config = load_config(text.encode())
    records = DictRecords()
    records.run(plan_for(records, text=text))
    plan = plan_for(records, text=text)
    assert reasons(plan)["mei.epochs-4.shard-2-of-3"] == (
        "continues train of mei.epochs-2.shard-2-of-3, which runs now"
    )
    assert reasons(plan)["mei.epochs-4"] == "waits for 3 of 3 shards"
    (sharing,) = sharing_of(config, facts_of(config))
    assert (sharing.configurations, sharing.trainings) == (2, 3)
    run_to_the_end(records, text=text)
    assert not plan_for(records, text=text).to_run()


def test_a_matrix_of_shards():
    text = TEXT.replace("train: {shards: 3}", "matrix: {train.shards: [1, 2]}")
    records = DictRecords()
    run_to_the_end(records, text=text)
    trained = [r.lora for r in records.items if r.stage is Stage.TRAIN]
    assert sorted(trained) == [
        "mei.shards-1", "mei.shards-2", "mei.shards-2.shard-1-of-2", "mei.shards-2.shard-2-of-2",
    ]  # fmt: skip


def test_a_scope_of_a_lora_holds_its_shards_and_a_shard_alone_its_training():
    plan = plan_for(validated(), text=TEXT)
    mine = Scope(loras=frozenset(["mei"]))
    assert mine.narrow(plan).decisions == plan.decisions
    alone = Scope(loras=frozenset([SHARDS[1]])).narrow(plan)
    assert [(d.lora, d.stage) for d in alone.decisions] == [
        ("mei", Stage.VALIDATE), (SHARDS[1], Stage.TRAIN),
    ]  # fmt: skip
    assert not Scope(loras=frozenset(["mei"]), last=Stage.VALIDATE).narrow(plan).to_run()
    assert Scope(loras=frozenset(["leo"])).narrow(plan).left_out == ("mei",)
    only = plan_for(validated(), text=TEXT, only=frozenset(["mei"]))
    assert [d.lora for d in only.to_run()] == list(SHARDS)


def test_training_again_trains_the_shards_again():
    records = DictRecords()
    run_to_the_end(records, text=TEXT)
    long_ago = "2026-11-01T00:00:00.000000+00:00"
    records.items = [replace(record, finished_at=long_ago) for record in records.items]
    anew = Anew(loras=frozenset(["mei"]), since=datetime(2026, 11, 2, tzinfo=UTC))
    plan = plan_for(AnewRecords(records, anew), text=TEXT)
    assert told(plan) == "shard-1-of-3:run shard-2-of-3:run shard-3-of-3:run mei:wait"
    assert anew.explain(plan).of(SHARDS[0])[0].why == "asked to be made again"


def test_machines_of_a_split_plan_get_a_lora_whole():
    text = TEXT + "  leo: {dataset: d, base_model: models/sd, train: {shards: 2}}\n"
    records = DictRecords()
    records.run(plan_for(records, text=text))
    shares = split(plan_for(records, text=text), {})
    assert [(share.loras, share.gpu) for share in shares] == [(("mei",), True), (("leo",), True)]


def test_imagined_to_its_end_every_shard_and_the_merge_run():
    records = Imagined(DictRecords())
    plan = imagine(lambda past: plan_for(past, text=TEXT), records)
    assert {d.action for d in plan.decisions} == {Action.RUN}
    assert [d.lora for d in plan.decisions if d.stage is Stage.TRAIN] == [*SHARDS, "mei"]


def test_the_names_of_shards():
    shard = Shard(of="mei.rank-8", number=12, count=64)
    assert shard.name == "mei.rank-8.shard-12-of-64"
    assert parse_shard(shard.name) == shard
    assert (owner_of(shard.name), owner_of("mei.shards-3")) == ("mei.rank-8", "mei.shards-3")
    config = load_config(TEXT.encode())
    assert lora_of(config, SHARDS[2]).shard == Shard(of="mei", number=3, count=3)
    assert lora_of(config, "mei") == config.loras["mei"]
