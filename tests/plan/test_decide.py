"""Decisions: what runs, what is reused, why. Records are those of a real ledger."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.load import load_config
from lora_ci.config.model import Config, Lora
from lora_ci.core.changeset import ChangeSet, DatasetChange, FileEntry
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.plan import Action, Plan
from lora_ci.core.settings import Policy
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.versions import RECIPES
from lora_ci.plan.budget import Budget
from lora_ci.plan.decide import decide
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.simulate import Imagined, imagine
from lora_ci.plan.tags import ReleaseTag, parse_tag
from tests.records import DictRecords

TEXT = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {rank: 8}
  leo:
    dataset: datasets/leo
    base_model: models/sd
"""


def facts_of(config: Config, ids: dict[str, str] | None = None) -> dict[str, LoraFacts]:
    def facts(path: str) -> InputFacts:
        content = (ids or {}).get(path, f"id of {path}")
        entry = FileEntry(path="a.png", content_id="x")
        return InputFacts(path=path, tracked_by="dvc", content_id=content, entries=(entry,))

    def of(lora: Lora) -> LoraFacts:
        (source,) = lora.dataset
        dataset = facts(source.path)
        base_model = facts(str(lora.base_model))
        return LoraFacts(dataset=dataset, base_model=base_model, sources=(dataset,), repeats=(1,))

    return {name: of(lora) for name, lora in config.loras.items()}


def plan_for(
    records,
    text=TEXT,
    ids=None,
    *,
    changes=(),
    files=(),
    compare=None,
    budget=None,
    only=None,
    **event,
) -> Plan:
    config = load_config(text.encode())
    kind = event.pop("kind", EventKind.TAG if event.get("tag") else EventKind.PUSH)
    change_set = ChangeSet(base="b", head="h", datasets=tuple(changes), files=tuple(files))
    return decide(
        config,
        facts_of(config, ids),
        records,
        changes=change_set,
        event=Event(kind=kind, repo="r", head="h", base="b", **event),
        compare=compare or (lambda now, then: None),
        budget=budget or Budget(),
        only=only,
    )


def run_to_the_end(records, **given) -> None:
    while (plan := plan_for(records, **given)).to_run():
        records.run(plan)


def actions(plan: Plan, lora: str = "mei") -> str:
    return " ".join(f"{d.stage}:{d.action}" for d in plan.of(lora))


def test_the_first_time_runs_validation_and_the_rest_waits():
    plan = plan_for(DictRecords())
    assert actions(plan) == "validate:run train:wait qa:wait optimize:wait"
    assert plan.of("mei")[0].why == "first time"
    assert plan.of("mei")[1].why == "waits for validate"


def test_stage_by_stage_until_nothing_is_left():
    records = DictRecords()
    rounds = 0
    while (plan := plan_for(records)).to_run():
        records.run(plan)
        rounds += 1
    assert rounds == 4
    assert actions(plan) == "validate:reuse train:reuse qa:reuse optimize:reuse"
    assert "same fingerprint as in run run-0 at 3f2a1c9" in plan.of("mei")[0].why


def test_a_changed_dataset_runs_only_its_lora_and_says_what_changed():
    records = DictRecords()
    run_to_the_end(records)
    change = DatasetChange(dataset="datasets/mei", total=140, modified=("a.txt", "b.txt"))
    plan = plan_for(records, ids={"datasets/mei": "new"}, changes=[change])
    assert actions(plan, "leo").count("reuse") == 4
    assert plan.of("mei")[0].why == "dataset: 2 captions edited, of 140 files"


def test_a_changed_setting_is_named():
    records = DictRecords()
    run_to_the_end(records)
    plan = plan_for(records, text=TEXT.replace("rank: 8", "rank: 16"))
    assert actions(plan) == "validate:reuse train:run qa:wait optimize:wait"
    assert plan.of("mei")[1].why == "config: train.rank 8 → 16 (default)"
    plan = plan_for(records, text=TEXT.replace("rank: 8", "rank: 32"))
    assert plan.of("mei")[1].why == "config: train.rank 8 → 32"


