"""GitHub as the place where people ask: pull requests, permissions, reactions, other checks."""

import pytest

from lora_ci.core.errors import InputError, UsageError
from lora_ci.forge.forge import Permission
from lora_ci.forge.github.open import open_github
from tests.fake_github.state import Comment
from tests.github_world import REPO, open_world


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        yield world


def test_a_pull_request_as_it_is_now(world):
    number = world.pull(title="More pictures", login="mei", head_ref="work")
    pull = world.open()[1].pull_request(number)
    assert (pull.number, pull.title, pull.author) == (number, "More pictures", "mei")
    assert (pull.head, pull.ref, pull.base_ref) == (world.head, "work", "main")
    assert (pull.fork, pull.is_open, pull.merge_commit) == (False, True, None)


def test_a_fork_that_is_gone_is_a_fork(world):
    number = world.pull(fork="kit/loras", login="kit")
    assert world.open()[1].pull_request(number).fork
    world.repo.pulls[number].head_repo = None
    assert world.open()[1].pull_request(number).fork
    # GitHub's description does not know of it, GitHub does.
    assert all("head.repo: None" in broken for broken in world.hub.violations)
    world.hub.violations.clear()


def test_what_was_merged_says_as_what(world):
    number = world.pull()
    world.hub.merge_pull(REPO, number, world.head)
    pull = world.open()[1].pull_request(number)
    assert (pull.is_open, pull.merge_commit) == (False, world.head)
    number = world.pull()
    world.hub.close_pull(REPO, number)
    assert world.open()[1].pull_request(number).merge_commit is None


def test_no_pull_request_is_told(world):
    world.hub.open_issue(REPO)
    for number in (1, 99):
        with pytest.raises(InputError, match="no pull request"):
            world.open()[1].pull_request(number)


@pytest.mark.parametrize("level", ["none", "read", "triage", "write", "maintain", "admin"])
def test_permissions_are_those_of_the_role(world, level):
    world.hub.grant("kit", REPO, level)
    found = world.open()[1].permission("kit")
    assert found == Permission(level)
    assert found.may_write == (level in ("write", "maintain", "admin"))


@pytest.mark.parametrize("name", ["nobody", "a/b", "..", "../x", "ü", "?x=1", "a\n", ""])
def test_who_is_not_known_may_nothing(world, name):
    found = world.open()[1].permission(name)
    assert not found.may_write


def test_a_reaction_is_there_once(world):
    number = world.pull()
    hub = world.hub
    hub.person("kit")
    comment = Comment(hub.new_id(), number, "/lora-ci run", "kit", hub.now(), hub.now())
    world.repo.comments[comment.id] = comment
    hub.faults.add(match="POST */reactions", kind="502_after_write")
    for reaction in ("eyes", "eyes", "rocket"):
        world.open()[1].react(comment.id, reaction)
    assert [r.content for r in comment.reactions] == ["eyes", "rocket"]


def test_the_checks_of_others_that_succeeded(world):
    forge, host = world.open()
    forge.publish_check(world.check("lora-ci / mei"))
    client = world.client()
    for name, conclusion in (("unit", "success"), ("lint", "failure"), ("docs", "neutral")):
        body = {"name": name, "head_sha": world.head, "conclusion": conclusion}
        client.create(f"/repos/{REPO}/check-runs", body | {"status": "completed"}, dict, look=None)
    told = (
        ("deploy", "failure"),
        ("deploy", "success"),
        ("scan", "success"),
        ("scan", "pending"),
        ("lint", "success"),
        ("lora-ci", "success"),
    )
    for context, state in told:
        body = {"context": context, "state": state}
        client.create(f"/repos/{REPO}/statuses/{world.head}", body, dict, look=None)
    assert host.passed_checks(world.head) == ("deploy", "unit")


def test_where_statuses_are_not_ours_to_see_checks_still_are(world):
    client = world.client()
    body = {"name": "unit", "head_sha": world.head, "status": "completed", "conclusion": "success"}
    client.create(f"/repos/{REPO}/check-runs", body, dict, look=None)
    world.repo.private = True
    rights = {"checks": "read", "contents": "read", "metadata": "read"}
    _, host = world.open(world.client(world.hub.token(rights)))
    assert host.passed_checks(world.head) == ("unit",)


@pytest.mark.parametrize(
    "name", ["", "acme", "acme/loras/x", "a b/c", "../x", "acme/lo?ras", "a/b\n"]
)
def test_what_is_no_repository_is_refused(world, name):
    options = {"clock": world.clock, "rng": None, "pages": world.root}
    with pytest.raises(UsageError, match="no repository"):
        open_github(world.client(), name, **options)
