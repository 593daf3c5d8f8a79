"""A change at its lines: in the diff or nowhere, one, ours, and where the lines are now."""

import pytest

from lora_ci.core.errors import UsageError
from lora_ci.forge.forge import LineComment
from tests.fake_github.state import ReviewComment
from tests.github_world import open_world

TEXT = "".join(f"line {i}\n" for i in range(1, 41))
US = "github-actions[bot]"


@pytest.fixture
def world(tmp_path):
    """A pull request that changes lines 10 and 30 of a file that the base has."""
    with open_world(tmp_path) as world:
        base = world.commit({"a.yml": TEXT, "b.yml": TEXT})
        changed = TEXT.replace("line 10\n", "ten\n").replace("line 30\n", "thirty\n")
        world.pull(base=base, head=world.commit({"a.yml": changed}, base))
        yield world


def at(first: int, last: int, path: str = "a.yml", body: str = "better") -> LineComment:
    return LineComment(path=path, first_line=first, last_line=last, body=body)


def suggest(world, change: LineComment | None, key: str = "mei") -> bool:
    return world.forge().suggest(1, world.repo.pulls[1].head, key, change)


def shown(world) -> list[tuple[int | None, int, str]]:
    return [
        (c.start_line, c.line, c.body.partition("\n")[2])
        for c in world.repo.review_comments.values()
        if c.login == US
    ]


def test_lines_of_the_diff_have_it(world):
    for first, last in ((10, 10), (7, 13), (8, 9), (27, 33)):
        assert suggest(world, at(first, last))
        assert shown(world) == [(None if first == last else first, last, "better")]


def test_other_lines_and_files_do_not(world):
    for first, last in ((1, 2), (6, 10), (10, 14), (10, 30), (20, 20)):
        assert not suggest(world, at(first, last))
    for path in ("b.yml", "none.yml"):
        assert not suggest(world, at(10, 10, path))
    assert shown(world) == []


def test_it_is_written_once_and_then_changed_in_place(world):
    suggest(world, at(8, 10))
    (number,) = world.repo.review_comments
    writes = len(world.hub.requests)
    suggest(world, at(8, 10))
    assert {request.method for request in world.hub.requests[writes:]} == {"GET"}
    suggest(world, at(8, 10, body="best"))
    assert list(world.repo.review_comments) == [number]
    assert shown(world) == [(8, 10, "best")]


def test_it_moves_with_the_lines(world):
    suggest(world, at(8, 10))
    suggest(world, at(9, 10))
    assert shown(world) == [(9, 10, "better")]
    head = world.repo.pulls[1].head
    moved = TEXT.replace("line 10\n", "zehn\n").replace("line 30\n", "thirty\n")
    world.hub.push_pull("acme/loras", 1, world.commit({"a.yml": moved}, head))
    suggest(world, at(9, 10))
    assert shown(world) == [(9, 10, "better")], "the one at lines that are gone is taken away"


def test_it_is_taken_back_where_nothing_is_to_be_suggested_any_more(world):
    suggest(world, at(8, 10))
    suggest(world, at(8, 10, body="of leo"), key="leo")
    assert not suggest(world, None)
    assert shown(world) == [(8, 10, "of leo")]
    assert not suggest(world, at(1, 2), key="leo")
    assert shown(world) == []


def test_what_others_wrote_stays(world):
    hub, repo = world.hub, world.repo
    marker = "<!-- lora-ci: suggestion mei -->"
    for n, body in enumerate((f"> {marker}\nquoted", f"{marker}\ncopied", "a remark"), start=9000):
        hub.person("mei")
        repo.review_comments[n] = ReviewComment(
            n, 1, body, "mei", hub.now(), hub.now(), "a.yml", 10, None, repo.pulls[1].head
        )
    suggest(world, at(10, 10))
    suggest(world, None)
    assert len(repo.review_comments) == 3


def test_an_answer_that_gets_lost_makes_no_second_one(world):
    world.hub.faults.add(match="POST */pulls/1/comments", kind="502_after_write")
    suggest(world, at(10, 10))
    assert shown(world) == [(None, 10, "better")]


def test_a_token_that_may_not_leaves_a_note(world):
    token = world.hub.token({"pull_requests": "read", "contents": "read", "metadata": "read"})
    forge = world.forge(token)
    assert not forge.suggest(1, world.repo.pulls[1].head, "mei", at(10, 10))
    (note,) = forge.notes()
    assert note.rule == "github.suggestion"
    assert "pull-requests: write" in note.hint


def test_a_key_is_no_way_out_of_the_marker(world):
    with pytest.raises(UsageError):
        suggest(world, at(10, 10), key="--> @everyone")
