"""What people type → what is done about it, and what they are told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lora_ci.app.commands import Cancel, Run, carry_out, help_text
from lora_ci.core.errors import InputError
from lora_ci.core.event import EventKind, Trust
from lora_ci.forge.commands import Verb, parse_command
from lora_ci.forge.forge import Permission, PullRequest
from lora_ci.forge.intent import Ask
from tests.report.test_hostile_text import ATTACKS, Tags

HEAD, BASE, MERGED = "a" * 40, "b" * 40, "c" * 40


@pytest.mark.parametrize(
    ("body", "verb", "loras"),
    [
        ("/lora-ci run", Verb.RUN, ()),
        ("/lora-ci run mei style mei", Verb.RUN, ("mei", "style")),
        ("Looks good.\r\n\r\n/lora-ci  RETRAIN mei \r\nthanks", Verb.RETRAIN, ("mei",)),
        ("/lora-ci cancel", Verb.CANCEL, ()),
        ("/lora-ci", Verb.HELP, ()),
        ("> /lora-ci cancel\n\n/lora-ci status", Verb.STATUS, ()),
        ("```\n/lora-ci cancel\n```\n/lora-ci run", Verb.RUN, ()),
        ("<!-- template:\n/lora-ci cancel\n-->\n/lora-ci run", Verb.RUN, ()),
        ("/lora-ci run\n/lora-ci cancel", Verb.RUN, ()),
    ],
)
def test_a_command(body, verb, loras):
    command = parse_command(body)
    assert command is not None
    assert (command.verb, command.loras, command.problem) == (verb, loras, None)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "lora-ci run",
        " /lora-ci run",
        "please /lora-ci run",
        "/lora-cirun",
        "> /lora-ci run",
        "    /lora-ci run",
        "~~~~\n~~~\n/lora-ci run",
        "```\n/lora-ci run",
        "`/lora-ci run`",
        "/lora-ci run\n<!-- lora-ci -->",
    ],
)
def test_no_command(body):
    assert parse_command(body) is None


@pytest.mark.parametrize(
    "words",
    ["fly", "run Mei", "run ../mei", "run --retrain", "approve", "approve main", "approve abc123",
     "approve abc1234 def5678", f"approve {HEAD[:39]}", "deploy mei", "deploy mei@v1",
     "deploy mei#prod", "cancel all"],
)  # fmt: skip
def test_a_bad_command_is_answered_with_help(words):
    command = parse_command(f"/lora-ci {words}")
    assert command is not None
    assert command.verb is Verb.HELP
    assert command.problem
    assert "/lora-ci approve <commit>" in help_text(command.problem)


@given(st.text())
def test_whatever_is_typed(text):
    parse_command(text)
    command = parse_command(f"/lora-ci {text}")
    if command and command.problem:
        assert parse_command(help_text(command.problem)) is None


class People:
    """A pull request, its people, and what was said to them."""

    def __init__(self, *, fork=False, is_open=True, merged=None, permission="write"):
        self.pull = PullRequest(
            number=7, title="More pictures", author="ann", head=HEAD, ref="work", base=BASE,
            base_ref="main", fork=fork, is_open=is_open, merge_commit=merged,
        )  # fmt: skip
        self.person = Permission(permission)
        self.reactions, self.replies = [], {}

    def pull_request(self, number):
        if number != self.pull.number:
            raise InputError("no such pull request")
        return self.pull

    def permission(self, person):
        return self.person

    def react(self, comment, reaction):
        self.reactions.append((comment, reaction))

    def reply(self, number, key, body):
        self.replies[key] = body

    def passed_checks(self, head):
        return ()


def ask(host, text, person="bob", number=7, status=None):
    command = parse_command(f"/lora-ci {text}")
    assert command
    question = Ask(command=command, repo="team/loras", person=person, key="99", number=number,
                   comment=99, default_branch="main")  # fmt: skip
    return carry_out(question, number, host, status)


def test_a_run_is_on_behalf_of_the_author():
    host = People(fork=True)
    wanted = ask(host, "run mei")
    assert isinstance(wanted, Run)
    assert (wanted.event.actor, wanted.event.head, wanted.loras) == ("ann", HEAD, ("mei",))
    assert wanted.event.trust is Trust.UNTRUSTED
    assert wanted.approved_by == ()
    assert host.reactions == [(99, "eyes"), (99, "rocket")]
    assert "`mei` of `aaaaaaa` runs." in host.replies["99"]
    assert f"nothing trains without `/lora-ci approve {HEAD}`" in host.replies["99"]


@pytest.mark.parametrize(
    "text", ["run", "retrain", "cancel", f"approve {HEAD}", "deploy mei@v1.0.0"]
)
def test_only_those_who_may_push_are_obeyed(text):
    for permission in ("none", "read", "triage"):
        host = People(permission=permission, merged=MERGED, is_open=False)
        assert ask(host, text) is None
        assert host.reactions == [(99, "eyes"), (99, "-1")]
        assert f"your permission is `{permission}`" in host.replies["99"]


@pytest.mark.parametrize("text", ["help", "status", "fly"])
def test_everybody_may_look(text):
    host = People(permission="none")
    assert ask(host, text, status="Nothing runs.") is None
    assert host.reactions[1] == (99, "confused" if text == "fly" else "rocket")


def test_an_approval_is_bound_to_the_head():
    wanted = ask(People(fork=True), f"approve {HEAD.upper()}")
    assert isinstance(wanted, Run)
    assert (wanted.approved_by, wanted.event.head) == (("bob",), HEAD)
    for host, person, why in (
        (People(fork=True), "ann", "their own"),
        (People(fork=True, is_open=False), "bob", "closed"),
    ):
        assert ask(host, f"approve {HEAD}", person) is None
        assert why in host.replies["99"]
    host = People(fork=True)
    assert ask(host, f"approve {BASE}") is None
    assert f"/lora-ci approve {HEAD}" in host.replies["99"]


def test_a_release_needs_a_merge():
    host = People()
    assert ask(host, "deploy mei@v1.0.0") is None
    assert "merged" in host.replies["99"]
    wanted = ask(People(is_open=False, merged=MERGED), "deploy mei@v1.0.0")
    assert isinstance(wanted, Run)
    assert (wanted.event.kind, wanted.event.head, wanted.event.tag, wanted.event.number) == (
        EventKind.TAG, MERGED, "mei@v1.0.0", 7,
    )  # fmt: skip


def test_cancel_and_a_pull_request_that_is_gone():
    assert ask(People(), "cancel") == Cancel(7)
    host = People()
    assert ask(host, "run", number=8) is None
    assert "no pull request" in host.replies["99"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names(attack):
    for host, text, person in (
        (People(permission="read"), "run", attack),
        (People(), attack, attack),
    ):
        if parse_command(f"/lora-ci {text}"):
            ask(host, text, person)
        for body in host.replies.values():
            assert parse_command(body) is None
            tags = Tags(MarkdownIt("commonmark").render(body))
            assert {tag for tag, _ in tags.found} <= {"p", "code", "ul", "li"}
            assert not re.search(r"@\w|://|#\d", "\n".join(tags.words))
            assert "\x1b" not in body
            assert "\u202e" not in body
