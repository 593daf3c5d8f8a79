"""Publishing shows a run wherever the forge shows things, and never changes or fails it."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lora_ci.app import previews
from lora_ci.app.announce import publish_refusal, publish_running
from lora_ci.app.git_source import open_git_source
from lora_ci.app.publish import publish
from lora_ci.app.wiring import open_deps
from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.event import EventKind
from lora_ci.core.step import Stage
from lora_ci.forge.forge import PullRequest
from lora_ci.forge.payload import Announced
from lora_ci.report.samples import MOST_COLUMNS
from tests.builders import RepoBuilder
from tests.views import (
    PICTURES,
    blocked_step,
    deploy_step,
    exhibits,
    make_view,
    optimize_step,
    qa_details,
    qa_step,
    train_step,
    validate_step,
)

FACES = sorted((PICTURES / "mochi").glob("*.png"))


@pytest.fixture
def deps(tmp_path):
    repo = RepoBuilder(tmp_path)
    repo.commit()
    return open_deps(open_git_source(repo.root))


def keep(deps, *paths: Path) -> dict[str, bytes]:
    for path in paths:
        deps.store.put(path)
    return {path.name: path.read_bytes() for path in paths}


def judged(deps, pictures: int = 4):
    labels = exhibits(["mochi, cat face"], 1)[:pictures]
    keep(deps, *FACES)
    files = {label["artifact"]: FACES[i].read_bytes() for i, label in enumerate(labels)}
    return qa_step(details=qa_details(labels), files=files | {"grid.png": FACES[-1].read_bytes()})


def test_comment_page_and_checks_show_the_same_run(deps):
    chain = (validate_step(errors=3), train_step(), judged(deps), optimize_step())
    view = make_view(*chain, validate_step("leo"))
    done = publish(view, deps)
    assert done.notes == ()
    forge = deps.state / "forge"
    page = (forge / "reports" / f"{view.run_id}.html").read_text()
    assert done.address == (forge / "reports" / f"{view.run_id}.html").as_uri()
    assert page.count("<img") == 4
    comment = forge / "pulls" / "7" / "comment.md"
    (link,) = re.findall(r'<img src="([^"]+)"', comment.read_text())
    assert (comment.parent / link).resolve().read_bytes() == FACES[-1].read_bytes()
    checks = {
        body["name"]: body
        for path in (forge / "checks" / view.event.head).iterdir()
        for body in [json.loads(path.read_text())]
    }
    assert {name: body["outcome"] for name, body in checks.items()} == {
        "lora-ci": "failed",
        "lora-ci / mei": "failed",
        "lora-ci / leo": "passed",
    }
    levels = [a["level"] for a in checks["lora-ci / mei"]["annotations"]]
    assert levels == ["failure"] * 3 + ["warning"]


def released(deps, tmp_path, *files):
    """A run that released an adapter, and what else is named."""
    weights, card = tmp_path / "adapter.safetensors", tmp_path / "README.md"
    weights.write_bytes(b"weights")
    card.write_text("card")
    sha256 = deps.store.put(weights)
    known = {"name": "adapter.safetensors", "sha256": sha256, "size": 7}
    kept = Artifact(
        name="README.md", sha256=deps.store.put(card), size_bytes=4, media_type="text/markdown"
    )
    step = deploy_step(files=[known, *files])
    step = replace(step, result=replace(step.result, artifacts=(kept,)))
    return make_view(step, tag="mei@v1.1.0")


def test_a_tagged_run_makes_a_release_with_its_files(deps, tmp_path):
    view = released(deps, tmp_path)
    assert publish(view, deps).notes == ()
    place = deps.state / "forge" / "releases" / "mei@v1.1.0"
    names = sorted(p.name for p in (place / "files").iterdir())
    assert names == ["README.md", "adapter.safetensors"]
    assert "adapter.safetensors" in (place / "notes.md").read_text()
    assert not (deps.state / "forge" / "pulls").exists()


def test_a_release_without_one_of_its_files_is_not_published(deps, tmp_path):
    lost = {"name": "mei-kohya.safetensors", "sha256": "0" * 64, "size": 9}
    (note,) = publish(released(deps, tmp_path, lost), deps).notes
    assert "not in the store of this machine: mei-kohya.safetensors" in note.message
    assert not (deps.state / "forge" / "releases").exists()


def test_a_blocked_deployment_releases_nothing(deps):
    publish(make_view(blocked_step("mei", Stage.DEPLOY), tag="mei@v1.1.0"), deps)
    assert not (deps.state / "forge" / "releases").exists()


def test_a_run_of_some_loras_is_no_pass_for_the_commit(deps):
    view = make_view(validate_step(), train_step())
    publish(replace(view, plan=replace(view.plan, left_out=("leo",))), deps)
    (path,) = (p for p in deps.state.glob("forge/checks/*/*") if "mei" not in p.name)
    check = json.loads(path.read_text())
    assert check["outcome"] == "inconclusive"
    assert check["title"].endswith("; not asked for: leo")


@dataclass(frozen=True)
class BrokenForge:
    """Takes nothing."""

    error: Exception

    def notes(self):
        return ()

    def __getattr__(self, name):
        def fail(*args, **kwargs):
            raise self.error

        return fail


@pytest.mark.parametrize("error", [InfrastructureError("502"), OSError("disk"), KeyError("id")])
def test_a_forge_that_takes_nothing_gives_notes_and_no_error(deps, error):
    view = make_view(validate_step(), judged(deps), deploy_step())
    done = publish(view, replace(deps, forge=BrokenForge(error)))
    assert done.address is None
    assert {n.severity for n in done.notes} == {"warning"}
    told = [n.message.split(" could not")[0] for n in done.notes]
    assert told == [
        *("the report", "the grid of mei", "the comment", "the check", "the check of mei"),
        "the release of mei",
    ]
    assert all(view.run_id in (n.hint or "") for n in done.notes)


def test_what_is_not_recorded_yet_is_not_called_recorded():
    going = replace(make_view(validate_step()), outcome=None)
    notes = publish_running(going, BrokenForge(InfrastructureError("502")), None)
    assert [n.message.split(" could not")[0] for n in notes] == ["the comment", "the check"]
    assert {n.hint for n in notes} == {None}


def test_pictures_that_are_gone_changed_or_too_many_are_left_out_and_told(deps, monkeypatch):
    step = judged(deps)
    gone = hashlib.sha256(FACES[0].read_bytes()).hexdigest()
    (deps.store.root / gone[:2] / gone[2:]).unlink()
    changed = hashlib.sha256(FACES[1].read_bytes()).hexdigest()
    (deps.store.root / changed[:2] / changed[2:]).write_bytes(b"other")
    third = previews.shrink(FACES[2].read_bytes(), previews.PAGE_BYTES)
    monkeypatch.setattr(previews, "PAGE_BYTES", len(third.data))
    view = make_view(step)
    done = publish(view, deps)
    page = (deps.state / "forge" / "reports" / f"{view.run_id}.html").read_text()
    assert (page.count("<img"), page.count("not in this page")) == (1, 3)
    assert [n.rule for n in done.notes] == ["publish.picture"]
    assert "3 pictures of mei" in done.notes[0].message


def test_pictures_made_while_training_are_in_the_page_after_those_that_judge(deps, monkeypatch):
    files = {f"sample-{step:06d}-0.png": FACES[step].read_bytes() for step in range(len(FACES))}
    keep(deps, *FACES)
    view = make_view(train_step(files=files))
    done = publish(view, deps)
    page = (deps.state / "forge" / "reports" / f"{view.run_id}.html").read_text()
    assert page.count("<img") == min(len(FACES), MOST_COLUMNS)
    assert done.notes == ()
    monkeypatch.setattr(previews, "PAGE_BYTES", FACES[0].stat().st_size)
    view = make_view(train_step(files=files), judged(deps, pictures=1))
    done = publish(view, deps)
    page = (deps.state / "forge" / "reports" / f"{view.run_id}.html").read_text()
    assert page.index('<figure class="base"><button type="button" class="zoom"><img') > 0
    assert [n.rule for n in done.notes] == ["publish.picture"]


def test_a_grid_that_is_no_picture_is_not_linked(deps, tmp_path):
    fake = tmp_path / "grid.png"
    fake.write_bytes(b"<svg onload='alert(1)'/>")
    view = make_view(qa_step(files=keep(deps, fake)))
    done = publish(view, deps)
    assert "the grid of mei" in done.notes[0].message
    assert "<img" not in (deps.state / "forge" / "pulls" / "7" / "comment.md").read_text()


class Moved:
    """A host where the pull request has another head by now."""

    def pull_request(self, number):
        return PullRequest(
            number=number, title="", author="", head="f" * 40, ref="", base="", base_ref="",
            fork=False, is_open=True,
        )  # fmt: skip


def test_an_older_run_does_not_take_the_comment_from_a_newer_one(deps):
    view = make_view(validate_step())
    publish(view, replace(deps, host=Moved()))
    publish_running(replace(view, outcome=None), deps.forge, Moved())
    said = Announced(kind=EventKind.PULL_REQUEST, repo="acme/loras", number=7)
    publish_refusal(InfrastructureError("gone"), said, view.event.head, deps.forge, Moved())
    assert not (deps.state / "forge" / "pulls").exists()
    assert list((deps.state / "forge" / "checks").iterdir())
    publish(view, deps)
    assert (deps.state / "forge" / "pulls" / "7" / "comment.md").exists()
