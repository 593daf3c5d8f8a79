"""Issues, their comments and reactions."""

from tests.fake_github.call import Answer, Call, Refusal, invalid, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.state import Comment, Issue, Reaction

routes = Routes()
REPO = "/repos/{owner}/{repo}"
BODY_LIMIT = 65536
READ = ("issues:read", "pull_requests:read")
WRITE = ("issues:write", "pull_requests:write")
REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")


@routes.operation("GET", REPO + "/issues/{issue_number}", *READ)
def get_issue(call: Call) -> Answer:
    return Answer(200, call.shapes.issue(call.repo, _issue(call)))


@routes.operation("GET", REPO + "/issues/{issue_number}/comments", *READ)
def list_comments(call: Call) -> Answer:
    comments = call.repo.comments_on(_issue(call).number)
    return call.page(comments, lambda c: call.shapes.comment(call.repo, c))


@routes.operation("POST", REPO + "/issues/{issue_number}/comments", *WRITE)
def create_comment(call: Call) -> Answer:
    issue = _issue(call)
    body = _body(call)
    now = call.hub.now()
    assert call.token is not None
    comment = Comment(
        id=call.hub.new_id(),
        number=issue.number,
        body=body,
        login=call.login,
        created=now,
        updated=now,
        app=call.token.app,
    )
    call.repo.comments[comment.id] = comment
    shape = call.shapes.comment(call.repo, comment)
    return Answer(201, shape, {"Location": shape["url"]})


@routes.operation("GET", REPO + "/issues/comments", *READ)
def list_all_comments(call: Call) -> Answer:
    comments = sorted(call.repo.comments.values(), key=lambda c: c.id)
    if call.query.get("sort") == "updated":
        comments.sort(key=lambda c: c.updated)
    if call.query.get("direction") == "desc":
        comments.reverse()
    return call.page(comments, lambda c: call.shapes.comment(call.repo, c))


@routes.operation("GET", REPO + "/issues/comments/{comment_id}", *READ)
def get_comment(call: Call) -> Answer:
    return Answer(200, call.shapes.comment(call.repo, _comment(call)))


@routes.operation("PATCH", REPO + "/issues/comments/{comment_id}", *WRITE)
def update_comment(call: Call) -> Answer:
    comment = _own_comment(call)
    comment.body = _body(call)
    comment.updated = call.hub.now()
    return Answer(200, call.shapes.comment(call.repo, comment))


@routes.operation("DELETE", REPO + "/issues/comments/{comment_id}", *WRITE)
def delete_comment(call: Call) -> Answer:
    del call.repo.comments[_own_comment(call).id]
    return Answer(204)


@routes.operation("GET", REPO + "/issues/comments/{comment_id}/reactions", *READ)
def list_reactions(call: Call) -> Answer:
    wanted = call.query.get("content")
    found = [r for r in _comment(call).reactions if wanted in (None, r.content)]
    return call.page(found, call.shapes.reaction)


@routes.operation("POST", REPO + "/issues/comments/{comment_id}/reactions", *WRITE)
def create_reaction(call: Call) -> Answer:
    comment = _comment(call)
    content = call.json().get("content")
    if content not in REACTIONS:
        raise invalid("Reaction", "content", "invalid")
    for reaction in comment.reactions:
        if reaction.content == content and reaction.login == call.login:
            return Answer(200, call.shapes.reaction(reaction))
    reaction = Reaction(call.hub.new_id(), content, call.login, call.hub.now())
    comment.reactions.append(reaction)
    return Answer(201, call.shapes.reaction(reaction))


@routes.operation("DELETE", REPO + "/issues/comments/{comment_id}/reactions/{reaction_id}", *WRITE)
def delete_reaction(call: Call) -> Answer:
    comment = _comment(call)
    wanted = call.number("reaction_id")
    kept = [r for r in comment.reactions if r.id != wanted or r.login != call.login]
    if len(kept) == len(comment.reactions):
        raise not_found()
    comment.reactions = kept
    return Answer(204)


def _issue(call: Call) -> Issue:
    issue = call.repo.issues.get(call.number("issue_number"))
    if issue is None:
        raise not_found()
    return issue


def _comment(call: Call) -> Comment:
    comment = call.repo.comments.get(call.number("comment_id"))
    if comment is None:
        raise not_found()
    return comment


def _own_comment(call: Call) -> Comment:
    comment = _comment(call)
    need_edit(call, comment.login)
    return comment


def need_edit(call: Call, login: str) -> None:
    """Refuses a caller who neither wrote the comment, as `login`, nor may write here.

    An app edits comments of others only with write access to what they are on.
    """
    assert call.token is not None
    mine = login == call.login
    if not mine and not call.token.is_app and not call.repo.may(call.login, "write"):
        raise Refusal(403, "Must have write access to edit a comment of somebody else")


def _body(call: Call) -> str:
    body = call.json().get("body")
    if not isinstance(body, str) or not body.strip():
        raise invalid("IssueComment", "body", "missing_field")
    if len(body) > BODY_LIMIT:
        raise invalid(
            "IssueComment",
            "data",
            "unprocessable",
            "Body is too long (maximum is 65536 characters)",
        )
    return body