def test_comments_key_order_and_going_back_cost_nothing():
    records = DictRecords()
    run_to_the_end(records)
    run_to_the_end(records, ids={"datasets/mei": "new"})
    other = TEXT.replace(
        "    dataset: datasets/mei\n    base_model: models/sd\n",
        "    base_model: models/sd # the same\n    dataset: datasets/mei\n",
    )
    assert not plan_for(records, text=other).to_run()


def test_a_failed_result_is_kept_and_blocks_what_follows():
    records = DictRecords()
    records.run(plan_for(records), Outcome.FAILED)
    plan = plan_for(records)
    assert actions(plan) == "validate:reuse train:blocked qa:blocked optimize:blocked"
    assert plan.of("mei")[1].why == "validate failed in run run-0"
    assert not plan.to_run()


def test_an_untrusted_push_is_only_validated():
    records = DictRecords()
    records.run(plan_for(records, trust=Trust.UNTRUSTED))
    plan = plan_for(records, trust=Trust.UNTRUSTED)
    assert actions(plan) == "validate:reuse train:blocked qa:blocked optimize:blocked"


def test_a_tag_deploys_the_tested_adapter_and_nothing_else():
    records = DictRecords()
    run_to_the_end(records)
    plan = plan_for(records, tag="mei@v1.0.0")
    assert [d.stage for d in plan.to_run()] == [Stage.DEPLOY]
    assert not plan.of("leo")
    records.run(plan)
    assert not plan_for(records, tag="mei@v1.0.0").to_run()


def test_a_tag_without_a_passed_verdict_is_blocked():
    records = DictRecords()
    for _ in range(2):
        records.run(plan_for(records))
    records.run(plan_for(records), Outcome.FAILED)
    deploy = plan_for(records, tag="mei@v1.0.0").of("mei")[-1]
    assert (deploy.stage, deploy.action) == (Stage.DEPLOY, Action.BLOCKED)
    assert deploy.why.startswith("qa failed in run")


def test_a_release_becomes_what_the_next_adapter_is_compared_with():
    records = DictRecords()
    run_to_the_end(records)
    run_to_the_end(records, tag="mei@v1.0.0")
    assert not plan_for(records).to_run(), "the released adapter itself is not judged again"
    changed = {"datasets/mei": "new"}
    for _ in range(2):
        records.run(plan_for(records, ids=changed))
    qa = plan_for(records, ids=changed).of("mei")[2]
    released = records.passed("mei", Stage.DEPLOY)[0].parts["adapter"]
    assert qa.fingerprint.parts["released"] == released


@pytest.mark.parametrize(
    "tag", ["mei", "mei@1.0.0", "mei@v1.0", "nobody@v1.0.0", "mei@v01.0.0", "mei#", "mei#a b", "#x"]
)
def test_other_tags_release_nothing(tag):
    plan = plan_for(DictRecords(), tag=tag)
    assert not plan.decisions
    assert "names no LoRA of the config" in plan.findings[0].message


def test_a_channel_tag_moves_the_channel_to_the_release_of_its_commit():
    records = DictRecords()
    run_to_the_end(records)
    deploy = plan_for(records, tag="mei#prod").of("mei")[-1]
    assert (deploy.action, deploy.why.partition(";")[0]) == (
        Action.BLOCKED,
        "the adapter of this commit was not released",
    )
    run_to_the_end(records, tag="mei@v1.0.0")
    deploy = plan_for(records, tag="mei#prod#2").of("mei")[-1]
    assert deploy.action is Action.RUN
    assert deploy.fingerprint.parts["version"] == "1.0.0"
    assert deploy.fingerprint.parts["channels"] == "prod"


def test_a_lora_that_is_never_released_blocks_its_tag():
    records, text = DictRecords(), TEXT.replace("train: {rank: 8}", "deploy: {on: never}")
    run_to_the_end(records, text=text)
    deploy = plan_for(records, text=text, tag="mei@v1.0.0").of("mei")[-1]
    assert deploy.action is Action.BLOCKED
    assert "`deploy.on` is never" in deploy.why


@given(st.text(max_size=40) | st.from_regex(r"[a-z]{1,3}[@#]v?[0-9a-z.#-]{0,8}", fullmatch=True))
def test_any_text_is_a_tag_or_none(text):
    tag = parse_tag(text)
    if isinstance(tag, ReleaseTag):
        assert f"{tag.lora}@v{tag.version}" == text
    elif tag:
        assert text.startswith(f"{tag.lora}#{tag.channel}")


