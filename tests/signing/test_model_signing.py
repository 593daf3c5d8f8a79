"""Folders signed here verify with the `model_signing` package, and the other way round."""

import base64
import json
import os
import subprocess
import sys
from datetime import date

import pytest

from lora_ci.core.errors import IntegrityError
from lora_ci.signing.dsse import sign_payload
from lora_ci.signing.envelope import FILE_NAME, sign_digests, verify_signature
from lora_ci.signing.files import check_folder, digest_folder
from lora_ci.signing.keys import make_key, public_pem
from lora_ci.signing.signers import Signer, Signers

TODAY = date(2026, 3, 1)


class Folder:
    """A folder of files, a key, and those who trust it."""

    def __init__(self, root) -> None:
        self.path = root / "mei"
        (self.path / "sub").mkdir(parents=True)
        (self.path / "b.txt").write_bytes(b"b")
        (self.path / "a.bin").write_bytes(bytes(range(256)))
        (self.path / "sub" / "empty").write_bytes(b"")
        self.private = root / "key.pem"
        self.key = make_key(self.private)
        self.public = root / "key.pub"
        self.public.write_text(public_pem(self.key.public_key()))
        self.signers = Signers(signers=(Signer(name="release", key=self.key.public_key()),))
        self.signature = self.path / FILE_NAME

    def sign(self) -> None:
        digests = digest_folder(self.path, but=FILE_NAME)
        self.signature.write_bytes(sign_digests("mei", digests, self.key))

    def verify(self, signers=None) -> None:
        data = self.signature.read_bytes()
        signed = verify_signature(data, signers or self.signers, TODAY)
        check_folder(self.path, signed.digests, but=FILE_NAME)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def signed(folder):
    folder.sign()
    return folder


def model_signing(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_their_command_verifies_our_signature(signed):
    command = ("verify", "key", signed.path, "--signature", signed.signature)
    done = model_signing(*command, "--public_key", signed.public)
    assert "Verification succeeded" in done.stdout, done.stderr
    (signed.path / "b.txt").write_bytes(b"B")
    done = model_signing(*command, "--public_key", signed.public)
    assert done.returncode != 0
    assert "b.txt" in done.stdout + done.stderr


def test_their_library_verifies_our_signature(signed):
    from model_signing.verifying import Config

    verifier = Config().use_elliptic_key_verifier(public_key=signed.public)
    verifier.verify(signed.path, signed.signature)
    (signed.path / "more").write_bytes(b"")
    with pytest.raises(ValueError, match="more"):
        verifier.verify(signed.path, signed.signature)


def test_we_verify_the_signature_of_their_command(folder):
    key = ("--private_key", folder.private)
    done = model_signing("sign", "key", folder.path, "--signature", folder.signature, *key)
    assert done.returncode == 0, done.stderr
    folder.verify()
    (folder.path / "b.txt").write_bytes(b"B")
    with pytest.raises(IntegrityError, match=r"b\.txt: changed"):
        folder.verify()


def test_we_verify_the_signature_of_their_library(folder):
    from model_signing.signing import Config

    Config().use_elliptic_key_signer(private_key=folder.private).sign(folder.path, folder.signature)
    folder.verify()


def test_what_is_not_as_signed_is_named(signed):
    signed.verify()
    (signed.path / "sub" / "empty").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"sub/empty: changed"):
        signed.verify()
    (signed.path / "sub" / "empty").unlink()
    with pytest.raises(IntegrityError, match=r"sub/empty: missing"):
        signed.verify()
    (signed.path / "sub" / "empty").symlink_to(signed.path / "b.txt")
    with pytest.raises(IntegrityError, match=r"sub/empty: a symbolic link"):
        signed.verify()
    (signed.path / "sub" / "empty").unlink()
    (signed.path / "sub" / "empty").write_bytes(b"")
    (signed.path / "sub" / "more").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"sub/more: nobody signed"):
        signed.verify()


def test_every_flipped_bit_of_a_signature_is_refused(signed):
    good = signed.signature.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        with pytest.raises(IntegrityError, match=r"model\.sig"):
            verify_signature(bytes(bad), signed.signers, TODAY)


def change(good: bytes, edit) -> bytes:
    bundle = json.loads(good)
    edit(bundle)
    return json.dumps(bundle, separators=(",", ":")).encode()


def payload(bundle, edit) -> None:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    edit(statement)
    text = json.dumps(statement).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()


HOSTILE = [
    lambda b: b["dsseEnvelope"]["signatures"].clear(),
    lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]),
    lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
    lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=""),
    lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid="0" * 64),
    lambda b: b["verificationMaterial"]["publicKey"].update(hint=""),
    lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64),
    lambda b: b["verificationMaterial"].update(certificate={}),
    lambda b: b.update(mediaType="x"),
    lambda b: b.update(more=1),
    lambda b: payload(b, lambda s: s["predicate"]["resources"].pop()),
    lambda b: payload(b, lambda s: s.update(predicateType="x")),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_changed_bundle_is_refused(signed, number):
    data = change(signed.signature.read_bytes(), HOSTILE[number])
    with pytest.raises(IntegrityError, match=r"model\.sig"):
        verify_signature(data, signed.signers, TODAY)


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
        lambda s: s["subject"].append(s["subject"][0]),
        lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake3"),
        lambda s: s["predicate"]["resources"][0].update(digest="xy"),
        lambda s: s["predicate"]["serialization"].update(method="shards"),
        lambda s: s.update(_type="x"),
        lambda s: s.pop("predicate"),
    ],
)
def test_a_signed_statement_that_says_something_else_is_refused(signed, edit):
    bundle = json.loads(signed.signature.read_bytes())
    payload(bundle, edit)
    text = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    envelope = sign_payload(text, bundle["dsseEnvelope"]["payloadType"], signed.key)
    sig = base64.b64encode(envelope.signatures[0].sig).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig
    data = json.dumps(bundle, separators=(",", ":")).encode()
    with pytest.raises(IntegrityError, match=r"model\.sig"):
        verify_signature(data, signed.signers, TODAY)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 99_999, b"\xff", b"x" * (5 << 20)])
def test_bytes_that_are_no_signature_are_refused(signed, data):
    with pytest.raises(IntegrityError, match=r"model\.sig"):
        verify_signature(data, signed.signers, TODAY)


def test_a_stranger_is_refused(signed, tmp_path):
    stranger = make_key(tmp_path / "other.pem").public_key()
    with pytest.raises(IntegrityError, match="does not trust"):
        signed.verify(Signers(signers=(Signer(name="other", key=stranger),)))
    with pytest.raises(IntegrityError, match="does not trust"):
        signed.verify(Signers(signers=()))


def test_a_pipe_is_refused_and_not_waited_for(signed):
    (signed.path / "b.txt").unlink()
    os.mkfifo(signed.path / "b.txt")
    with pytest.raises(IntegrityError, match=r"b\.txt: a device or pipe"):
        signed.verify()
