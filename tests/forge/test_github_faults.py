"""GitHub has trouble, or we die: what was shown is there once, and nothing is done twice."""

import io
import logging
import random
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InfrastructureError, InputError, UsageError
from lora_ci.core.step import Outcome
from lora_ci.forge.github.answer import Answer, Refused, Unclear, read_answer
from lora_ci.forge.github.auth import TokenAuth
from lora_ci.forge.github.client import GitHubClient, Unreachable
from lora_ci.forge.github.open import open_client
from lora_ci.forge.github.people import Person
from lora_ci.forge.job import Job
from lora_ci.report.annotations import Annotation
from tests.github_world import REPO, World, open_world

pytestmark = pytest.mark.slow

NOTES = tuple(
    Annotation(file="a.txt", line=n + 1, level="failure", title="r", message=f"m{n}")
    for n in range(120)
)
KINDS = (
    "500_before",
    "500_after_write",
    "502_after_write",
    "reset",
    "reset_after_write",
    "truncated",
    "cut",
    "403_secondary",
)
HEADERS = ("retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "date", "location")
HEADERS += ("x-accepted-github-permissions", "x-accepted-oauth-scopes")


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        world.pull()
        yield world


def tell(world: World, forge) -> None:
    """Everything that a run shows."""
    forge.upsert_comment(1, "the comment")
    forge.publish_check(world.check(annotations=NOTES))
    forge.publish_picture("grid.png", b"picture")
    forge.publish_release(world.draft(mei_safetensors=b"weights", model_sig=b"signature"))


def assert_told_once(world: World) -> None:
    repo = world.repo
    assert [c.body for c in repo.comments_on(1)] == ["<!-- lora-ci -->\nthe comment"]
    (run,) = repo.checks.values()
    assert (run.conclusion, len(run.annotations)) == ("failure", len(NOTES))
    (release,) = repo.releases.values()
    assert not release.draft
    assert {a.name: a.data for a in release.assets} == {
        "mei.safetensors": b"weights",
        "model.sig": b"signature",
    }
    store = world.hub.store(REPO)
    assert len(store.commits("lora-ci-assets")) == 1
    assert len(store.tree("lora-ci-assets", recursive=True)) == 2  # the folder and the picture


class Mortal:
    """A token whose process dies when it would be shown for the n-th time."""

    def __init__(self, token: str, lives: int) -> None:
        self.auth = TokenAuth(token)
        self.lives = lives

    def authorization(self) -> str:
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        return self.auth.authorization()

    def renew(self, date: object) -> bool:
        return False


@pytest.mark.slow
def test_killed_at_any_request_and_called_again_it_is_there_once(tmp_path):
    with open_world(tmp_path, validate=0.1) as world:
        for lives in range(100):
            world.hub.add_repo(REPO)
            store = world.hub.store(REPO)
            tree = store.write_tree(None, [], world.hub.scratch())
            store.set_ref("refs/heads/main", store.write_commit(tree, [], "Begin", 0))
            world.pull()
            auth = Mortal(world.hub.token(), lives)
            client = GitHubClient(world.hub.api_url, auth, world.clock, random.Random(0))
            try:
                tell(world, world.open(client)[0])
            except KeyboardInterrupt:
                tell(world, world.forge())
                assert_told_once(world)
            else:
                assert_told_once(world)
                break
        assert lives >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_request_may_fail_once(world, kind):
    requests = ("*/comments", "*/check-runs", "*/blobs", "*/trees", "*/refs", "*/releases")
    for path in (*requests, "*/commits", "*/assets"):
        world.hub.faults.add(match=f"POST {path}", kind=kind)
    for path in ("*/check-runs/*", "*/releases/*"):
        world.hub.faults.add(match=f"PATCH {path}", kind=kind, times=2)
    for path in ("*/comments", "*/ref/*", "*/releases", "*/assets"):
        world.hub.faults.add(match=f"GET {path}", kind=kind)
    tell(world, world.forge())
    assert_told_once(world)
    assert all(fault.times == 0 for fault in world.hub.faults.waiting)


def test_github_that_stays_down_is_given_up_on_and_then_asked_once(world):
    world.hub.faults.add(match="* /repos/*", kind="503_before", times=None)
    forge = world.forge()
    with pytest.raises(Unreachable, match="503"):
        forge.upsert_comment(1, "x")
    assert 60 < sum(world.clock.waits) <= 120
    waits, requests = len(world.clock.waits), len(world.hub.requests)
    with pytest.raises(Unreachable):
        forge.publish_check(world.check())
    assert (len(world.clock.waits), len(world.hub.requests)) == (waits, requests + 1)
    world.hub.faults.clear()
    forge.upsert_comment(1, "back")
    world.hub.faults.add(match="POST *", kind="502_before", times=2)
    forge.publish_check(world.check())
    assert len(world.repo.checks) == 1


@pytest.mark.parametrize("kind", ["403_secondary", "429_secondary", "403_primary"])
def test_a_limit_is_waited_for_as_long_as_github_says(world, kind):
    world.hub.faults.add(match="POST *", kind=kind, retry_after_s=30)
    world.clock.ahead = timedelta(minutes=-10)
    world.forge().upsert_comment(1, "x")
    assert len(world.repo.comments) == 1
    (wait_s,) = world.clock.waits
    assert 29 <= wait_s <= 33


@pytest.mark.parametrize("kind", ["403_secondary", "403_primary"])
def test_a_limit_beyond_the_deadline_ends_it_at_once(world, kind):
    world.hub.faults.add(match="POST *", kind=kind, retry_after_s=3000)
    with pytest.raises(Unreachable) as caught:
        world.forge().upsert_comment(1, "x")
    assert world.clock.waits == []
    assert "again, in 30" in caught.value.findings[0].hint


@pytest.mark.parametrize("kind", ["401", "403", "404", "422"])
def test_a_refusal_is_not_asked_again(world, kind):
    world.hub.faults.add(match="POST *", kind=kind, times=None)
    with pytest.raises(Refused) as caught:
        world.forge().publish_release(world.draft())
    assert (caught.value.status, world.hub.count("POST"), world.clock.waits) == (int(kind), 1, [])


def test_a_hanging_github_is_given_up_on(world):
    world.hub.faults.add(match="GET *", kind="slow", delay_s=0.3, times=None)
    options = {"clock": world.clock, "deadline_s": 0.0, "timeout_s": 0.05}
    client = GitHubClient(world.hub.api_url, TokenAuth("ghs_x"), rng=random.Random(0), **options)
    with pytest.raises(Unreachable, match="Timeout"):
        world.open(client)[1].pull_request(1)


def test_a_right_that_is_missing_is_named_as_it_is_typed(world):
    token = world.hub.token({"contents": "read"})
    with pytest.raises(Refused) as caught:
        world.forge(token).publish_release(world.draft())
    assert "permissions: {contents: write}" in caught.value.findings[0].hint


def test_checks_become_statuses_then_annotations_of_the_job(world, tmp_path):
    log = io.StringIO()
    world.job = Job(summary=tmp_path / "summary.md", commands=log)
    rights = {"issues": "write", "contents": "read", "statuses": "write", "pull_requests": "write"}
    forge = world.forge(world.hub.token(rights))
    for name in ("one", "two", "two"):
        forge.publish_check(world.check(name, annotations=NOTES[:2]))
    assert [(s.context, s.state) for s in world.repo.statuses] == [
        ("one", "failure"),
        ("two", "failure"),
    ]
    assert world.hub.count("POST", "/check-runs") == 1
    (note,) = forge.notes()
    assert note.rule == "github.check"
    assert "checks: write" in note.hint
    assert not log.getvalue()

    forge = world.forge(world.hub.token({"contents": "read"}))
    for _ in range(2):
        forge.publish_check(world.check("three", annotations=NOTES))
        forge.upsert_comment(1, "the comment")
    assert log.getvalue().count("::error file=a.txt,line=") == 10
    summary = (tmp_path / "summary.md").read_text()
    assert summary.count("### three: failed") == summary.count("the comment") == 1
    assert [note.rule for note in forge.notes()] == ["github.check", "github.comment"]
    assert "job" in forge.notes()[0].message


def test_a_token_that_goes_bad_is_told(world):
    world.hub.faults.add(match="* /repos/*", kind="401", times=None)
    forge = world.forge()
    forge.publish_check(world.check())
    assert "expired or revoked" in forge.notes()[0].hint
    with pytest.raises(Refused, match="401"):
        forge.publish_picture("x", b"x")


def test_a_renamed_repository_is_followed(world):
    forge, host = world.open()
    forge.upsert_comment(1, "before")
    check = world.check()
    world.hub.rename_repo(REPO, "acme/renamed")
    forge.upsert_comment(1, "after")
    forge.publish_check(replace(check, outcome=Outcome.PASSED))
    assert host.pull_request(1).number == 1
    repo = world.hub.repo("acme/renamed")
    assert [c.body for c in repo.comments_on(1)] == ["<!-- lora-ci -->\nafter"]
    assert len(repo.checks) == 1


def test_a_deleted_repository_is_told(world):
    forge, host = world.open()
    draft = world.draft()
    world.hub.delete_repo(REPO)
    with pytest.raises(Refused, match="404") as caught:
        forge.publish_release(draft)
    assert "deleted, renamed, or hidden" in caught.value.findings[0].hint
    with pytest.raises(InputError, match="no pull request 1"):
        host.pull_request(1)


def test_github_enterprise_has_its_api_below_a_path(world):
    forge = world.open(world.client(api_url=world.hub.enterprise_url))[0]
    tell(world, forge)
    assert_told_once(world)


def test_secrets_are_in_no_log_and_no_repr(world, caplog):
    caplog.set_level(logging.DEBUG)
    token = world.hub.token()
    client = world.client(token)
    tell(world, world.open(client)[0])
    with pytest.raises(Refused) as caught:
        client.get("/repos/acme/none", dict)
    shown = "".join(map(repr, (TokenAuth(token), client, caught.value, vars(client))))
    assert token not in caplog.text + shown


@pytest.mark.parametrize("token", ["", "ghp_x\ny", "gh p", "gh\u00fc"])
def test_what_is_no_token_is_refused_without_showing_it(token):
    with pytest.raises(UsageError, match="no token"):
        open_client(token, clock=None, rng=None)


def test_nothing_heavy_is_loaded_before_github_is_asked():
    code = "import sys, lora_ci.forge.github.open; print(*sorted({*sys.modules} & {*sys.argv}))"
    heavy = ("github", "requests", "cryptography", "sqlalchemy", "torch")
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, check=True)
    assert ran.stdout.split() == []


def test_without_pygithub_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr("lora_ci.forge.github.wire.find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        open_client("ghs_x", clock=None, rng=None)
    assert "lora-ci[github]" in caught.value.findings[0].hint


@pytest.mark.parametrize("url", ["", "api.github.com", "ftp://x", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(world, url):
    with pytest.raises(UsageError, match="no address of GitHub"):
        world.client(api_url=url)


def test_an_answer_of_something_else_is_told():
    answer = Answer(what="GET /user", status=200, headers={}, text="[]")
    with pytest.raises(InfrastructureError, match="not what GitHub answers"):
        read_answer(answer, Person)


VALUES = st.text() | st.text("0123456789²٣-: ", max_size=20)


@given(st.integers(300, 599), st.text(), st.dictionaries(st.sampled_from(HEADERS), VALUES))
def test_any_refusal_is_read(status, text, headers):
    answer = Answer(what="GET /user", status=status, headers=headers, text=text)
    with pytest.raises((Refused, Unclear)) as caught:
        read_answer(answer, Person)
    assert str(caught.value).isprintable()