CONFIG = load_config(TEXT.encode())


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["rank", "data", "back", "tag"]), max_size=6))
def test_whatever_the_history_the_same_tree_is_done_once(pushes):
    """However a repository came to a tree, what was done for that tree is not done again."""
    records, ids, text = DictRecords(), {}, TEXT
    run_to_the_end(records)
    for number, push in enumerate(pushes):
        if push == "rank":
            text = TEXT.replace("rank: 8", f"rank: {9 + number}")
        elif push == "data":
            ids = {"datasets/mei": f"data {number}"}
        elif push == "back":
            ids, text = {}, TEXT
        run_to_the_end(records, text=text, ids=ids)
        assert not plan_for(records, text=text, ids=ids).to_run()
    done = [r.fingerprint for r in records.items]
    assert len(done) == len(set(done))


NEEDS = TEXT + "    needs: [mei]\n"


def test_a_lora_waits_for_what_it_needs_and_is_blocked_with_it():
    records = DictRecords()
    records.run(plan_for(records, text=NEEDS))
    plan = plan_for(records, text=NEEDS)
    assert [d.lora for d in plan.to_run()] == ["mei"]
    assert plan.of("leo")[1].why == "waits for qa of mei"
    records.run(plan)
    records.run(plan_for(records, text=NEEDS), Outcome.FAILED)
    blocked = plan_for(records, text=NEEDS).of("leo")[1]
    assert (blocked.action, blocked.why) == (
        Action.BLOCKED,
        f"needs mei: qa failed in run {records.items[-1].run_id}",
    )


def test_what_a_lora_needs_does_not_enter_its_fingerprint():
    records = DictRecords()
    run_to_the_end(records)
    assert not plan_for(records, text=NEEDS).to_run()


TWINS = """\
version: 1
defaults: {dataset: datasets/mei, base_model: models/sd, trigger: mei}
loras: {a: {}, b: {}}
"""


def test_two_loras_that_are_the_same_are_done_once():
    records = DictRecords()
    run_to_the_end(records, text=TWINS)
    assert len(records.items) == 4
    assert {r.lora for r in records.items} == {"a"}
    assert actions(plan_for(records, text=TWINS), "b").count("reuse") == 4


@pytest.mark.parametrize(
    ("message", "skipped"),
    [("Fix [skip lora-ci]", True), ("[LORA-CI SKIP]\n\nmore", True), ("skip lora-ci", False)],
)
def test_a_push_can_ask_not_to_be_looked_at(message, skipped):
    plan = plan_for(DictRecords(), message=message)
    assert bool(plan.skipped) == skipped
    assert bool(plan.decisions) != skipped
    assert plan_for(DictRecords(), kind=EventKind.MANUAL, message=message).decisions


@pytest.mark.parametrize(
    ("paths", "file", "looked_at"),
    [
        ("[datasets/**]", "datasets/mei.dvc", True),
        ("[datasets/**]", "src/datasets/mei.dvc", False),
        ("['**/*.dvc']", "mei.dvc", True),
        ("['*.dvc']", "datasets/mei.dvc", False),
        ("['data?/x']", "data1/x", True),
        ("['data?/x']", "data//x", False),
    ],
)
def test_paths_say_which_pushes_are_looked_at(paths, file, looked_at):
    plan = plan_for(DictRecords(), text=f"{TEXT}paths: {paths}\n", files=[file])
    assert bool(plan.decisions) == looked_at
    assert plan_for(DictRecords(), text=f"{TEXT}paths: {paths}\n", tag="mei@v1.0.0").decisions


def test_over_budget_waits_for_an_approval_and_validation_goes_on():
    given = {"text": TEXT + "policy: {approvers: [ann]}\n", "budget": Budget(per_run=0.01)}
    plan = plan_for(DictRecords(), **given)
    assert actions(plan) == "validate:run train:blocked qa:blocked optimize:blocked"
    assert plan.of("mei")[1].why.startswith("over budget: about ")
    assert (
        plan_for(DictRecords(), approvals=("bob",), **given).of("mei")[1].action is Action.BLOCKED
    )
    assert plan_for(DictRecords(), approvals=("ann",), **given).of("mei")[1].action is Action.WAIT


