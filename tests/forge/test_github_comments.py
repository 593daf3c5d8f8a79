"""Our comment among those of others: found on any page, never taken for somebody else's."""

import pytest

from lora_ci.core.errors import UsageError
from lora_ci.report.comment import MARKER
from tests.fake_github.state import Comment
from tests.github_world import REPO, open_world

US = "github-actions[bot]"


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        world.pull()
        yield world


def say(world, login: str, body: str) -> Comment:
    """Somebody comments."""
    hub = world.hub
    hub.person(login)
    comment = Comment(hub.new_id(), 1, body, login, hub.now(), hub.now())
    world.repo.comments[comment.id] = comment
    return comment


def bodies(world, login: str = US) -> list[str]:
    return [c.body for c in world.repo.comments_on(1) if c.login == login]


def test_it_is_found_behind_many_pages(world):
    for n in range(130):
        say(world, "mei", f"remark {n}")
    world.forge().upsert_comment(1, "first")
    for n in range(120):
        say(world, "mei", f"more {n}")
    forge = world.forge()
    forge.upsert_comment(1, "second")
    assert bodies(world) == [f"{MARKER}\nsecond"]
    writes = len(world.hub.requests)
    forge.upsert_comment(1, "second")
    told = world.hub.requests[writes:]
    assert {request.method for request in told} == {"GET"}
    assert any(request.status == 304 for request in told)


@pytest.mark.parametrize("login", ["mei", "other[bot]"])
def test_who_quotes_the_marker_is_left_alone(world, login):
    quoted = say(world, login, f"> {MARKER}\n> the old text")
    world.forge().upsert_comment(1, "ours")
    assert quoted.body.startswith("> ")
    assert bodies(world) == [f"{MARKER}\nours"]


def test_a_person_who_begins_with_the_marker_is_left_alone(world):
    copied = say(world, "mei", f"{MARKER}\ncopied")
    world.forge().upsert_comment(1, "ours")
    assert copied.body.endswith("copied")
    assert bodies(world) == [f"{MARKER}\nours"]


def test_ours_is_put_right_after_somebody_edited_it(world):
    world.forge().upsert_comment(1, "ours")
    (comment,) = world.repo.comments_on(1)
    comment.body = f"{MARKER}\nit passed, trust me"
    world.forge().upsert_comment(1, "ours")
    assert bodies(world) == [f"{MARKER}\nours"]


def test_ours_is_made_again_after_somebody_deleted_it(world):
    forge = world.forge()
    forge.upsert_comment(1, "ours")
    world.repo.comments.clear()
    forge.upsert_comment(1, "ours")
    assert bodies(world) == [f"{MARKER}\nours"]


def test_ours_is_made_again_if_it_is_deleted_while_we_look(world):
    world.forge().upsert_comment(1, "ours")
    (comment,) = world.repo.comments_on(1)
    world.hub.faults.add(match=f"PATCH */comments/{comment.id}", kind="404")
    world.forge().upsert_comment(1, "new")
    assert bodies(world)[-1] == f"{MARKER}\nnew"


def test_of_two_of_ours_the_oldest_stays(world):
    kept = say(world, US, f"{MARKER}\none")
    say(world, US, f"{MARKER}\ntwo")
    say(world, US, "a comment of another workflow")
    world.forge().upsert_comment(1, "now")
    assert bodies(world) == [f"{MARKER}\nnow", "a comment of another workflow"]
    assert kept.body.endswith("now")


def test_a_person_s_token_knows_its_own(world):
    token = world.hub.token(kind="fine", login="mei")
    world.hub.grant("mei", REPO, "write")
    other = say(world, "kit", f"{MARKER}\nof kit")
    for body in ("one", "two"):
        world.forge(token).upsert_comment(1, body)
    assert bodies(world, "mei") == [f"{MARKER}\ntwo"]
    assert other.body.endswith("of kit")


def test_an_app_that_knows_its_name_leaves_another_app_s(world):
    other = say(world, "other[bot]", f"{MARKER}\nof another installation")
    forge = world.open(login=US)[0]
    for body in ("one", "two"):
        forge.upsert_comment(1, body)
    assert bodies(world) == [f"{MARKER}\ntwo"]
    assert other.body.endswith("installation")


def test_a_body_that_is_too_long_is_cut_below_the_verdict(world):
    world.forge().upsert_comment(1, f"{MARKER}\n### passed\n" + "wörd ä\n" * 40_000)
    (body,) = bodies(world)
    assert len(body) <= 65_536
    assert body.startswith(f"{MARKER}\n### passed")
    assert "cut here" in body


def test_a_reply_is_one_for_its_key_and_not_the_comment(world):
    forge, host = world.open()
    for body in ("started", "passed"):
        host.reply(1, "77", body)
    host.reply(1, "78", "another")
    forge.upsert_comment(1, "the comment")
    forge.upsert_comment(1, "the comment again")
    assert bodies(world) == [
        "<!-- lora-ci: reply 77 -->\npassed",
        "<!-- lora-ci: reply 78 -->\nanother",
        f"{MARKER}\nthe comment again",
    ]
    with pytest.raises(UsageError):
        host.reply(1, "--> @everyone", "x")
