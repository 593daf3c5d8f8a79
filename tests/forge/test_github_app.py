"""An App asks GitHub: its pass, the tokens of its installation, and a clock that is wrong."""

from datetime import timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lora_ci.core.errors import UsageError
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.auth import sign_jwt
from lora_ci.forge.github.open import open_app, open_installation
from tests.github_world import REPO, Clock, open_world

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def pem_of(key) -> str:
    return key.private_bytes(PEM, PKCS8, serialization.NoEncryption()).decode()


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def world(tmp_path, key):
    with open_world(tmp_path) as world:
        public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        world.app = world.hub.add_app(public, slug="lora-ci-acme")
        world.hub.install(world.app, REPO)
        world.pull()
        yield world


def install(world, key, **ahead: int):
    """The App where it is installed, on a machine whose clock is ahead."""
    world.clock.ahead = timedelta(**ahead)
    options = {"rng": Random(0), "api_url": world.hub.api_url}
    app, client = open_app(str(world.app.id), pem_of(key), clock=world.clock, **options)
    return open_installation(app, client, REPO, **options)


def minted(world) -> int:
    return world.hub.count("POST", "/access_tokens", status=201)


@pytest.mark.parametrize("minutes", [0, 10, -10, 300])
def test_a_clock_that_is_wrong_is_put_right(world, key, minutes):
    auth, client = install(world, key, minutes=minutes)
    forge = world.open(client, login=auth.login())[0]
    for body in ("one", "two"):
        forge.upsert_comment(1, body)
    forge.publish_check(world.check())
    (comment,) = world.repo.comments_on(1)
    assert (comment.login, comment.body.splitlines()[-1]) == ("lora-ci-acme[bot]", "two")
    assert [run.app for run in world.repo.checks.values()] == ["lora-ci-acme"]
    assert minted(world) == 1


def test_a_token_is_kept_until_shortly_before_its_end(world, key):
    auth, _ = install(world, key)
    first = auth.token()
    world.clock.ahead = timedelta(minutes=50)
    assert auth.token() == first
    world.clock.ahead = timedelta(minutes=56)
    assert auth.token() != first
    assert minted(world) == 2


def test_a_token_that_was_revoked_is_replaced(world, key):
    auth, client = install(world, key)
    world.hub.tokens.pop(auth.token())
    world.open(client, login=auth.login())[0].upsert_comment(1, "x")
    assert len(world.repo.comments) == 1
    assert minted(world) == 2


def test_minting_survives_trouble(world, key):
    world.hub.faults.add(match="POST */access_tokens", kind="502_after_write")
    world.hub.faults.add(match="GET */installation", kind="truncated")
    auth, client = install(world, key)
    assert client.get(f"/repos/{REPO}", dict)["full_name"] == REPO
    assert auth.token()


def test_an_app_that_is_not_installed_or_not_known_is_told(world, key):
    world.app.installations.clear()
    auth, _ = install(world, key)
    with pytest.raises(Refused, match="404"):
        auth.token()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    auth, _ = install(world, other)
    with pytest.raises(Refused, match="401") as caught:
        auth.token()
    assert "its id, key and clock" in caught.value.findings[0].hint


def test_secrets_are_in_no_repr(world, key):
    auth, client = install(world, key)
    token = auth.token()
    shown = "".join(map(repr, (auth, auth.app, client, vars(client))))
    assert token not in shown
    assert "PRIVATE KEY" not in shown


@pytest.mark.parametrize("pem", ["", "secret words", "-----BEGIN RSA PRIVATE KEY-----\nx", "ec"])
def test_what_is_no_key_is_refused_without_showing_it(pem):
    given = pem_of(ec.generate_private_key(ec.SECP256R1())) if pem == "ec" else pem
    with pytest.raises(UsageError, match="private key") as caught:
        sign_jwt("1", given, Clock().now())
    assert "secret words" not in str(caught.value)
