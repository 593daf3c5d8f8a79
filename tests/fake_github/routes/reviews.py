"""Comments at the lines of a pull request's diff."""

import re

from tests.fake_github.call import Answer, Call, Refusal, invalid, not_found
from tests.fake_github.git_store import GitFailed
from tests.fake_github.routes.issues import BODY_LIMIT, need_edit
from tests.fake_github.routing import Routes
from tests.fake_github.state import Pull, ReviewComment

routes = Routes()
REPO = "/repos/{owner}/{repo}"
READ, WRITE = "pull_requests:read", "pull_requests:write"
HUNK = re.compile(r"(?m)^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


@routes.operation("GET", REPO + "/pulls/{pull_number}/comments", READ)
def list_review_comments(call: Call) -> Answer:
    pull = _pull(call)
    found = [c for c in call.repo.review_comments.values() if c.number == pull.number]
    return call.page(found, lambda c: call.shapes.review_comment(call.repo, c))


@routes.operation("POST", REPO + "/pulls/{pull_number}/comments", WRITE)
def create_review_comment(call: Call) -> Answer:
    pull, asked = _pull(call), call.json()
    last = asked.get("line")
    first = asked.get("start_line", last)
    if asked.get("commit_id") != pull.head:
        raise Refusal(
            422, "Validation Failed", errors=["commit_id is not part of the pull request"]
        )
    if not _in_one_hunk(call, pull, str(asked.get("path")), first, last):
        told = "pull_request_review_thread.line must be part of the diff"
        raise Refusal(422, "Validation Failed", errors=[told])
    if "start_line" in asked and first >= last:
        told = "pull_request_review_thread.start_line must precede the end line."
        raise Refusal(422, "Validation Failed", errors=[told])
    now = call.hub.now()
    comment = ReviewComment(
        id=call.hub.new_id(),
        number=pull.number,
        body=_body(call),
        login=call.login,
        created=now,
        updated=now,
        path=asked["path"],
        line=last,
        start_line=asked.get("start_line"),
        commit=pull.head,
    )
    call.repo.review_comments[comment.id] = comment
    shape = call.shapes.review_comment(call.repo, comment)
    return Answer(201, shape, {"Location": shape["url"]})


@routes.operation("GET", REPO + "/pulls/comments/{comment_id}", READ)
def get_review_comment(call: Call) -> Answer:
    return Answer(200, call.shapes.review_comment(call.repo, _comment(call)))


@routes.operation("PATCH", REPO + "/pulls/comments/{comment_id}", WRITE)
def update_review_comment(call: Call) -> Answer:
    comment = _comment(call)
    comment.body, comment.updated = _body(call), call.hub.now()
    return Answer(200, call.shapes.review_comment(call.repo, comment))


@routes.operation("DELETE", REPO + "/pulls/comments/{comment_id}", WRITE)
def delete_review_comment(call: Call) -> Answer:
    del call.repo.review_comments[_comment(call).id]
    return Answer(204)


def _in_one_hunk(call: Call, pull: Pull, path: str, first: object, last: object) -> bool:
    """True if the lines of the head's file are shown by one part of the diff."""
    if not isinstance(first, int) or not isinstance(last, int):
        return False
    try:
        patch = call.hub.store(call.repo).patch(pull.base, pull.head, path)
    except GitFailed:
        return False
    for match in HUNK.finditer(patch):
        start, count = int(match[1]), int(match[2] or 1)
        if start <= first and last < start + count:
            return True
    return False


def _pull(call: Call) -> Pull:
    pull = call.repo.pulls.get(call.number("pull_number"))
    if pull is None:
        raise not_found()
    return pull


def _comment(call: Call) -> ReviewComment:
    comment = call.repo.review_comments.get(call.number("comment_id"))
    if comment is None:
        raise not_found()
    if call.method != "GET":
        need_edit(call, comment.login)
    return comment


def _body(call: Call) -> str:
    body = call.json().get("body")
    if not isinstance(body, str) or not body.strip():
        raise invalid("PullRequestReviewComment", "body", "missing_field")
    if len(body) > BODY_LIMIT:
        raise invalid("PullRequestReviewComment", "body", "unprocessable", "body is too long")
    return body
