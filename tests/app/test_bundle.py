"""Bundles: what one job knows reaches the job that reports, whole or told."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from lora_ci.app.bundle import PART, adapters_in, read_bundles, write_bundle
from lora_ci.app.commands import Run
from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.event import EventKind
from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.forge.payload import Announced
from lora_ci.store.local import LocalStore
from tests.builders import RepoBuilder
from tests.command import lora_ci
from tests.views import HEAD, blocked_step, deploy_step, make_view, train_step, validate_step

pytestmark = pytest.mark.slow


class Noon:
    def now(self):
        return datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "objects")


def trained(store, tmp_path, lora="mei"):
    """A step that made an adapter."""
    file = tmp_path / f"{lora}.bin"
    file.write_bytes(lora.encode())
    sha256 = store.put(file)
    step = train_step(lora)
    artifact = Artifact(
        name="adapter.safetensors", sha256=sha256, size_bytes=3, media_type="application/x"
    )
    return replace(step, result=StepResult(outcome=Outcome.PASSED, artifacts=(artifact,)))


def planned(*steps):
    """The view of a plan: nothing has a result yet."""
    bare = [replace(step, result=None) for step in steps]
    return replace(make_view(*bare), outcome=None, started_at="2026-01-01T11:59:00+00:00")


def test_what_jobs_did_takes_the_place_of_what_was_planned(store, tmp_path):
    mei, kit = trained(store, tmp_path), trained(store, tmp_path, "kit")
    plan = planned(mei, kit)
    write_bundle(tmp_path / "in" / "plan", plan, (), store, name="p")
    for step in (mei, kit):
        job = replace(make_view(step), outcome=Outcome.PASSED)
        folder = tmp_path / "in" / step.decision.lora
        write_bundle(folder, job, (), store, name=step.decision.lora)
        assert [p.name for p in adapters_in(folder)] == [f"{step.decision.lora}.safetensors"]
    elsewhere = LocalStore(tmp_path / "elsewhere")
    found = read_bundles(tmp_path / "in", elsewhere, Noon()).view
    assert found.outcome is Outcome.PASSED
    assert found.duration_s == 60
    assert [s.result.outcome for s in found.steps] == [Outcome.PASSED] * 2
    assert all(elsewhere.has(s.result.artifacts[0].sha256) for s in found.steps)


def test_of_the_stage_that_is_asked_for_all_is_there(store, tmp_path):
    step = trained(store, tmp_path)
    reused = replace(step, decision=replace(step.decision, action=Action.REUSE))
    sha256 = step.result.artifacts[0].sha256
    for whole in (Stage.QA, Stage.TRAIN):
        folder = tmp_path / whole
        write_bundle(folder, make_view(reused), (), store, name="j", whole=whole)
        assert (folder / "objects" / sha256[:2] / sha256[2:]).exists() == (whole is Stage.TRAIN)


@pytest.mark.parametrize(
    ("cancelled", "outcome"), [(False, Outcome.ERROR), (True, Outcome.INTERRUPTED)]
)
def test_a_job_that_left_nothing_is_no_pass(store, tmp_path, cancelled, outcome):
    step = trained(store, tmp_path)
    assert step.decision.action is Action.RUN
    write_bundle(tmp_path / "in" / "plan", planned(step), (), store, name="p")
    found = read_bundles(tmp_path / "in", store, Noon(), cancelled=cancelled).view
    assert found.outcome is outcome


def test_a_damaged_object_is_told_and_not_taken(store, tmp_path):
    step = trained(store, tmp_path)
    write_bundle(tmp_path / "in" / "plan", planned(step), (), store, name="p")
    write_bundle(tmp_path / "in" / "job", make_view(step), (), store, name="j")
    (object_,) = (tmp_path / "in" / "job" / "objects").glob("*/*")
    object_.write_bytes(b"other")
    elsewhere = LocalStore(tmp_path / "elsewhere")
    found = read_bundles(tmp_path / "in", elsewhere, Noon()).view
    assert [note.rule for note in found.notes] == ["bundle.damaged"]
    assert not elsewhere.has(step.result.artifacts[0].sha256)


def test_without_a_plan_or_with_rubbish_it_says_so(store, tmp_path):
    with pytest.raises(UsageError, match="no bundle of a plan"):
        read_bundles(tmp_path, store, Noon())
    write_bundle(tmp_path / "plan", planned(validate_step()), (), store, name="p")
    (tmp_path / "plan" / PART).write_text("{" * 5000)
    with pytest.raises(InfrastructureError, match="no readable run"):
        read_bundles(tmp_path, store, Noon())


def test_only_stages_that_need_it_have_adapters(store, tmp_path):
    write_bundle(tmp_path / "b", make_view(validate_step()), (), store, name=None)
    assert adapters_in(tmp_path / "b") == ()


def bundle(tmp_path, store, name, view):
    write_bundle(tmp_path / "in" / name, view, (), store, name=name)


def ended(step, outcome, **changes):
    """A job that came to its end."""
    step = replace(step, result=StepResult(outcome=outcome))
    return replace(make_view(step), outcome=outcome, **changes)


def test_the_last_attempt_of_a_job_counts(store, tmp_path):
    step = train_step()
    bundle(tmp_path, store, "plan", planned(step))
    for attempt, outcome in ((9, Outcome.INTERRUPTED), (10, Outcome.PASSED)):
        view = ended(step, outcome, started_at=f"2026-01-01T11:{attempt:02}:00+00:00")
        bundle(tmp_path, store, f"job-{attempt}", view)
    found = read_bundles(tmp_path / "in", store, Noon()).view
    assert found.outcome is Outcome.PASSED


def test_what_is_of_another_commit_passes_nothing(store, tmp_path):
    """A run that is started again looks at the pull request as it is by then."""
    step = train_step()
    bundle(tmp_path, store, "plan", planned(step))
    earlier = ended(step, Outcome.PASSED)
    earlier = replace(earlier, event=replace(earlier.event, head="0" * 40))
    bundle(tmp_path, store, "job", earlier)
    found = read_bundles(tmp_path / "in", store, Noon()).view
    assert found.outcome is Outcome.ERROR
    assert [note.rule for note in found.notes] == ["bundle.foreign"]


def test_what_the_plan_blocked_no_job_can_pass(store, tmp_path):
    step = blocked_step("mei", Stage.TRAIN, "a foreign push gets validation only")
    bundle(tmp_path, store, "plan", planned(step))
    bundle(tmp_path, store, "job", ended(train_step(), Outcome.PASSED))
    assert read_bundles(tmp_path / "in", store, Noon()).view.outcome is Outcome.INCONCLUSIVE


def test_of_two_plans_none_is_taken(store, tmp_path):
    bundle(tmp_path, store, "plan", planned(train_step()))
    bundle(tmp_path, store, "another", planned())
    with pytest.raises(UsageError, match="bundles of 2 plans"):
        read_bundles(tmp_path / "in", store, Noon())


@pytest.mark.parametrize(
    "changes",
    [{"run_id": "../../x"}, {"started_at": "soon"}, {"started_at": "2026-01-01T11:59:00"}],
)
def test_a_run_that_no_lora_ci_writes_is_none(store, tmp_path, changes):
    bundle(tmp_path, store, "plan", replace(planned(train_step()), **changes))
    with pytest.raises(InfrastructureError, match="no readable run"):
        read_bundles(tmp_path / "in", store, Noon())


def test_a_release_comes_whole_whoever_made_its_files(store, tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    sha256 = store.put(file)
    files = [{"name": "mei.safetensors", "sha256": sha256, "size": 7}]
    write_bundle(tmp_path / "b", make_view(deploy_step(files=files)), (), store, name="b")
    assert (tmp_path / "b" / "objects" / sha256[:2] / sha256[2:]).read_bytes() == b"weights"


def test_bundles_of_another_event_than_was_asked_for_are_not_shown(store, tmp_path):
    repo = RepoBuilder(tmp_path / "repo")
    repo.commit()
    view = planned(train_step())
    bundle(tmp_path, store, "plan", view)
    bundle(tmp_path, store, "job", ended(train_step(), Outcome.PASSED))
    asked = tmp_path / "asked.json"
    args = ["report", "--bundles", str(tmp_path / "in"), "--asked", str(asked)]
    forge = repo.root / ".lora-ci" / "forge"
    event = Announced(kind=EventKind.PULL_REQUEST, repo="r", head=HEAD, number=7)
    for changes in (
        {"head": "0" * 40},
        {"number": 8},
        {"kind": EventKind.TAG, "tag": "mei@v1.0.0"},
    ):
        asked.write_bytes(msgspec.json.encode(Run(event=replace(event, **changes))))
        told = lora_ci(repo.root, *args)
        assert told.code == 2
        assert "which nobody asked for" in told.err
        assert not list(forge.glob("checks/*"))
    asked.write_bytes(msgspec.json.encode(Run(event=event)))
    assert lora_ci(repo.root, *args).code == 0
    assert list(forge.glob("checks/*"))
