"""What is not exactly as released is refused with file and reason; what is, lands in its place."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lora_ci.core.digest import canonical_json
from lora_ci.core.errors import InputError, IntegrityError, UsageError
from lora_ci.deploy.channels import Pointer, sign_pointer
from lora_ci.deploy.pull import Tool, Wanted, parse_wanted, pull
from lora_ci.deploy.release import parse_release, render_release
from lora_ci.deploy.stores import FolderStore
from lora_ci.deploy.verify import verify_release
from lora_ci.deploy.version import Version
from lora_ci.signing.envelope import sign_digests
from lora_ci.signing.files import digest_folder
from lora_ci.signing.keys import make_key
from lora_ci.signing.signers import Signer, Signers
from tests.releases import TODAY, Team, files_of

FILES = ("README.md", "mei-kohya.safetensors", "mei.safetensors", "model.sig", "release.json")


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    team = Team(tmp_path_factory.mktemp("team"))
    team.release("1.0.0")
    team.release("1.1.0", seed=1)
    return team


class Consumer:
    """A copy of the store that may be tampered with, and a folder to pull to."""

    def __init__(self, team: Team, root: Path) -> None:
        self.team = team
        self.store = FolderStore(root / "store")
        shutil.copytree(team.place, self.store.root)
        self.to = root / "to"

    def release(self, version: str = "1.1.0") -> Path:
        return self.store.root / "releases" / "mei" / version

    @property
    def channel(self) -> Path:
        return self.store.root / "channels" / "mei" / "latest.json"

    def verify(self, signers=None):
        return verify_release(self.release(), signers or self.team.signers, TODAY)

    def pull(self, wanted="mei", tool=None, signers=None, today=TODAY):
        return pull(
            self.store, parse_wanted(wanted), signers=signers or self.team.signers,
            destination=self.to, tool=tool, today=today,
        )  # fmt: skip

    def sign_again(self) -> None:
        """What someone with the key does to a folder that was changed."""
        digests = digest_folder(self.release(), but="model.sig")
        self.rewrite("model.sig", sign_digests("mei", digests, self.team.key))

    def rewrite(self, name: str, data: bytes) -> None:
        path = self.release() / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def placed(self) -> set[str]:
        return {n for n in files_of(self.to) if not n.startswith(".lora-ci-pull/")}


@pytest.fixture
def consumer(team, tmp_path):
    return Consumer(team, tmp_path)


def test_a_good_release_tells_what_it_is(consumer):
    verified = consumer.verify()
    assert (verified.release.lora, verified.release.version) == ("mei", "1.1.0")
    assert verified.signer.name == "team"
    assert {f.name for f in verified.files} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_refused_by_name(consumer, name):
    good = (consumer.release() / name).read_bytes()
    for place in {*range(0, len(good), 11), len(good) - 1}:
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        consumer.rewrite(name, bytes(bad))
        with pytest.raises(IntegrityError, match=f"^{name}: "):
            consumer.verify()
    consumer.rewrite(name, good)
    consumer.verify()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_cut_or_linked_file_is_refused_by_name(consumer, name):
    path = consumer.release() / name
    good = path.read_bytes()
    consumer.rewrite(name, good[:-1])
    with pytest.raises(IntegrityError, match=f"^{name}: "):
        consumer.verify()
    path.unlink()
    with pytest.raises(IntegrityError, match=f"^{name}: "):
        consumer.verify()
    elsewhere = consumer.store.root / "elsewhere"
    elsewhere.write_bytes(good)
    path.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match=f"^{name}: a symbolic link"):
        consumer.verify()


def test_an_extra_file_is_refused_by_name(consumer):
    (consumer.release() / "more.txt").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"^more\.txt: nobody signed"):
        consumer.verify()
    (consumer.release() / "more.txt").rename(consumer.release() / "\x1b[2Jx")
    with pytest.raises(IntegrityError, match="nobody signed") as caught:
        consumer.verify()
    assert "\x1b" not in str(caught.value)


def test_a_stranger_is_refused_by_key(consumer, tmp_path):
    stranger = Signer(name="x", key=make_key(tmp_path / "x.pem").public_key())
    with pytest.raises(IntegrityError, match=consumer.team.signers.signers[0].id):
        consumer.verify(Signers(signers=(stranger,)))
    old = Signer(name="team", key=consumer.team.key.public_key(), expires=TODAY - timedelta(days=1))
    with pytest.raises(IntegrityError, match="trusted until"):
        consumer.verify(Signers(signers=(old,)))


def test_a_signed_folder_that_is_no_release_is_refused(consumer):
    manifest = json.loads((consumer.release() / "release.json").read_bytes())
    manifest["files"][0]["size"] += 1
    consumer.rewrite("release.json", canonical_json(manifest))
    consumer.sign_again()
    with pytest.raises(IntegrityError, match=r"^mei-kohya\.safetensors: \d+ bytes, release\.json"):
        consumer.verify()
    del manifest["files"][0]
    consumer.rewrite("release.json", canonical_json(manifest))
    consumer.sign_again()
    with pytest.raises(IntegrityError, match=r"says otherwise .* mei-kohya\.safetensors"):
        consumer.verify()


def test_signed_weights_that_are_no_adapter_are_refused(consumer):
    junk = b"PK\x03\x04 a pickle"
    consumer.rewrite("mei.safetensors", junk)
    digest = digest_folder(consumer.release())["mei.safetensors"]
    manifest = json.loads((consumer.release() / "release.json").read_bytes())
    entry = next(f for f in manifest["files"] if f["name"] == "mei.safetensors")
    entry |= {"sha256": digest, "size": len(junk)}
    consumer.rewrite("release.json", canonical_json(manifest))
    consumer.sign_again()
    with pytest.raises(IntegrityError, match=r"mei\.safetensors: a pickle"):
        consumer.verify()
    with pytest.raises(IntegrityError, match="pickle"):
        consumer.pull("mei@v1.1.0")
    assert consumer.placed() == set()


def test_a_whole_release_is_pulled_and_stays_verifiable(consumer):
    pulled = consumer.pull()
    assert (pulled.version, pulled.channel, pulled.sequence) == ("1.1.0", "latest", 2)
    assert (pulled.signer, pulled.changed) == ("team", True)
    assert consumer.placed() == {f"mei/1.1.0/{name}" for name in FILES}
    verify_release(Path(pulled.files[0]), consumer.team.signers, TODAY)
    assert not consumer.pull().changed
    assert consumer.pull("mei@v1.0.0").version == "1.0.0"
    card = consumer.to / "mei" / "1.1.0" / "README.md"
    card.chmod(0o644)
    card.write_text("changed")
    with pytest.raises(IntegrityError, match="is there and was changed"):
        consumer.pull()


@pytest.mark.parametrize(
    ("tool", "place", "source"),
    [
        (Tool.DIFFUSERS, "mei.safetensors", "mei.safetensors"),
        (Tool.COMFYUI, "models/loras/mei.safetensors", "mei-kohya.safetensors"),
        (Tool.A1111, "models/Lora/mei.safetensors", "mei-kohya.safetensors"),
    ],
)
def test_a_tool_gets_its_file_where_it_looks_for_it(consumer, tool, place, source):
    pulled = consumer.pull("mei@v1.0.0", tool=tool)
    assert pulled.files == (str(consumer.to / place),)
    assert consumer.placed() == {place}
    old = (consumer.release("1.0.0") / source).read_bytes()
    assert (consumer.to / place).read_bytes() == old
    assert load_file(consumer.to / place)
    assert not consumer.pull("mei@v1.0.0", tool=tool).changed
    assert consumer.pull("mei", tool=tool).changed
    assert (consumer.to / place).read_bytes() == (consumer.release() / source).read_bytes()
    assert consumer.pull("mei@v1.0.0", tool=tool).changed


def test_a_file_of_the_users_own_is_not_overwritten(consumer):
    consumer.to.mkdir()
    (consumer.to / "mei.safetensors").write_bytes(b"my own work")
    with pytest.raises(InputError, match="not from a pull"):
        consumer.pull(tool=Tool.DIFFUSERS)
    assert (consumer.to / "mei.safetensors").read_bytes() == b"my own work"


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_a_changed_release_is_placed(consumer, name):
    data = (consumer.release() / name).read_bytes()
    consumer.rewrite(name, data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    for tool in (None, Tool.COMFYUI):
        with pytest.raises(IntegrityError, match=f"^{name}"):
            consumer.pull(tool=tool)
    assert consumer.placed() == set()


def test_an_old_pointer_is_refused_by_who_has_seen_a_newer_one(consumer):
    new = consumer.channel.read_bytes()
    pointer = Pointer(
        lora="mei", channel="latest", version="1.0.0", sequence=1, expires=TODAY,
        release=digest_folder(consumer.release("1.0.0"))["release.json"],
    )  # fmt: skip
    replayed = sign_pointer(pointer, consumer.team.key)
    consumer.channel.write_bytes(replayed)
    assert consumer.pull().version == "1.0.0"
    consumer.channel.write_bytes(new)
    assert consumer.pull().version == "1.1.0"
    consumer.channel.write_bytes(replayed)
    with pytest.raises(IntegrityError, match="its number is 1, and 2 was seen before"):
        consumer.pull()
    consumer.channel.write_bytes(new)
    assert consumer.pull().version == "1.1.0"


def test_every_flipped_byte_of_a_channel_is_refused(consumer):
    good = consumer.channel.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        consumer.channel.write_bytes(bytes(bad))
        with pytest.raises(IntegrityError, match=r"^channel mei#latest"):
            consumer.pull()
    assert consumer.placed() == set()


def test_a_channel_that_names_something_else_is_refused(consumer):
    good = {
        "lora": "mei", "channel": "latest", "version": "1.1.0", "sequence": 3, "expires": TODAY,
        "release": digest_folder(consumer.release())["release.json"],
    }  # fmt: skip
    for changed, words in (
        ({"lora": "leo"}, "signed for channel leo#latest"),
        ({"channel": "next"}, "signed for channel mei#next"),
        ({"version": "1.0.0"}, "not the mei 1.0.0 that channel latest names"),
        ({"version": "x"}, "no channel"),
        ({"release": "0" * 64}, "not the mei 1.1.0 that channel latest names"),
        ({"expires": TODAY - timedelta(days=1)}, "was good until"),
        ({"sequence": 0}, "no channel"),
    ):
        data = sign_pointer(Pointer(**(good | changed)), consumer.team.key)
        consumer.channel.write_bytes(data)
        with pytest.raises(IntegrityError, match=words):
            consumer.pull()
    assert consumer.placed() == set()


def test_a_release_in_anothers_place_is_refused(consumer):
    shutil.rmtree(consumer.release("1.0.0"))
    consumer.release().rename(consumer.release("1.0.0"))
    with pytest.raises(IntegrityError, match=r"that of mei 1\.1\.0, wanted was mei 1\.0\.0"):
        consumer.pull("mei@v1.0.0")


def test_what_is_not_there_is_told_with_what_is(consumer):
    for wanted in ("mei@v9.0.0", "mei#next"):
        with pytest.raises(InputError, match="has no") as caught:
            consumer.pull(wanted)
        assert "1.0.0" in caught.value.findings[0].hint


def test_a_state_file_that_is_none_is_told(consumer):
    consumer.pull()
    state = consumer.to / ".lora-ci-pull" / "state.json"
    state.write_text("{")
    with pytest.raises(IntegrityError, match=r"state\.json"):
        consumer.pull()


def test_wanted_is_parsed():
    assert parse_wanted("mei") == Wanted(lora="mei")
    assert parse_wanted("mei@v1.2.0") == Wanted(lora="mei", version=Version(1, 2, 0))
    assert parse_wanted("mei@1.2.0").version == Version(1, 2, 0)
    assert parse_wanted("mei#next") == Wanted(lora="mei", channel="next")
    for text in ("", "Mei", "mei@", "mei@v1", "mei#", "../x", "mei#../x", "mei#a@v1.0.0"):
        with pytest.raises(UsageError, match=r"name|version"):
            parse_wanted(text)


def test_released_manifests_are_canonical(consumer):
    data = (consumer.release() / "release.json").read_bytes()
    assert render_release(parse_release(data)) == data
    assert not os.access(consumer.release() / "release.json", os.X_OK)
