"""Before a change: the record of the dataset as it was at the compared commit, with real git."""

from dataclasses import replace

import pytest

from lora_ci.app.earlier import with_earlier
from lora_ci.app.git_source import open_git_source
from lora_ci.app.plan_event import plan_event
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Record
from lora_ci.core.run import Earlier, RunView, StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from tests.builders import RepoBuilder
from tests.records import DictRecords

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: {hub: org/model, revision: %s}
    train: {rank: %d}
"""
WAS = StepResult(
    outcome=Outcome.FAILED,
    metrics={"images": 5.0, "errors": 1.0},
    details={"statistics": {"rules": {"image.blank": 1}}},
)


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    repo = RepoBuilder(tmp_path / "work")
    repo.write(".lora-ci.yml", CONFIG % ("a" * 40, 4))
    repo.dvc_add("datasets/mei", {f"{i}.png": bytes([i]) for i in range(5)})
    repo.commit()
    return repo


def planned(repo: RepoBuilder, base: str | None) -> RunView:
    """A run whose validation passed."""
    head = repo.git("rev-parse", "HEAD")
    event = Event(kind=EventKind.PULL_REQUEST, repo="r", head=head, base=base, number=7)
    plan, _ = plan_event(event, open_git_source(repo.root), DictRecords(), SystemClock())
    (decision,) = (d for d in plan.decisions if d.stage is Stage.VALIDATE)
    step = StepView(decision=decision, result=StepResult(outcome=Outcome.PASSED))
    return RunView(
        run_id="r", event=event, plan=plan, steps=(step,), started_at="", duration_s=1.0,
        outcome=Outcome.PASSED,
    )  # fmt: skip


def recorded(view: RunView) -> DictRecords:
    made = view.steps[0].decision.fingerprint
    assert made
    record = Record(
        fingerprint=made.value, stage=Stage.VALIDATE, lora="mei", parts=dict(made.parts),
        result=WAS, run_id="before", commit="b" * 40, finished_at="2026",
    )  # fmt: skip
    return DictRecords([record])


def test_what_the_dataset_was_is_found_by_its_content(repo):
    before = planned(repo, None)
    base = repo.commit("nothing of it")
    repo.dvc_add("datasets/mei", {f"{i}.png": bytes([i]) for i in range(7)})
    repo.commit()
    view, source = planned(repo, base), open_git_source(repo.root)
    found = with_earlier(view, source, recorded(before))
    assert found.earlier == (Earlier(lora="mei", metrics=WAS.metrics, rules={"image.blank": 1}),)
    assert with_earlier(view, source, DictRecords()).earlier == ()
    for outcome in (None, Outcome.INTERRUPTED):
        unended = replace(view, outcome=outcome)
        assert with_earlier(unended, source, recorded(before)) == unended


def test_where_no_data_changed_nothing_is_looked_for(repo):
    before = planned(repo, None)
    base = repo.git("rev-parse", "HEAD")
    repo.write(".lora-ci.yml", CONFIG % ("a" * 40, 8))
    repo.commit()
    view = planned(repo, base)
    assert with_earlier(view, open_git_source(repo.root), recorded(before)) == view


def test_a_base_that_cannot_be_read_hinders_nothing(repo):
    repo.git("rm", "-q", ".lora-ci.yml")
    base = repo.commit("no config")
    repo.write(".lora-ci.yml", CONFIG % ("a" * 40, 4))
    repo.dvc_add("datasets/mei", {f"{i}.png": bytes([i]) for i in range(7)})
    repo.commit()
    view = planned(repo, base)
    assert with_earlier(view, open_git_source(repo.root), DictRecords()) == view
