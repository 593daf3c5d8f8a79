"""Shares of a plan: nothing is done twice, nothing is left out, whatever needs whatever."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.step import Stage
from lora_ci.plan.split import Share, split
from tests.plan.test_decide import plan_for
from tests.plan.test_sharing import HEAD, SEED, validated
from tests.records import DictRecords

NAMES = ("a", "b", "c", "d", "e", "f")


def decision(lora, action=Action.RUN, stage=Stage.TRAIN, work=None):
    parts = {"of": work or f"{lora} {stage}"}
    fingerprint = make_fingerprint(stage, parts) if action is Action.RUN else None
    return Decision(lora=lora, stage=stage, action=action, why="", fingerprint=fingerprint)


def plan(*decisions):
    return Plan(head="0" * 40, decisions=decisions, changes=ChangeSet(base=None, head="0" * 40))


def test_each_lora_is_a_share_and_what_has_nothing_to_run_is_none():
    shares = split(plan(decision("a"), decision("b", Action.REUSE), decision("c")), {})
    assert shares == (Share(loras=("a",), gpu=True), Share(loras=("c",), gpu=True))


def test_validation_alone_needs_no_gpu_but_what_waits_for_it_does():
    blocked = decision("fork", Action.BLOCKED)
    waits = decision("own", Action.WAIT)
    first = [decision(name, stage=Stage.VALIDATE) for name in ("fork", "own")]
    assert [(s.loras, s.gpu) for s in split(plan(*first, blocked, waits), {})] == [
        (("fork",), False),
        (("own",), True),
    ]


def test_those_that_need_each_other_or_do_the_same_work_are_together():
    decisions = [decision(name) for name in ("a", "b", "c")]
    same = [decision("d", work="same"), decision("e", work="same")]
    shares = split(plan(*decisions, *same), {"a": (), "c": ("a",)})
    assert [share.loras for share in shares] == [("a", "c"), ("b",), ("d", "e")]


def test_what_waits_for_another_s_step_goes_where_that_is_done():
    longer = replace(decision("b", Action.WAIT), after="a")
    shares = split(plan(decision("a"), longer, decision("c"), decision("d", Action.WAIT)), {})
    assert [share.loras for share in shares] == [("a", "b"), ("c",)]


def test_a_matrix_goes_to_as_many_machines_as_it_has_trainings_from_its_first_push_on():
    text = HEAD + SEED
    needs = dict.fromkeys(load_config(text.encode()).loras, ())
    for records in (DictRecords(), validated(text)):
        shares = split(plan_for(records, text=text), needs)
        assert len(shares) == 21
        assert sorted(len(share.loras) for share in shares) == [3] * 18 + [9] * 3
        assert all(share.gpu for share in shares)


def test_those_that_only_validate_the_same_are_apart():
    first = decision("a", stage=Stage.VALIDATE)
    second = replace(decision("b", Action.WAIT, stage=Stage.VALIDATE), after="a")
    trains = [decision(name, Action.WAIT) for name in "ab"]
    assert [s.loras for s in split(plan(first, trains[0], second, trains[1]), {})] == [
        ("a",),
        ("b",),
    ]


def test_what_waits_for_a_verdict_goes_where_that_is_made():
    plan_ = plan(decision("mei"), decision("leo", Action.WAIT))
    assert [share.loras for share in split(plan_, {"leo": ("mei",)})] == [("mei", "leo")]


@given(
    works=st.lists(st.sampled_from("uvwxyz"), min_size=6, max_size=6),
    busy=st.sets(st.sampled_from(NAMES)),
    needs=st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES))),
    most=st.integers(1, 7),
)
def test_shares_are_a_partition_that_keeps_together_what_belongs_together(works, busy, needs, most):
    decisions = [
        decision(name, Action.RUN if name in busy else Action.REUSE, work=work)
        for name, work in zip(NAMES, works, strict=True)
    ]
    shares = split(plan(*decisions), needs, most)
    assert len(shares) <= most
    dealt = [lora for share in shares for lora in share.loras]
    assert sorted(dealt) == sorted(busy)
    where = {lora: at for at, share in enumerate(shares) for lora in share.loras}
    for one, work in zip(NAMES, works, strict=True):
        for other in needs.get(one, ()):
            if {one, other} <= busy:
                assert where[one] == where[other]
        for other, its in zip(NAMES, works, strict=True):
            if work == its and {one, other} <= busy:
                assert where[one] == where[other]
