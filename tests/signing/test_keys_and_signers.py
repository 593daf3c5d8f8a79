"""Keys are made once; a trust file says who counts, and a slip in it is an error."""

import json
import stat
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InfrastructureError, IntegrityError, UsageError
from lora_ci.signing.keys import key_id, load_key, make_key, parse_public_key, public_pem
from lora_ci.signing.signers import Signer, Signers, parse_signers, read_signers, render_signers

TODAY = date(2026, 3, 1)


def test_a_key_is_its_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    key = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_id(load_key(path).public_key()) == key_id(key.public_key())
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        make_key(path)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="cannot be written"):
        make_key(tmp_path / "nowhere" / "key.pem")


def test_a_key_that_this_machine_lacks_is_no_fault_of_the_input(tmp_path):
    other_curve = ec.generate_private_key(ec.SECP384R1())
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (tmp_path / "p384").write_bytes(other_curve.private_bytes(*pem, serialization.NoEncryption()))
    (tmp_path / "locked").write_bytes(
        other_curve.private_bytes(*pem, serialization.BestAvailableEncryption(b"x"))
    )
    (tmp_path / "text").write_text("no key")
    for name in ("missing", "p384", "locked", "text"):
        with pytest.raises(InfrastructureError, match="signing key") as caught:
            load_key(tmp_path / name)
        assert "lora-ci deploy new-key" in caught.value.findings[0].hint


@pytest.mark.parametrize("pem", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_what_is_no_public_key_is_refused(pem):
    with pytest.raises(ValueError, match="public key"):
        parse_public_key(pem)


def make_signer(name="release", expires=None) -> Signer:
    return Signer(
        name=name, key=ec.generate_private_key(ec.SECP256R1()).public_key(), expires=expires
    )


def test_a_trust_file_is_read_as_it_was_written(tmp_path):
    signers = Signers(signers=(make_signer(), make_signer("old", TODAY)), origin="x")
    assert parse_signers(render_signers(signers), "x") == signers
    assert Signers(signers=()).adding(signers.signers[0]).signers == signers.signers[:1]
    with pytest.raises(UsageError, match="nobody's signature is trusted"):
        read_signers(tmp_path / "missing.json")


def test_who_is_not_trusted_is_named_with_what_to_do():
    signer, old = make_signer(), make_signer("old", TODAY)
    signers = Signers(signers=(signer, old))
    assert signers.trusted(signer.id, TODAY, "model.sig") is signer
    assert signers.trusted(old.id, TODAY, "model.sig") is old
    stranger = make_signer().id
    for name, day, words in (
        (stranger, TODAY, f"signed by key {stranger}"),
        (old.id, TODAY + timedelta(days=1), f"{old.id} of old, trusted until 2026-03-01"),
        ("", TODAY, "does not say which key"),
    ):
        with pytest.raises(IntegrityError, match=words) as caught:
            signers.trusted(name, day, "model.sig")
        hint = caught.value.findings[0].hint
        assert hint is None or ".lora-ci-signers.json" in hint


JUNK = [b"[" * 99_999, b"x" * (1 << 21), b'{"version":1,"signers":"\xff"}']
PEM = public_pem(make_signer().key)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"version": 2, "signers": []}, "version"),
        ({"version": 1}, "signers"),
        ({"version": 1, "signers": [], "more": 1}, "more"),
        ({"version": 1, "signers": [{"name": "a", "public_key": PEM, "expire": "x"}]}, "expire"),
        ({"version": 1, "signers": [{"name": "a", "public_key": PEM, "expires": "soon"}]}, "date"),
        ({"version": 1, "signers": [{"name": "a", "public_key": "AAAA"}]}, "signers.0. 'a'"),
        ({"version": 1, "signers": [{"name": n, "public_key": PEM} for n in "ab"]}, "twice"),
        ([], "no trust file"),
    ],
)
def test_a_slip_in_the_trust_file_is_an_error(file, words):
    with pytest.raises(UsageError, match=words):
        parse_signers(json.dumps(file).encode(), "signers.json")


@given(st.one_of(st.binary(max_size=99), st.sampled_from(JUNK)))
def test_any_bytes_are_a_trust_file_or_a_usage_error(data):
    with pytest.raises(UsageError):
        parse_signers(data, "signers.json")
