"""Payloads of webhook deliveries: real examples, with what the fake knows laid over them."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fake_github.routes.checks import check_shape, suite_shape
from tests.fake_github.routes.releases import release_shape
from tests.fake_github.shapes import Shapes
from tests.fake_github.state import Comment, Repo

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

FILE = Path(__file__).parent / "payloads.json.gz"
ZERO = "0" * 40
# What of a repository's shape goes over the example's: times have other types in some events.
_OF_REPO = (
    "id", "node_id", "name", "full_name", "owner", "private", "fork", "default_branch", "url",
    "html_url", "clone_url", "archived",
)  # fmt: skip


@functools.cache
def load_examples() -> dict[str, str]:
    """An example of each `event.action` as JSON."""
    found = json.loads(gzip.decompress(FILE.read_bytes()))
    return {name: json.dumps(example) for name, example in found.items()}


def build(hub: FakeGitHub, name: str, repo: Repo, changes: dict[str, Any]) -> dict[str, Any]:
    """The example of `name` (`push`, `pull_request.opened`…) as if it had happened here.

    `changes` that are understood:
    - `sender`: who did it; `installation`: the id of the app's installation;
    - `number`: the pull request or issue (pull_request, issue_comment, issues);
    - `comment`: a Comment, or the text of one that is made up and kept (issue_comment);
    - `ref`, `before`, `after` (push; before/after of all zeros make or delete the ref);
    - `check`: id of a check run, `identifier` of its button (check_run);
    - `suite`: id of a check suite, or `head` of one that is made up (check_suite);
    - `tag` (release); `old_name` (repository.renamed).
    Everything else is laid over the payload as it is.
    """
    payload = json.loads(load_examples()[name])
    shapes = Shapes(hub, hub.api_url)
    event = name.partition(".")[0]
    sender = changes.pop("sender", None)
    installation = changes.pop("installation", None)
    over: dict[str, Any] = {}
    if "repository" in payload:
        over["repository"] = _repo(shapes, repo)
    if event in _BUILDERS:
        own, by = _BUILDERS[event](hub, shapes, repo, changes)
        over |= own
        sender = sender or by
    over["sender"] = shapes.user(sender or repo.owner)
    payload.pop("organization", None)
    if event not in ("installation", "installation_repositories"):
        payload.pop("installation", None)
    if installation is not None:
        over["installation"] = {"id": installation}
    return laid_over(laid_over(payload, over), changes)


def laid_over(below: Any, above: Any) -> Any:
    """Mappings are merged, everything else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{k: laid_over(below.get(k), v) for k, v in above.items()}}
    return above


def _repo(shapes: Shapes, repo: Repo) -> dict[str, Any]:
    shape = shapes.repo(repo)
    return {key: shape[key] for key in _OF_REPO}


def _pull_request(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    number = changes.pop("number", None) or max(repo.pulls)
    over = {"number": number, "pull_request": shapes.pull(repo, number, "pull-request")}
    return over, repo.issues[number].login


def _issue_comment(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    number = changes.pop("number", None) or max(repo.issues)
    comment = changes.pop("comment", "A comment.")
    if isinstance(comment, str):
        login = changes.pop("login", None) or repo.issues[number].login
        now = hub.now()
        comment = Comment(hub.new_id(), number, comment, login, now, now)
        repo.comments[comment.id] = comment
    over = {
        "issue": shapes.issue(repo, repo.issues[number]),
        "comment": shapes.comment(repo, comment),
    }
    return over, comment.login


def _issues(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    number = changes.pop("number", None) or max(repo.issues)
    return {"issue": shapes.issue(repo, repo.issues[number])}, repo.issues[number].login


def _push(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    before, after = changes.pop("before", ZERO), changes.pop("after")
    deleted = after == ZERO
    head = {"id": after, "message": "A change"}
    over = {
        "ref": changes.pop("ref", f"refs/heads/{repo.default_branch}"),
        "before": before,
        "after": after,
        "created": before == ZERO,
        "deleted": deleted,
        "forced": False,
        "head_commit": None if deleted else head,
        "compare": f"{hub.web_url}/{repo.full_name}/compare/{before[:12]}...{after[:12]}",
    }
    return over, None


def _check_run(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], None]:
    check = repo.checks[changes.pop("check")]
    suite = suite_shape(shapes, repo, repo.suites[check.suite])
    over: dict[str, Any] = {
        "check_run": {**check_shape(shapes, repo, check), "check_suite": _lean(suite)}
    }
    if "identifier" in changes:
        over["requested_action"] = {"identifier": changes.pop("identifier")}
    return over, None


def _check_suite(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], None]:
    if "suite" in changes:
        return {
            "check_suite": _lean(suite_shape(shapes, repo, repo.suites[changes.pop("suite")]))
        }, None
    return {"check_suite": {"head_sha": changes.pop("head"), "pull_requests": []}}, None


def _release(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    release = hub.release(repo.full_name, changes.pop("tag"))
    return {"release": release_shape(shapes, repo, release)}, release.login


def _repository(
    hub: FakeGitHub, shapes: Shapes, repo: Repo, changes: dict[str, Any]
) -> tuple[dict[str, Any], None]:
    if "old_name" not in changes:
        return {}, None
    return {"changes": {"repository": {"name": {"from": changes.pop("old_name")}}}}, None


def _lean(suite: dict[str, Any]) -> dict[str, Any]:
    """A suite as deliveries carry it: the repository stands beside it."""
    return {k: v for k, v in suite.items() if k not in ("repository", "head_commit")}


_BUILDERS = {
    "pull_request": _pull_request,
    "pull_request_review": _pull_request,
    "issue_comment": _issue_comment,
    "issues": _issues,
    "push": _push,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "release": _release,
    "repository": _repository,
}