def test_a_plan_says_whether_an_approval_would_help():
    foreign = {"trust": Trust.UNTRUSTED}
    assert plan_for(DictRecords(), **foreign).awaits_approval
    assert not plan_for(DictRecords(), approvals=("ann",), **foreign).awaits_approval
    never = TEXT + "policy: {forks: validate}\n"
    assert not plan_for(DictRecords(), never, **foreign).awaits_approval
    assert plan_for(DictRecords(), budget=Budget(per_run=0.01)).awaits_approval
    assert not plan_for(DictRecords()).awaits_approval


def test_a_plan_says_what_a_tag_could_release():
    withheld = TEXT + "    deploy: {on: never}\n"
    assert plan_for(DictRecords(), withheld).releasable == ("mei",)
    assert plan_for(DictRecords(), TEXT + "policy: {licenses: [MIT]}\n").releasable == ()


def test_what_is_reused_costs_nothing_and_no_budget_stops_it():
    records = DictRecords()
    run_to_the_end(records)
    plan = plan_for(records, budget=Budget(per_run=0.0, left_of_month=0.0))
    assert plan.estimate is None
    assert actions(plan).count("reuse") == 4


def test_estimates_narrow_as_records_come_in():
    records = DictRecords(took_s=3600)
    guess = plan_for(records).estimate
    assert "guess" in guess.basis
    run_to_the_end(records)
    changed = {"datasets/mei": "new"}
    one = plan_for(records, ids=changed).of("mei")[1].estimate
    assert one.basis == "1 past train step of mei"
    assert one.low < 1.0 < one.high
    run_to_the_end(records, ids=changed)
    two = plan_for(records, ids={"datasets/mei": "newer"}).of("mei")[1].estimate
    assert two.basis == "2 past train steps of mei"
    assert (two.high - two.low) < (one.high - one.low)


def test_a_lora_without_a_past_learns_from_the_others():
    records = DictRecords(took_s=3600)
    run_to_the_end(records, text=TEXT.partition("  leo:")[0])
    assert plan_for(records).of("leo")[1].estimate.basis == "past train steps of other LoRAs"


@pytest.mark.parametrize(
    ("policy", "event", "expected"),
    [
        ("{}", {"trust": Trust.UNTRUSTED}, "run blocked"),
        ("{}", {"trust": Trust.UNTRUSTED, "approvals": ("ann",)}, "run wait"),
        ("{}", {"trust": Trust.UNTRUSTED, "approvals": ("eve",), "actor": "eve"}, "run blocked"),
        ("{forks: validate}", {"trust": Trust.UNTRUSTED, "approvals": ("ann",)}, "run blocked"),
        ("{forks: nothing}", {"trust": Trust.UNTRUSTED}, "blocked blocked"),
        ("{approvers: [bob]}", {"trust": Trust.UNTRUSTED, "approvals": ("ann",)}, "run blocked"),
        (
            "{approvers: [bob]}",
            {"trust": Trust.UNTRUSTED, "approvals": ("ann", "bob", "eve")},
            "run wait",
        ),
        ("{required_checks: [lint]}", {}, "run blocked"),
        ("{required_checks: [lint]}", {"passed_checks": ("lint",)}, "run wait"),
    ],
)
def test_trust_decides_what_may_run(policy, event, expected):
    plan = plan_for(DictRecords(), text=f"{TEXT}policy: {policy}\n", **event)
    assert " ".join(str(d.action) for d in plan.of("mei")[:2]) == expected


def test_other_checks_must_have_passed_before_anything_trains():
    records, text = DictRecords(), f"{TEXT}policy: {{required_checks: [lint, test]}}\n"
    records.run(plan_for(records, text=text))
    train = plan_for(records, text=text, passed_checks=("lint",)).of("mei")[1]
    assert (train.action, train.why) == (Action.BLOCKED, "waits for other checks to pass: `test`")
    assert plan_for(records, text=text, passed_checks=("lint", "test")).of("mei")[1].action == "run"
    assert plan_for(records, text=text, kind=EventKind.MANUAL).of("mei")[1].action == "run"


def test_a_new_fingerprint_recipe_is_told_as_the_reason(monkeypatch):
    records = DictRecords()
    run_to_the_end(records)
    monkeypatch.setitem(RECIPES, Stage.TRAIN, 3)
    plan = plan_for(records)
    assert actions(plan) == "validate:reuse train:run qa:wait optimize:wait"
    assert plan.of("mei")[1].why.startswith("fingerprint recipe 2 → 3")


