"""A stateful fake of GitHub for tests: the REST API, git over HTTP, webhooks, and their troubles.

    with FakeGitHub() as hub:
        hub.add_repo("acme/loras", path=git_dir)
        token = hub.token({"issues": "write", "checks": "write"})
        pull = hub.open_pull("acme/loras", head=sha)
        ...
        assert len(hub.repo("acme/loras").comments_on(pull.number)) == 1

Every request and every answer is checked against GitHub's published description.
By hand: `python -m tests.fake_github --repo owner/name=path`.
"""

from tests.fake_github.hub import FakeGitHub

__all__ = ["FakeGitHub"]
