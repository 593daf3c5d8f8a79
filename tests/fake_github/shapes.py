"""What the fake remembers, as GitHub's API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_github.spec import complete
from tests.fake_github.state import (
    App,
    Artifact,
    Asset,
    CheckRun,
    CheckSuite,
    Comment,
    Delivery,
    Hook,
    Installation,
    Issue,
    Job,
    Reaction,
    Release,
    Repo,
    Runner,
    Status,
    WorkflowRun,
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

    def _repo_url(self, repo: Repo) -> str:
        return f"{self.api}/repos/{repo.full_name}"

    def _web(self, repo: Repo) -> str:
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
                "url": self._repo_url(repo),
                "html_url": self._web(repo),
                "clone_url": self.hub.git_url(repo.full_name),
                "hooks_url": f"{self._repo_url(repo)}/hooks",
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
        url = f"{self._repo_url(repo)}/issues/{issue.number}"
        kind = "pull" if issue.pull else "issues"
        html = f"{self._web(repo)}/{kind}/{issue.number}"
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
                "repository_url": self._repo_url(repo),
                "created_at": self.hub.stamp(issue.created),
                "updated_at": self.hub.stamp(issue.created),
                "closed_at": self.hub.stamp(issue.closed) if issue.closed else None,
                "author_association": "MEMBER",
            },
        )
        if issue.pull:
            shape["draft"] = issue.pull.draft
            shape["pull_request"] = {
                "url": f"{self._repo_url(repo)}/pulls/{issue.number}",
                "html_url": html,
                "diff_url": f"{html}.diff",
                "patch_url": f"{html}.patch",
                "merged_at": self.hub.stamp(issue.pull.merged) if issue.pull.merged else None,
            }
        return shape

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
                "url": f"{self._repo_url(repo)}/issues/comments/{comment.id}",
                "issue_url": f"{self._repo_url(repo)}/issues/{comment.number}",
                "html_url": f"{self._web(repo)}/{kind}/{comment.number}#issuecomment-{comment.id}",
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
        url = f"{self._repo_url(repo)}/pulls/{number}"
        html = f"{self._web(repo)}/pull/{number}"
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
                "issue_url": f"{self._repo_url(repo)}/issues/{number}",
                "comments_url": f"{self._repo_url(repo)}/issues/{number}/comments",
                "commits_url": f"{url}/commits",
                "statuses_url": f"{self._repo_url(repo)}/statuses/{pull.head}",
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

    # -- checks and statuses --------------------------------------------------------------------

    def check(self, repo: Repo, check: CheckRun) -> Shape:
        url = f"{self._repo_url(repo)}/check-runs/{check.id}"
        html = f"{self._web(repo)}/runs/{check.id}"
        return complete(
            "check-run",
            {
                "id": check.id,
                "node_id": node_id("CR", check.id),
                "head_sha": check.head,
                "name": check.name,
                "external_id": check.external_id,
                "url": url,
                "html_url": html,
                "details_url": check.details_url or html,
                "status": check.status,
                "conclusion": check.conclusion,
                "started_at": self.hub.stamp(check.started),
                "completed_at": self.hub.stamp(check.completed) if check.completed else None,
                "output": {
                    "title": check.title,
                    "summary": check.summary,
                    "text": check.text,
                    "annotations_count": len(check.annotations),
                    "annotations_url": f"{url}/annotations",
                },
                "check_suite": {"id": check.suite},
                "app": self.app_of_slug(check.app),
                "pull_requests": [],
            },
        )

    def suite(self, repo: Repo, suite: CheckSuite) -> Shape:
        runs = [c for c in repo.checks.values() if c.suite == suite.id]
        done = bool(runs) and all(c.status == "completed" for c in runs)
        return complete(
            "check-suite",
            {
                "id": suite.id,
                "node_id": node_id("CS", suite.id),
                "head_sha": suite.head,
                "status": "completed" if done else "in_progress",
                "conclusion": worst([c.conclusion for c in runs]) if done else None,
                "url": f"{self._repo_url(repo)}/check-suites/{suite.id}",
                "created_at": self.hub.stamp(suite.created),
                "updated_at": self.hub.stamp(suite.created),
                "app": self.app_of_slug(suite.app),
                "repository": self.repo(repo, "minimal-repository"),
                "latest_check_runs_count": len(runs),
                "check_runs_url": f"{self._repo_url(repo)}/check-suites/{suite.id}/check-runs",
                "pull_requests": [],
            },
        )

    def status(self, repo: Repo, status: Status, schema: str = "status") -> Shape:
        return complete(
            schema,
            {
                "id": status.id,
                "node_id": node_id("SC", status.id),
                "url": f"{self._repo_url(repo)}/statuses/{status.sha}",
                "state": status.state,
                "context": status.context,
                "description": status.description,
                "target_url": status.target_url,
                "created_at": self.hub.stamp(status.created),
                "updated_at": self.hub.stamp(status.created),
                **({"creator": self.user(status.login)} if schema == "status" else {}),
            },
        )

    # -- releases -------------------------------------------------------------------------------

    def release(self, repo: Repo, release: Release) -> Shape:
        url = f"{self._repo_url(repo)}/releases/{release.id}"
        upload = url.replace(self.api, f"{self.hub.web_url}/api/uploads", 1)
        tag = f"untagged-{release.id:x}" if release.draft else release.tag
        return complete(
            "release",
            {
                "id": release.id,
                "node_id": node_id("RE", release.id),
                "tag_name": release.tag,
                "target_commitish": release.target,
                "name": release.name,
                "body": release.body,
                "draft": release.draft,
                "prerelease": release.prerelease,
                "immutable": release.immutable,
                "author": self.user(release.login),
                "url": url,
                "html_url": f"{self._web(repo)}/releases/tag/{tag}",
                "assets_url": f"{url}/assets",
                "upload_url": f"{upload}/assets{{?name,label}}",
                "created_at": self.hub.stamp(release.created),
                "published_at": self.hub.stamp(release.published) if release.published else None,
                "assets": [self.asset(repo, release, asset) for asset in release.assets],
            },
        )

    def asset(self, repo: Repo, release: Release, asset: Asset) -> Shape:
        import hashlib

        return complete(
            "release-asset",
            {
                "id": asset.id,
                "node_id": node_id("RA", asset.id),
                "name": asset.name,
                "label": asset.label,
                "content_type": asset.content_type,
                "size": len(asset.data),
                "digest": f"sha256:{hashlib.sha256(asset.data).hexdigest()}",
                "state": "uploaded",
                "download_count": asset.downloads,
                "uploader": self.user(asset.login),
                "url": f"{self._repo_url(repo)}/releases/assets/{asset.id}",
                "browser_download_url": (
                    f"{self._web(repo)}/releases/download/{release.tag}/{asset.name}"
                ),
                "created_at": self.hub.stamp(asset.created),
                "updated_at": self.hub.stamp(asset.created),
            },
        )

    # -- workflows ------------------------------------------------------------------------------

    def run(self, repo: Repo, run: WorkflowRun) -> Shape:
        url = f"{self._repo_url(repo)}/actions/runs/{run.id}"
        return complete(
            "workflow-run",
            {
                "id": run.id,
                "node_id": node_id("WFR", run.id),
                "name": run.name,
                "display_title": run.name,
                "event": run.event,
                "path": run.path,
                "head_sha": run.head,
                "head_branch": run.branch,
                "status": run.status,
                "conclusion": run.conclusion,
                "run_number": 1,
                "run_attempt": run.attempt,
                "url": url,
                "html_url": f"{self._web(repo)}/actions/runs/{run.id}",
                "jobs_url": f"{url}/jobs",
                "artifacts_url": f"{url}/artifacts",
                "cancel_url": f"{url}/cancel",
                "created_at": self.hub.stamp(run.created),
                "updated_at": self.hub.stamp(run.created),
                "actor": self.user(run.login),
                "repository": self.repo(repo, "minimal-repository"),
                "head_repository": self.repo(repo, "minimal-repository"),
            },
        )

    def job(self, repo: Repo, run: WorkflowRun, job: Job) -> Shape:
        done = job.status == "completed"
        return complete(
            "job",
            {
                "id": job.id,
                "node_id": node_id("JOB", job.id),
                "run_id": run.id,
                "run_url": f"{self._repo_url(repo)}/actions/runs/{run.id}",
                "name": job.name,
                "status": job.status,
                "conclusion": job.conclusion if done else None,
                "head_sha": run.head,
                "labels": list(job.labels),
                "runner_name": job.runner,
                "completed_at": self.hub.stamp() if done else None,
                "url": f"{self._repo_url(repo)}/actions/jobs/{job.id}",
            },
        )

    def artifact(self, repo: Repo, artifact: Artifact) -> Shape:
        url = f"{self._repo_url(repo)}/actions/artifacts/{artifact.id}"
        return complete(
            "artifact",
            {
                "id": artifact.id,
                "node_id": node_id("AF", artifact.id),
                "name": artifact.name,
                "size_in_bytes": len(artifact.data),
                "url": url,
                "archive_download_url": f"{url}/zip",
                "expired": artifact.expired,
                "created_at": self.hub.stamp(artifact.created),
                "updated_at": self.hub.stamp(artifact.created),
                "expires_at": self.hub.stamp(artifact.created + 90 * 86400),
                "workflow_run": {
                    "id": artifact.run,
                    "repository_id": repo.id,
                    "head_repository_id": repo.id,
                    "head_sha": artifact.head,
                },
            },
        )

    def runner(self, runner: Runner) -> Shape:
        return {
            "id": runner.id,
            "runner_group_id": runner.group,
            "name": runner.name,
            "os": "linux",
            "status": runner.status,
            "busy": runner.busy,
            "ephemeral": True,
            "labels": [{"name": label, "type": "custom"} for label in runner.labels],
        }

    # -- hooks ----------------------------------------------------------------------------------

    def hook(self, repo: Repo, hook: Hook) -> Shape:
        url = f"{self._repo_url(repo)}/hooks/{hook.id}"
        last = hook.deliveries[-1] if hook.deliveries else None
        return complete(
            "hook",
            {
                "id": hook.id,
                "type": "Repository",
                "name": "web",
                "active": hook.active,
                "events": list(hook.events),
                "config": self.hook_config(hook),
                "url": url,
                "test_url": f"{url}/test",
                "ping_url": f"{url}/pings",
                "deliveries_url": f"{url}/deliveries",
                "last_response": {
                    "code": last.status_code if last else None,
                    "status": last.status if last else "unused",
                    "message": None,
                },
            },
        )

    def hook_config(self, hook: Hook) -> Shape:
        return {
            "url": hook.url,
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": "********",
        }

    def delivery(self, delivery: Delivery, schema: str = "hook-delivery-item") -> Shape:
        shape = complete(
            schema,
            {
                "id": delivery.id,
                "guid": delivery.guid,
                "delivered_at": self.hub.stamp(delivery.delivered),
                "redelivery": delivery.redelivery,
                "duration": round(delivery.duration_s, 3),
                "status": delivery.status,
                "status_code": delivery.status_code,
                "event": delivery.event,
                "action": delivery.action,
                "installation_id": delivery.installation,
                "repository_id": delivery.repository,
                "throttled_at": None,
            },
        )
        if schema == "hook-delivery":
            shape["request"] = {"headers": delivery.request_headers, "payload": delivery.payload}
            shape["response"] = {
                "headers": delivery.response_headers,
                "payload": delivery.response,
            }
        return shape


def worst(conclusions: list[str | None]) -> str:
    """What several conclusions come to."""
    for bad in ("failure", "timed_out", "action_required", "cancelled", "neutral", "success"):
        if bad in conclusions:
            return bad
    return "neutral"