def test_the_dataset_is_compared_with_the_one_that_was_trained_on():
    """The base commit may be another one than that of the record."""
    records = DictRecords()
    run_to_the_end(records)
    asked = []

    def compare(now, then):
        asked.append((now.content_id, then))
        return DatasetChange(dataset=now.path, total=9, added=("x.png",), modified=("y.txt",))

    plan = plan_for(records, ids={"datasets/mei": "new"}, compare=compare)
    assert ("new", "id of datasets/mei") in asked
    assert plan.of("mei")[0].why == "dataset: 1 image added, 1 caption edited, of 9 files"


def test_a_simulation_tells_every_step_that_would_run_and_keeps_nothing():
    real = DictRecords()
    run_to_the_end(real)
    kept = len(real.items)
    text = TEXT.replace("rank: 8", "rank: 4")
    plan = imagine(lambda known: plan_for(known, text=text), Imagined(real))
    assert actions(plan) == "validate:reuse train:run qa:run optimize:run"
    assert plan.of("mei")[2].why == "a new adapter"
    assert len(real.items) == kept


FOREIGN = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {backend: command, command: [train, "{config}"]}
"""


def test_a_program_that_the_config_names_needs_the_policys_leave():
    records = DictRecords()
    records.run(plan_for(records, FOREIGN))
    blocked = plan_for(records, FOREIGN).of("mei")[1]
    assert blocked.action is Action.BLOCKED
    assert "`policy.commands`" in blocked.why
    allowed = plan_for(records, FOREIGN + "policy: {commands: true}\n")
    assert "train:run" in actions(allowed)


def test_a_program_that_scans_the_dataset_needs_the_policys_leave_too():
    text = TEXT.replace("train: {", 'validate: {content: "exec:python x.py"}\n    train: {')
    assert text != TEXT
    first = plan_for(DictRecords(), text).of("mei")[0]
    assert (first.stage, first.action) == (Stage.VALIDATE, Action.BLOCKED)
    assert "`validate.content: exec:`" in first.why
    for allowed in (
        text + "policy: {commands: true}\n",
        text.replace("exec:python x.py", "onnx:m"),
    ):
        assert "validate:run" in actions(plan_for(DictRecords(), allowed))
    off = text.replace('{content: "', '{content_policy: "off", content: "')
    assert "validate:run" in actions(plan_for(DictRecords(), off))


@pytest.mark.parametrize(
    ("qa", "named"),
    [
        ('{embedder: "exec:python /opt/embed.py"}', "`qa.embedder: exec:`"),
        ('{embedder: "torchscript:models/e.pt"}', "`qa.embedder: torchscript:`"),
        ('{safety: "exec:python /opt/scan.py"}', "`qa.safety: exec:`"),
        ('{embedder: "onnx:models/e.onnx"}', None),
        ('{safety: "exec:python /opt/scan.py", skip: [safety]}', None),
    ],
)
def test_a_program_that_measures_needs_the_policys_leave_too(qa, named):
    """A TorchScript file is a program; an ONNX file is not."""
    text = TEXT.replace("train: {", f"qa: {qa}\n    train: {{")
    assert qa in text
    records = DictRecords()
    for _ in range(2):
        records.run(plan_for(records, text))
    judged = plan_for(records, text).of("mei")[2]
    assert judged.stage is Stage.QA
    assert (judged.action is Action.BLOCKED) == (named is not None)
    assert named is None or named in judged.why
    assert "qa:run" in actions(plan_for(records, text + "policy: {commands: true}\n"))


def test_a_license_that_the_policy_does_not_know_is_not_released():
    """The loader compares with the push's own policy; the default branch's may be another."""
    records = DictRecords()
    run_to_the_end(records)
    config = replace(CONFIG, policy=Policy(licenses=("MIT",)))
    event = Event(kind=EventKind.TAG, repo="r", head="h", tag="mei@v1.0.0")
    changes = ChangeSet(base="b", head="h")
    plan = decide(config, facts_of(config), records, changes=changes, event=event)
    assert plan.of("mei")[-1].why == "license none is not among `policy.licenses`"
