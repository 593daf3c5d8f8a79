"""What GitHub delivers → what is to be done about it; whatever else comes is ignored in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.forge.commands import Verb
from lora_ci.forge.intent import Ask, Ignored, Moved, Start, Stop, interpret
from tests.forge.test_payload import PULL, PUSH, REPOSITORY
from tests.report.test_hostile_text import ATTACKS

HEAD = "b" * 40
COMMENT = {
    "action": "created",
    "issue": {"number": 7, "pull_request": {"url": "…"}},
    "comment": {"id": 99, "body": "/lora-ci run mei", "user": {"login": "bob", "type": "User"}},
    "repository": REPOSITORY,
}
CHECK = {
    "action": "rerequested",
    "check_run": {
        "id": 5,
        "name": "lora-ci / mei",
        "head_sha": HEAD,
        "pull_requests": [{"number": 7, "head": {"sha": HEAD}}],
    },
    "repository": REPOSITORY,
    "sender": {"login": "bob"},
}


def told(name, payload):
    return interpret(name, json.dumps(payload).encode())


def changed(payload, path, value):
    """A copy of a payload with one value replaced."""
    first, _, rest = path.partition(".")
    return {**payload, first: changed(payload[first], rest, value) if rest else value}


def test_pushes():
    main = {**PUSH, "ref": "refs/heads/main"}
    assert isinstance(told("push", main), Start)
    assert isinstance(told("push", {**PUSH, "ref": "refs/tags/mei@v1.0.0"}), Start)
    assert isinstance(told("push", PUSH), Ignored)
    assert isinstance(told("push", {**PUSH, "ref": "refs/tags/v1"}), Ignored)
    assert isinstance(told("push", {**main, "after": "0" * 40, "deleted": True}), Ignored)


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review"])
def test_a_pull_request_is_run(action):
    intent = told("pull_request", {**PULL, "action": action})
    assert isinstance(intent, Start)
    assert (intent.event.number, intent.event.head) == (7, HEAD)


def test_a_closed_pull_request_is_stopped():
    intent = told("pull_request", {**PULL, "action": "closed"})
    assert intent == Stop(repo="team/loras", number=7, why="the pull request was closed")
    assert isinstance(told("pull_request", {**PULL, "action": "labeled"}), Ignored)


def test_a_comment():
    intent = told("issue_comment", COMMENT)
    assert isinstance(intent, Ask)
    assert (intent.command.verb, intent.person, intent.number, intent.comment, intent.key) == (
        Verb.RUN, "bob", 7, 99, "99",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("action", "edited"),
        ("action", "deleted"),
        ("issue.pull_request", None),
        ("comment.user.type", "Bot"),
        ("comment.user", None),
        ("comment.performed_via_github_app", {"id": 1}),
        ("comment.body", "thanks"),
        ("comment.body", None),
    ],
)
def test_a_comment_that_asks_for_nothing(path, value):
    assert isinstance(told("issue_comment", changed(COMMENT, path, value)), Ignored)


def test_buttons():
    again = told("check_run", CHECK)
    assert isinstance(again, Ask)
    assert (again.command.verb, again.command.loras, again.number) == (Verb.RUN, ("mei",), 7)
    whole = told("check_run", changed(CHECK, "check_run.name", "lora-ci"))
    assert isinstance(whole, Ask)
    assert whole.command.loras == ()
    pressed = {**CHECK, "action": "requested_action", "requested_action": {"identifier": "approve"}}
    approved = told("check_run", pressed)
    assert isinstance(approved, Ask)
    assert (approved.command.verb, approved.command.sha) == (Verb.APPROVE, HEAD)
    # A fork's check names no pull request.
    foreign = told("check_run", changed(pressed, "check_run.pull_requests", []))
    assert isinstance(foreign, Ask)
    assert (foreign.number, foreign.head) == (None, HEAD)


@pytest.mark.parametrize(
    "name", ["tests", "lora-ci / Mei x", "lora-ci / --retrain", "lora-ci / $(x)", "lora-cix"]
)
def test_checks_of_others(name):
    assert isinstance(told("check_run", changed(CHECK, "check_run.name", name)), Ignored)


def test_all_checks_again():
    suite = {"id": 3, "head_sha": HEAD, "pull_requests": [{"number": 7, "head": {"sha": HEAD}}]}
    payload = {"action": "rerequested", "check_suite": suite, "repository": REPOSITORY,
               "sender": {"login": "bob"}}  # fmt: skip
    intent = told("check_suite", payload)
    assert isinstance(intent, Ask)
    assert (intent.command.verb, intent.number) == (Verb.RUN, 7)
    assert isinstance(told("check_suite", {**payload, "action": "completed"}), Ignored)


def test_repositories():
    renamed = {
        "action": "renamed",
        "repository": {"full_name": "team/new"},
        "changes": {"repository": {"name": {"from": "loras"}}},
    }
    assert told("repository", renamed) == Moved("team/loras", "team/new")
    gone = {"action": "deleted", "repository": {"full_name": "team/loras"}}
    assert told("repository", gone) == Stop(repo="team/loras", why="the repository was deleted")
    moved = {
        "action": "transferred",
        "repository": {"full_name": "other/loras"},
        "changes": {"owner": {"from": {"user": {"login": "team"}}}},
    }
    assert told("repository", moved) == Moved("team/loras", "other/loras")


@pytest.mark.parametrize("name", ["ping", "star", "fork", "", "installation", "../../x"])
def test_other_events(name):
    assert isinstance(told(name, {"action": "created"}), Ignored)


@pytest.mark.parametrize(
    "repo", ["..", "team/..", "team", "a/b/c", "-x/loras", "team/lo ras", "t/ü"]
)
def test_names_that_are_no_repository(repo):
    for name, payload in (("push", {**PUSH, "ref": "refs/heads/main"}), ("issue_comment", COMMENT)):
        named = changed(payload, "repository.full_name", repo)
        assert isinstance(told(name, named), Ignored)


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text(attack):
    pull = changed(changed(PULL, "pull_request.title", attack), "pull_request.head.ref", attack)
    intent = told("pull_request", {**pull, "action": "opened"})
    assert isinstance(intent, Start)
    assert (intent.event.message, intent.event.ref) == (attack, attack)
    assert isinstance(told("issue_comment", changed(COMMENT, "comment.body", attack)), Ignored)
    assert isinstance(told("issue_comment", changed(COMMENT, "action", attack)), Ignored)


NAMES = st.sampled_from(["push", "pull_request", "issue_comment", "check_run", "check_suite",
                         "repository", "ping"])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(NAMES, JSON)
def test_any_json(name, value):
    assert isinstance(told(name, value), Ignored)


@given(NAMES, st.binary())
def test_any_bytes(name, data):
    assert isinstance(interpret(name, data), Ignored)


@given(st.sampled_from([("pull_request", {**PULL, "action": "opened"}), ("issue_comment", COMMENT),
                        ("check_run", CHECK)]), st.data())  # fmt: skip
def test_a_payload_with_one_wrong_value(example, data):
    name, payload = example
    path = data.draw(st.sampled_from(sorted(paths(payload))))
    interpret(name, json.dumps(changed(payload, path, data.draw(JSON))).encode())


def paths(value):
    for key, inner in value.items():
        yield key
        if isinstance(inner, dict):
            yield from (f"{key}.{rest}" for rest in paths(inner))
