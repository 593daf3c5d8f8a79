"""What LoRAs have in common is done once: the longer of two trainings continues the shorter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.automl.matrix import sharing_of, variants_of
from lora_ci.config.load import load_config
from lora_ci.core.plan import Action, Plan
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.training_rules import CONTINUES
from tests.plan.test_decide import facts_of, plan_for
from tests.records import DictRecords

HEAD = """\
version: 1
defaults: {dataset: datasets/mei, base_model: models/sd}
loras:
"""
SEED = """\
  mei:
    train: {schedule: constant, batch_size: 1}
    matrix:
      train.rank: [16, 32, 64]
      train.learning_rate: [1e-5, 5e-5, 1e-4]
      train.optimizer: [adamw, adamw8bit, prodigy]
      train.epochs: [10, 15, 20]
"""


def chain(*budgets: str, schedule: str = "constant") -> str:
    """LoRAs that differ in their budgets alone."""
    lines = [
        f"  {name}: {{trigger: mei, train: {{schedule: {schedule}, batch_size: 1, {budget}}}}}\n"
        for name, budget in zip("abcdefg", budgets, strict=False)
    ]
    return HEAD + "".join(lines)


def trains(plan: Plan) -> dict[str, tuple[Action, str]]:
    return {d.lora: (d.action, d.why) for d in plan.decisions if d.stage is Stage.TRAIN}


def validated(text: str) -> DictRecords:
    records = DictRecords()
    records.run(plan_for(records, text=text))
    return records


def test_the_seed_matrix_is_81_configurations_and_21_trainings():
    config = load_config((HEAD + SEED).encode())
    (told,) = sharing_of(config, facts_of(config))
    assert (told.of, told.configurations, told.trainings, told.apart) == ("mei", 81, 21, None)
    assert [(s.rule, s.trainings) for s in told.saved] == [
        ("Prodigy finds its own learning rate", 18),
        (CONTINUES, 42),
    ]
    assert len(variants_of(config)) == 81


def test_with_a_schedule_that_looks_at_the_budget_it_is_63_and_says_why():
    config = load_config((HEAD + SEED.replace("constant", "cosine")).encode())
    (told,) = sharing_of(config, facts_of(config))
    assert (told.trainings, told.apart) == (63, "the schedule `cosine` depends on the budget")


def test_what_only_measuring_sees_is_trained_once():
    text = HEAD + "  mei:\n    matrix: {qa.weight: [0.8, 1.0], train.rank: [8, 16]}\n"
    config = load_config(text.encode())
    (told,) = sharing_of(config, facts_of(config))
    assert (told.configurations, told.trainings) == (4, 2)
    assert told.saved[0].rule == "configurations that differ in nothing a training sees"


def test_every_step_of_the_seed_matrix_is_made_once_and_no_epoch_twice():
    """Through the real planner: 21 chains of three trainings, 81 verdicts that are 63 apart."""
    records, text = DictRecords(), HEAD + SEED
    rounds = []
    while (plan := plan_for(records, text=text)).to_run():
        runs = [d for d in plan.to_run() if d.stage is Stage.TRAIN]
        rounds.append(len(runs))
        records.run(plan)
    assert [count for count in rounds if count] == [21, 21, 21]
    by_stage = {stage: sum(r.stage is stage for r in records.items) for stage in Stage}
    assert by_stage[Stage.TRAIN] == by_stage[Stage.QA] == 63
    assert by_stage[Stage.VALIDATE] == 1
    assert all(d.action is Action.REUSE for d in plan.decisions)


def test_the_shorter_runs_first_in_whatever_order_they_are_written():
    text = chain("epochs: 20", "epochs: 10", "epochs: 15")
    records = validated(text)
    plan = plan_for(records, text=text)
    assert trains(plan) == {
        "a": (Action.WAIT, "continues train of b, which runs now"),
        "b": (Action.RUN, "first time"),
        "c": (Action.WAIT, "continues train of b, which runs now"),
    }
    assert [d.after for d in plan.decisions if d.stage is Stage.TRAIN] == ["b", None, "b"]
    records.run(plan)
    plan = plan_for(records, text=text)
    assert trains(plan)["c"] == (Action.RUN, "first time; continues train of b")
    assert trains(plan)["a"] == (Action.WAIT, "continues train of c, which runs now")


def test_what_runs_now_continues_nobody_who_waits_for_something_else():
    text = HEAD + (
        "  x: {trigger: x}\n"
        "  a: {trigger: mei, needs: [x], train: {schedule: constant, batch_size: 1, epochs: 10}}\n"
        "  b: {trigger: mei, train: {schedule: constant, batch_size: 1, epochs: 20}}\n"
        "  c: {trigger: mei, train: {schedule: constant, batch_size: 1, epochs: 40}}\n"
    )
    plan = plan_for(validated(text), text=text)
    assert trains(plan)["a"] == (Action.WAIT, "waits for qa of x")
    assert trains(plan)["b"] == (Action.RUN, "first time")
    assert trains(plan)["c"] == (Action.WAIT, "continues train of b, which runs now")
    a, b, c = (plan.of(name)[1].estimate.high for name in "abc")
    assert (b, c) == pytest.approx((2 * a, 2 * a))


def test_budgets_of_every_kind_are_compared_in_steps():
    text = chain("steps: 30", "images_seen: 20", "epochs: 40")  # an epoch has one image
    assert trains(plan_for(validated(text), text=text))["b"][0] is Action.RUN


def test_nothing_waits_where_the_schedule_looks_at_the_budget():
    text = chain("epochs: 20", "epochs: 10", schedule="cosine")
    assert {action for action, _ in trains(plan_for(validated(text), text=text)).values()} == {
        Action.RUN
    }


def test_what_goes_on_costs_its_rest_and_a_twin_costs_nothing():
    text = chain("epochs: 10", "epochs: 10", "epochs: 20", "epochs: 40")
    alone = plan_for(DictRecords(), text=chain("epochs: 40")).of("a")
    for records in (DictRecords(), validated(text)):
        plan = plan_for(records, text=text)
        costs = {d.lora: d.estimate for d in plan.decisions if d.stage is Stage.TRAIN}
        assert costs["b"] is None
        parts = [costs[name].high for name in "acd"]
        assert parts == pytest.approx([alone[1].estimate.high * x for x in (0.25, 0.25, 0.5)])
        whole = sum(d.estimate.high for d in plan.decisions if d.estimate)
        assert plan.estimate.high == pytest.approx(whole)
        qa = {d.lora: d.estimate for d in plan.decisions if d.stage is Stage.QA}
        assert qa["a"]
        assert qa["b"] is None


def test_a_twin_of_one_that_waits_says_so():
    text = chain("epochs: 10", "epochs: 20", "epochs: 20")
    told = trains(plan_for(validated(text), text=text))
    assert told["c"] == (
        Action.WAIT,
        "the same as train of b, which continues train of a, which runs now",
    )


def test_a_training_that_failed_is_continued_by_none():
    text = chain("epochs: 10", "epochs: 20")
    records = validated(text)
    records.run(plan_for(records, text=text), Outcome.FAILED)
    plan = plan_for(records, text=text)
    assert trains(plan)["b"] == (Action.RUN, "first time")
    alone = plan_for(DictRecords(), text=chain("epochs: 20")).of("a")[1]
    assert plan.of("b")[1].estimate == alone.estimate


def test_nobody_waits_for_what_nobody_does():
    text = chain("epochs: 10", "epochs: 20", "epochs: 20")
    records = validated(text)
    told = trains(plan_for(records, text=text, only=frozenset("bc")))
    assert told["b"][0] is Action.RUN
    assert told["c"][1] == "the same as train of b, which runs now"
    assert trains(plan_for(records, text=text, only=frozenset("c")))["c"][0] is Action.RUN


@settings(max_examples=15)
@given(
    budgets=st.lists(
        st.tuples(st.sampled_from(["epochs", "steps", "images_seen"]), st.integers(1, 9)),
        min_size=1,
        max_size=7,
    ),
    wanted=st.sets(st.sampled_from("abcdefg"), min_size=1),
)
def test_whatever_the_budgets_all_are_done_each_once_the_shorter_before_the_longer(budgets, wanted):
    text = chain(*(f"{kind}: {many}" for kind, many in budgets))
    names = "abcdefg"[: len(budgets)]
    only = frozenset(wanted) & frozenset(names) or frozenset(names)
    records, order = DictRecords(), []
    while True:
        plan = plan_for(records, text=text, only=only)
        runs = [d for d in plan.to_run() if d.lora in only]
        if not runs:
            break
        order += [budgets[names.index(d.lora)][1] for d in runs if d.stage is Stage.TRAIN]
        assert sum(d.stage is Stage.TRAIN for d in runs) <= 1
        records.run(Plan(head=plan.head, decisions=tuple(runs), changes=plan.changes))
    assert all(d.action is Action.REUSE for d in plan.decisions if d.lora in only)
    assert order == sorted(order)
    assert len(order) == len({budgets[names.index(name)] for name in only})
