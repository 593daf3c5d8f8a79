"""What the fake remembers, as GitHub's API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_github.spec import complete
from tests.fake_github.state import (
    App,
    Comment,
    Installation,
    Issue,
    Reaction,
    Repo,
    ReviewComment,
)

if TYPE_CHECKING:
    from tests.fake_github.hub import FakeGitHub

Shape = dict[str, Any]


def node_id(kind: str, number: int) -> str:
    """An opaque id of the kind GraphQL uses."""
    return f"{kind}_{number:08x}"


class Shapes:
    """`api` is the address of the API that the links in it begin with."""

    def __init__(self, hub: FakeGitHub, api: str):
        self.hub = hub
        self.api = api

    def repo_url(self, repo: Repo) -> str:
        return f"{self.api}/repos/{repo.full_name}"

    def web(self, repo: Repo) -> str:
        return f"{self.hub.web_url}/{repo.full_name}"

    # -- people and repositories ----------------------------------------------------------------

    def user(self, login: str, schema: str = "simple-user") -> Shape:
        person = self.hub.person(login)
        return complete(
            schema,
            {
                "login": person.login,
                "id": person.id,
                "node_id": node_id("U", person.id),
                "type": person.kind,
                "url": f"{self.api}/users/{person.login}",
                "html_url": f"{self.hub.web_url}/{person.login}",
            },
        )

    def repo(self, repo: Repo, schema: str = "repository") -> Shape:
        shape = complete(
            schema,
            {
                "id": repo.id,
                "node_id": node_id("R", repo.id),
                "name": repo.name,
                "full_name": repo.full_name,
                "owner": self.user(repo.owner),
                "private": repo.private,
                "fork": repo.fork_of is not None,
                "archived": repo.archived,
                "default_branch": repo.default_branch,
                "url": self.repo_url(repo),
                "html_url": self.web(repo),
                "clone_url": self.hub.git_url(repo.full_name),
                "hooks_url": f"{self.repo_url(repo)}/hooks",
                "created_at": self.hub.stamp(repo.created),
                "updated_at": self.hub.stamp(repo.created),
                "pushed_at": self.hub.stamp(repo.created),
                "visibility": "private" if repo.private else "public",
            },
        )
        if schema == "full-repository" and repo.fork_of and repo.fork_of.lower() in self.hub.repos:
            shape["parent"] = self.repo(self.hub.repo(repo.fork_of))
            shape["source"] = shape["parent"]
        return shape

    def app(self, app: App) -> Shape:
        return complete(
            "integration",
            {
                "id": app.id,
                "slug": app.slug,
                "node_id": node_id("A", app.id),
                "owner": self.user(app.owner),
                "name": app.slug,
                "permissions": app.permissions,
                "events": list(app.events),
                "installations_count": len(app.installations),
            },
        )

    def app_of_slug(self, slug: str) -> Shape:
        known = self.hub.apps.get(slug)
        if known is not None:
            return self.app(known)
        return complete(
            "integration",
            {
                "id": 15368,
                "slug": slug,
                "name": slug,
                "owner": self.user("github"),
                "permissions": {},
            },
        )

    def installation(self, app: App, installation: Installation) -> Shape:
        account = self.user(installation.account)
        at = f"{self.api}/app/installations/{installation.id}"
        return complete(
            "installation",
            {
                "id": installation.id,
                "app_id": app.id,
                "app_slug": app.slug,
                "account": account,
                "target_id": account["id"],
                "target_type": account["type"],
                "permissions": installation.permissions,
                "repository_selection": "selected",
                "access_tokens_url": f"{at}/access_tokens",
                "events": list(app.events),
                "suspended_at": self.hub.stamp() if installation.suspended else None,
            },
        )

    # -- issues and pull requests ---------------------------------------------------------------

    def issue(self, repo: Repo, issue: Issue) -> Shape:
        url = f"{self.repo_url(repo)}/issues/{issue.number}"
        kind = "pull" if issue.pull else "issues"
        html = f"{self.web(repo)}/{kind}/{issue.number}"
        shape = complete(
            "issue",
            {
                "id": issue.id,
                "node_id": node_id("I", issue.id),
                "number": issue.number,
                "title": issue.title,
                "body": issue.body,
                "state": issue.state,
                "user": self.user(issue.login),
                "comments": len(repo.comments_on(issue.number)),
                "url": url,
                "html_url": html,
                "comments_url": f"{url}/comments",
                "repository_url": self.repo_url(repo),
                "created_at": self.hub.stamp(issue.created),
                "updated_at": self.hub.stamp(issue.created),
                "closed_at": self.hub.stamp(issue.closed) if issue.closed else None,
                "author_association": "MEMBER",
            },
        )
        if issue.pull:
            shape["draft"] = issue.pull.draft
            shape["pull_request"] = {
                "url": f"{self.repo_url(repo)}/pulls/{issue.number}",
                "html_url": html,
                "diff_url": f"{html}.diff",
                "patch_url": f"{html}.patch",
                "merged_at": self.hub.stamp(issue.pull.merged) if issue.pull.merged else None,
            }
        return shape

    def review_comment(self, repo: Repo, comment: ReviewComment) -> Shape:
        """Where the lines are others in the head now, the comment has none any more."""
        pull, store = repo.pulls[comment.number], self.hub.store(repo)
        first = (comment.start_line or comment.line) - 1
        then, now = (store.lines(c, comment.path) for c in (comment.commit, pull.head))
        stands = then[first : comment.line] == now[first : comment.line]
        url = f"{self.repo_url(repo)}/pulls/comments/{comment.id}"
        page = f"{self.web(repo)}/pull/{comment.number}"
        links = {
            "self": url,
            "html": f"{page}#discussion_r{comment.id}",
            "pull_request": f"{self.repo_url(repo)}/pulls/{comment.number}",
        }
        shape = {
            "id": comment.id,
            "node_id": node_id("PRRC", comment.id),
            "url": url,
            "html_url": links["html"],
            "pull_request_url": links["pull_request"],
            "diff_hunk": store.patch(pull.base, comment.commit, comment.path),
            "path": comment.path,
            "commit_id": pull.head if stands else comment.commit,
            "original_commit_id": comment.commit,
            "user": self.user(comment.login),
            "body": comment.body,
            "author_association": "NONE",
            "created_at": self.hub.stamp(comment.created),
            "updated_at": self.hub.stamp(comment.updated),
            "original_line": comment.line,
            "original_start_line": comment.start_line,
            "side": "RIGHT",
            "_links": {name: {"href": address} for name, address in links.items()},
        }
        if stands:
            shape |= {"line": comment.line, "start_line": comment.start_line}
        return complete("pull-request-review-comment", shape)

    def comment(self, repo: Repo, comment: Comment) -> Shape:
        kind = "pull" if repo.issues[comment.number].pull else "issues"
        return complete(
            "issue-comment",
            {
                "id": comment.id,
                "node_id": node_id("IC", comment.id),
                "body": comment.body,
                "user": self.user(comment.login),
                "author_association": "NONE",
                "url": f"{self.repo_url(repo)}/issues/comments/{comment.id}",
                "issue_url": f"{self.repo_url(repo)}/issues/{comment.number}",
                "html_url": f"{self.web(repo)}/{kind}/{comment.number}#issuecomment-{comment.id}",
                "created_at": self.hub.stamp(comment.created),
                "updated_at": self.hub.stamp(comment.updated),
                "performed_via_github_app": self.app_of_slug(comment.app) if comment.app else None,
            },
        )

    def reaction(self, reaction: Reaction) -> Shape:
        return {
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.user(reaction.login),
            "content": reaction.content,
            "created_at": self.hub.stamp(reaction.created),
        }

    def pull(self, repo: Repo, number: int, schema: str = "pull-request-simple") -> Shape:
        issue = repo.issues[number]
        pull = issue.pull
        assert pull is not None
        url = f"{self.repo_url(repo)}/pulls/{number}"
        html = f"{self.web(repo)}/pull/{number}"
        shape = complete(
            schema,
            {
                "id": pull.id,
                "node_id": node_id("PR", pull.id),
                "number": number,
                "title": issue.title,
                "body": issue.body,
                "state": issue.state,
                "draft": pull.draft,
                "user": self.user(issue.login),
                "author_association": pull.association,
                "head": self._end(repo, pull.head_repo, pull.head_ref, pull.head),
                "base": self._end(repo, repo.full_name, pull.base_ref, pull.base),
                "url": url,
                "html_url": html,
                "issue_url": f"{self.repo_url(repo)}/issues/{number}",
                "comments_url": f"{self.repo_url(repo)}/issues/{number}/comments",
                "commits_url": f"{url}/commits",
                "statuses_url": f"{self.repo_url(repo)}/statuses/{pull.head}",
                "created_at": self.hub.stamp(pull.created),
                "updated_at": self.hub.stamp(pull.created),
                "closed_at": self.hub.stamp(issue.closed) if issue.closed else None,
                "merged_at": self.hub.stamp(pull.merged) if pull.merged else None,
                "merge_commit_sha": pull.merge_commit,
            },
        )
        if schema == "pull-request":
            shape |= {
                "merged": pull.merged is not None,
                "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
                "comments": len(repo.comments_on(number)),
                "mergeable": None if issue.state == "closed" else True,
                "mergeable_state": "clean",
            }
        return shape

    def _end(self, here: Repo, full_name: str | None, ref: str, sha: str) -> Shape:
        repo = self.hub.repos.get(full_name.lower()) if full_name else None
        owner = full_name.split("/")[0] if full_name else here.owner
        return {
            "label": f"{owner}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.user(owner),
            "repo": self.repo(repo) if repo else None,
        }
