"""What several tests of the fake start from."""

import pytest

from tests.fake_github import FakeGitHub


@pytest.fixture
def hub():
    """One repository with one pull request."""
    with FakeGitHub() as hub:
        hub.add_repo("acme/loras")
        hub.open_pull("acme/loras", head="a" * 40, base="b" * 40)
        yield hub
