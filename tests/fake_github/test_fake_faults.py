"""Trouble on demand, and the fake's own watch over what is sent."""

import http.client
import json
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_github import FakeGitHub
from tests.fake_github.client import ask
from tests.fake_github.routes import OPERATIONS
from tests.fake_github.spec import load_spec

REPO = "acme/loras"
COMMENTS = f"/repos/{REPO}/issues/1/comments"
MATCH = "POST /repos/*/issues/*/comments"


@pytest.mark.parametrize(
    ("kind", "status", "written"),
    [
        ("401", 401, 0),
        ("403", 403, 0),
        ("403_primary", 403, 0),
        ("403_secondary", 403, 0),
        ("429_secondary", 429, 0),
        ("404", 404, 0),
        ("422", 422, 0),
        ("502_before", 502, 0),
        ("500_after_write", 500, 1),
        ("502_after_write", 502, 1),
        ("503_after_write", 503, 1),
        ("slow", 201, 1),
    ],
)
def test_answers_that_are_trouble(hub, kind, status, written):
    hub.faults.add(match=MATCH, kind=kind, delay_s=0.01)
    token = hub.token()
    heard = ask(hub, f"POST {COMMENTS}", {"body": "x"}, token=token)
    assert heard.status == status
    assert len(hub.repo(REPO).comments) == written
    if "secondary" in kind:
        assert heard.headers["retry-after"] == "1"
    assert ask(hub, f"POST {COMMENTS}", {"body": "x"}, token=token).status == 201
    assert [r.status for r in hub.requests] == [status, 201]


@pytest.mark.parametrize(("kind", "written"), [("reset", 0), ("reset_after_write", 1), ("cut", 1)])
def test_connections_that_break(hub, kind, written):
    hub.faults.add(match=MATCH, kind=kind)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(hub, f"POST {COMMENTS}", {"body": "x"}, token=hub.token())
    assert len(hub.repo(REPO).comments) == written


def test_half_of_the_json(hub):
    hub.faults.add(match="GET /repos/*", kind="truncated")
    with pytest.raises(json.JSONDecodeError):
        _ = ask(hub, f"GET {COMMENTS}").json


def test_chance_is_repeatable():
    def struck(seed):
        with FakeGitHub(seed=seed, validate=False) as hub:
            hub.add_repo(REPO)
            hub.faults.add(match="GET *", kind="500_before", times=None, probability=0.5)
            return [ask(hub, f"GET /repos/{REPO}").status for _ in range(20)]

    assert struck(1) == struck(1)
    assert {200, 500} == set(struck(1))


def test_trouble_with_git(hub, tmp_path):
    hub.faults.add(match="GET /acme/loras.git/*", kind="503_before")
    command = ["git", "ls-remote", hub.git_url(REPO)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"POST /repos/{REPO}/releases", {"tag_name": "v1", "draft": "yes"}),
        (f"GET {COMMENTS}?per_pag=5", None),
        (f"GET {COMMENTS}?since=tuesday", None),
        (f"POST /repos/{REPO}/statuses/{'a' * 40}", {"state": "green"}),
        ("GET /repos/acme/loras/wiki", None),
    ],
)
def test_a_request_against_the_description_fails_the_test(line, body):
    hub = FakeGitHub()
    hub.start()
    hub.add_repo(REPO)
    hub.open_pull(REPO, head="a" * 40, base="b" * 40)
    ask(hub, line, body, token=hub.token())
    hub.stop()
    with pytest.raises(AssertionError, match=re.escape(line.partition("?")[0].split(" ")[1])):
        hub.check()


def test_an_answer_against_the_description_fails_the_test():
    hub = FakeGitHub()
    hub.start()
    hub.add_repo(REPO)
    hub.open_issue(REPO).title = None
    ask(hub, f"GET /repos/{REPO}/issues/1")
    hub.stop()
    with pytest.raises(AssertionError, match="title"):
        hub.check()


def test_the_slice_holds_what_is_served():
    paths = load_spec()["paths"]
    sliced = {(method.upper(), path) for path, found in paths.items() for method in found}
    assert sliced == OPERATIONS


@pytest.fixture(scope="module")
def crowd():
    with FakeGitHub(validate=0.2) as hub:
        hub.add_repo(REPO)
        yield hub


@settings(max_examples=25)
@given(count=st.integers(0, 130), each=st.integers(1, 120))
def test_pages_hold_everything_once_and_in_order(crowd, count, each):
    number = crowd.open_issue(REPO).number
    repo = crowd.repo(REPO)
    from tests.fake_github.state import Comment

    for n in range(count):
        comment = Comment(crowd.new_id(), number, str(n), "mei", 0, 0)
        repo.comments[comment.id] = comment
    path, bodies, pages = f"/repos/{REPO}/issues/{number}/comments?per_page={each}", [], 0
    while path:
        heard = ask(crowd, f"GET {path}")
        pages += 1
        bodies += [c["body"] for c in heard.json]
        following = re.search(r'<([^>]+)>; rel="next"', heard.headers.get("link", ""))
        path = following[1].removeprefix(crowd.api_url) if following else None
    assert bodies == [str(n) for n in range(count)]
    assert pages == max(-(-count // min(each, 100)), 1)
