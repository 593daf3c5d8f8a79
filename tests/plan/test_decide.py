"""Decisions: what runs, what is reused, why. Records are those of a real ledger."""

from dataclasses import dataclass, field, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.load import load_config
from lora_ci.config.model import Config
from lora_ci.core.artifact import Artifact
from lora_ci.core.changeset import ChangeSet, DatasetChange, FileEntry
from lora_ci.core.digest import sha256_json
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.plan import Action, Plan, Record
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.plan.decide import decide
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import train_fingerprint, validate_fingerprint
from lora_ci.plan.tags import parse_tag

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


@dataclass
class DictRecords:
    """Records in memory, newest last."""

    items: list[Record] = field(default_factory=list)

    def find(self, fingerprint: str) -> Record | None:
        return next((r for r in self.items if r.fingerprint == fingerprint), None)

    def passed(self, lora: str, stage: Stage) -> tuple[Record, ...]:
        mine = [r for r in self.items if (r.lora, r.stage) == (lora, stage)]
        return tuple(r for r in reversed(mine) if r.result.outcome is Outcome.PASSED)

    def run(self, plan: Plan, outcome: Outcome = Outcome.PASSED) -> None:
        """Does what the plan says, in no time."""
        for decision in plan.to_run():
            made = sha256_json(decision.fingerprint.parts)
            artifact = Artifact(
                name="adapter.safetensors", sha256=made, size_bytes=1, media_type="x/y"
            )
            self.items.append(
                Record(
                    fingerprint=decision.fingerprint.value,
                    stage=decision.stage,
                    lora=decision.lora,
                    parts=dict(decision.fingerprint.parts),
                    result=StepResult(outcome=outcome, artifacts=(artifact,)),
                    run_id=f"run-{len(self.items)}",
                    commit="3f2a1c9" + "0" * 33,
                    finished_at=f"{len(self.items):09d}",
                )
            )


def facts_of(config: Config, ids: dict[str, str] | None = None) -> dict[str, LoraFacts]:
    def facts(path: str) -> InputFacts:
        content = (ids or {}).get(path, f"id of {path}")
        entry = FileEntry(path="a.png", content_id="x")
        return InputFacts(path=path, tracked_by="dvc", content_id=content, entries=(entry,))

    return {
        name: LoraFacts(dataset=facts(lora.dataset), base_model=facts(lora.base_model))
        for name, lora in config.loras.items()
    }


def plan_for(records, text=TEXT, ids=None, *, changes=(), **event) -> Plan:
    config = load_config(text.encode())
    kind = EventKind.TAG if event.get("tag") else EventKind.PUSH
    change_set = ChangeSet(base="b", head="h", datasets=tuple(changes))
    return decide(
        config,
        facts_of(config, ids),
        records,
        changes=change_set,
        event=Event(kind=kind, repo="r", head="h", **event),
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
    assert plan.of("mei")[0].why == "dataset: 2 modified of 140 files"


def test_a_changed_setting_is_named():
    records = DictRecords()
    run_to_the_end(records)
    plan = plan_for(records, text=TEXT.replace("rank: 8", "rank: 16"))
    assert actions(plan) == "validate:reuse train:run qa:wait optimize:wait"
    assert plan.of("mei")[1].why == "config: train.rank changed"


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


@pytest.mark.parametrize("tag", ["mei", "mei@1.0.0", "mei@v1.0", "nobody@v1.0.0", "mei@v01.0.0"])
def test_other_tags_release_nothing(tag):
    plan = plan_for(DictRecords(), tag=tag)
    assert not plan.decisions
    assert "names no LoRA and version" in plan.findings[0].message


@given(st.text(max_size=40))
def test_any_text_is_a_tag_or_none(text):
    tag = parse_tag(text)
    assert tag is None or f"{tag.lora}@v{tag.version}" == text


CONFIG = load_config(TEXT.encode())
LORA, FACTS = CONFIG.loras["mei"], facts_of(CONFIG)["mei"]
OTHER = {int: 63, float: 0.123, bool: True, str: "x", type(None): 1.5, tuple: ("x",), dict: {}}


@pytest.mark.parametrize("name", [f.name for f in fields(LORA.train)])
def test_every_train_setting_moves_training_and_not_validation(name):
    old = getattr(LORA.train, name)
    changed = replace(LORA, train=replace(LORA.train, **{name: _other(old)}))
    assert train_fingerprint(changed, FACTS) != train_fingerprint(LORA, FACTS)
    assert validate_fingerprint(changed, FACTS) == validate_fingerprint(LORA, FACTS)


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    return {int: 63, float: 0.123, str: "other"}[type(value)]


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
