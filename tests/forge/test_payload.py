"""What GitHub sends → what happened; whatever else comes is refused in words."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import LoraCIError, UsageError
from lora_ci.core.event import EventKind, Trust
from lora_ci.forge.payload import parse_payload

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
REPOSITORY = {"full_name": "team/loras", "default_branch": "main"}
PUSH = {
    "ref": "refs/heads/work",
    "before": A,
    "after": B,
    "deleted": False,
    "forced": False,
    "repository": REPOSITORY,
    "sender": {"login": "ann"},
    "head_commit": {"id": B, "message": "Add pictures"},
}
PULL = {
    "action": "synchronize",
    "number": 7,
    "repository": REPOSITORY,
    "sender": {"login": "ann"},
    "pull_request": {
        "number": 7,
        "title": "More pictures",
        "head": {"sha": B, "ref": "work", "repo": {"full_name": "team/loras"}},
        "base": {"sha": A, "ref": "main", "repo": {"full_name": "team/loras"}},
    },
}


def parse(payload: object, name: str | None = None):
    return parse_payload(json.dumps(payload).encode(), name, "event.json")


def test_a_push():
    said = parse(PUSH)
    assert (said.kind, said.head, said.before, said.message) == (
        EventKind.PUSH,
        B,
        A,
        "Add pictures",
    )
    assert (said.repo, said.default_branch, said.actor) == ("team/loras", "main", "ann")
    assert said.trust is Trust.TRUSTED


def test_the_first_push_of_a_branch_has_no_before():
    assert parse({**PUSH, "before": ZERO}).before is None


def test_a_deleted_branch_is_nothing_to_plan():
    with pytest.raises(UsageError, match="refs/heads/work was deleted"):
        parse({**PUSH, "after": ZERO, "deleted": True, "head_commit": None})


def test_a_tag_is_its_commit_even_if_it_is_annotated():
    said = parse({**PUSH, "ref": "refs/tags/mei@v1.0.0", "after": A, "before": ZERO})
    assert (said.kind, said.tag, said.head) == (EventKind.TAG, "mei@v1.0.0", B)


def test_a_commit_is_an_id_and_a_message_is_bounded():
    """A job gets it as a variable of its environment."""
    with pytest.raises(UsageError, match=r"head_commit\.id"):
        parse({**PUSH, "ref": "refs/tags/mei@v1.0.0", "head_commit": {"id": "main"}})
    said = parse({**PUSH, "head_commit": {"id": B, "message": "x" * 1_000_000}})
    assert len(said.message) == 4096


def test_a_pull_request():
    said = parse(PULL)
    assert (said.kind, said.number, said.head, said.base) == (EventKind.PULL_REQUEST, 7, B, A)
    assert said.trust is Trust.TRUSTED


@pytest.mark.parametrize("repo", [{"full_name": "stranger/loras"}, None, {}])
def test_a_fork_and_a_deleted_fork_are_foreign(repo):
    pull = json.loads(json.dumps(PULL))
    pull["pull_request"]["head"]["repo"] = repo
    assert parse(pull).trust is Trust.UNTRUSTED


def test_other_events():
    dispatch = {"repository": REPOSITORY, "inputs": None, "ref": "refs/heads/main", "workflow": "x"}
    assert parse(dispatch).kind is EventKind.MANUAL
    assert parse({"repository": REPOSITORY, "schedule": "0 0 * * *"}).kind is EventKind.SCHEDULE
    with pytest.raises(UsageError, match="stranger's commit"):
        parse(PULL, "pull_request_target")
    with pytest.raises(UsageError, match="`issues` starts no plan"):
        parse({"repository": REPOSITORY, "issue": {}}, "issues")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"1", b"[" * 10**5, b"\xff", b'{"a":1}'])
def test_no_payload_is_told_so(data):
    with pytest.raises(UsageError) as caught:
        parse_payload(data, None, "event.json")
    assert "event.json" in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from([PUSH, PULL]), st.data())
def test_a_payload_with_any_field_of_another_kind_is_read_or_refused(payload, data):
    broken = json.loads(json.dumps(payload))
    at = broken
    for _ in range(3):
        key = data.draw(st.sampled_from(sorted(at)))
        if isinstance(at[key], dict) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(JSON)
        break
    with contextlib.suppress(LoraCIError):
        parse(broken)
