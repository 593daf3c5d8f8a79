"""Which names are those of repositories."""

import random

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.forge.github.open import open_client, open_github


def opened(name, tmp_path):
    clock, rng = SystemClock(), random.Random(0)
    client = open_client("token", clock=clock, rng=rng, api_url="http://127.0.0.1:9")
    return open_github(client, name, clock=clock, rng=rng, pages=tmp_path)


@pytest.mark.parametrize("name", ["acme/loras", "octo_acme/.github", "a/b.c_d-e"])
def test_names_that_github_gives(name, tmp_path):
    assert opened(name, tmp_path)


@pytest.mark.parametrize("name", ["acme", "acme/", "/loras", "a/b/c", "a b/c", "a/b?c", "ü/b", ""])
def test_names_that_would_ask_for_something_else(name, tmp_path):
    with pytest.raises(UsageError, match="no repository on GitHub"):
        opened(name, tmp_path)
