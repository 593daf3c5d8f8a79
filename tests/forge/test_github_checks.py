"""Checks: one for each commit and name, annotations in pieces and never twice."""

from dataclasses import replace

import pytest

from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Button
from lora_ci.report.annotations import Annotation
from tests.github_world import open_world


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        yield world


def notes(count: int, text: str = "wrong") -> tuple[Annotation, ...]:
    return tuple(
        Annotation(file="a.txt", line=n + 1, level="warning", title="r", message=f"{text} {n}")
        for n in range(count)
    )


def test_annotations_go_in_fifties_and_once(world):
    given = (*notes(120), *notes(3))
    for _ in range(2):
        world.forge().publish_check(world.check(annotations=given))
    (run,) = world.repo.checks.values()
    assert len(run.annotations) == 120
    assert world.hub.count("POST") == 1
    assert len([r for r in world.hub.requests if r.method == "PATCH"]) == 3


def test_annotations_that_are_out_of_date_go_with_their_run(world):
    world.forge().publish_check(world.check(annotations=notes(3)))
    for _ in range(2):
        world.forge().publish_check(world.check(annotations=notes(2, "else")))
    old, new = world.repo.checks.values()
    assert (len(old.annotations), len(new.annotations)) == (3, 2)
    assert new.id > old.id


def test_more_annotations_than_anybody_reads_are_left_to_the_report(world):
    forge = world.forge()
    forge.publish_check(world.check(annotations=notes(300)))
    assert len(next(iter(world.repo.checks.values())).annotations) == 250
    assert "50 more annotations" in forge.notes()[0].message


@pytest.mark.parametrize(
    ("outcome", "status", "conclusion"),
    [
        (None, "in_progress", None),
        (Outcome.PASSED, "completed", "success"),
        (Outcome.FAILED, "completed", "failure"),
        (Outcome.INCONCLUSIVE, "completed", "action_required"),
        (Outcome.ERROR, "completed", "failure"),
        (Outcome.INTERRUPTED, "completed", "cancelled"),
    ],
)
def test_only_what_passed_is_a_success(world, outcome, status, conclusion):
    world.forge().publish_check(world.check(outcome=outcome))
    (run,) = world.repo.checks.values()
    assert (run.status, run.conclusion) == (status, conclusion)


def test_what_does_not_change_is_not_written(world):
    forge = world.forge()
    check = world.check(summary="a\n")
    forge.publish_check(check)
    forge.publish_check(check)
    assert [r.method for r in world.hub.requests if r.method != "GET"] == ["POST"]
    forge.publish_check(replace(check, title="else"))
    assert world.hub.requests[-1].method == "PATCH"


def test_the_report_and_the_buttons_are_given(world):
    forge = world.open(report_url="https://example.org/reports/")[0]
    assert forge.publish_report("run-1", "<p>", "{}") == "https://example.org/reports/run-1.html"
    button = Button(id="approve", label="Approve", description="Let it run")
    forge.publish_check(world.check(buttons=(button,)))
    forge.publish_check(world.check(buttons=(button,)))
    (run,) = world.repo.checks.values()
    assert run.details_url == "https://example.org/reports/run-1.html"
    assert [action["identifier"] for action in run.actions] == ["approve"]


def test_the_check_of_another_app_is_left_alone(world):
    theirs = world.client(world.hub.token())
    body = {"name": "lora-ci / mei", "head_sha": world.head, "status": "in_progress"}
    theirs.create("/repos/acme/loras/check-runs", body, dict, look=None)
    world.forge().publish_check(world.check(outcome=Outcome.PASSED))
    assert [run.conclusion for run in world.repo.checks.values()] == [None, "success"]


def test_long_and_hostile_text_is_taken(world):
    text = "<script>@everyone [x](javascript:1) ::add-mask::x\n" * 3000
    note = Annotation(file="ä b.txt", line=1, level="failure", title="t" * 400, message=text[:5000])
    check = world.check(title="t" * 999, summary=text, annotations=(note,))
    for _ in range(2):
        world.forge().publish_check(check)
    (run,) = world.repo.checks.values()
    assert len(run.annotations) == 1
    assert len(run.summary) <= 65_535
