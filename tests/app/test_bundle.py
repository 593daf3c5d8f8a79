"""Bundles: what one job knows reaches the job that reports, whole or told."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lora_ci.app.bundle import PART, adapters_in, read_bundles, write_bundle
from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, StepResult
from lora_ci.store.local import LocalStore
from tests.views import make_view, train_step, validate_step


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
