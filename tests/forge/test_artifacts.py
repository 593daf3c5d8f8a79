"""Objects come out of workflow artifacts whole, whoever made the zip."""

import hashlib
import io
import random
import stat
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

import lora_ci.forge.github.artifacts as artifacts_module
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError, IntegrityError
from lora_ci.forge.github.artifacts import MOST_ASKED, ActionsArtifacts, unpack_objects
from lora_ci.forge.github.auth import TokenAuth
from lora_ci.forge.github.client import GitHubClient
from lora_ci.store.layered import LayeredStore
from lora_ci.store.local import LocalStore
from tests.fake_github.hub import FakeGitHub
from tests.fake_github.state import Artifact, WorkflowRun

REPO = "acme/loras"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def name_of(data: bytes) -> str:
    return f"objects/{digest(data)[:2]}/{digest(data)[2:]}"


def zipped(*entries: tuple[str | ZipInfo, bytes], kind: int = ZIP_DEFLATED) -> bytes:
    memory = io.BytesIO()
    with ZipFile(memory, "w", kind) as file:
        for name, data in entries:
            file.writestr(name, data)
    return memory.getvalue()


def bundle(*objects: bytes) -> bytes:
    return zipped(("view.json", b"{}"), *((name_of(data), data) for data in objects))


class World:
    """A fake GitHub with a repository, and a machine that reads its artifacts."""

    def __init__(self, hub: FakeGitHub, root) -> None:
        self.hub, self.repo = hub, hub.add_repo(REPO)
        self.local = LocalStore(root / "objects")
        self.kept_in: dict[str, tuple[str, ...]] = {}
        self.repo.runs[7] = WorkflowRun(7, "loras", "push", "0" * 40, "main", "acme", hub.now())

    def add(self, name: str, data: bytes, *, expired: bool = False) -> None:
        number = self.hub.new_id()
        self.repo.artifacts[number] = Artifact(
            number, name, 7, data, self.hub.now(), "0" * 40, expired
        )

    def store(self, rights: str = "read") -> LayeredStore:
        auth = TokenAuth(self.hub.token({"actions": rights} if rights else {"contents": "read"}))
        client = GitHubClient(self.hub.api_url, auth, SystemClock(), random.Random(0))
        remote = ActionsArtifacts(client, REPO, lambda sha256: self.kept_in.get(sha256, ()))
        return LayeredStore(self.local, (remote,))

    def asked(self, what: str) -> int:
        return sum(what in r.path for r in self.hub.requests)


@pytest.fixture
def world(tmp_path):
    with FakeGitHub() as hub:
        yield World(hub, tmp_path)


def test_one_download_brings_all_objects_of_a_bundle(world):
    world.add("lora-ci-7-1-mei", bundle(b"one", b"two"))
    world.kept_in = dict.fromkeys((digest(b"one"), digest(b"two")), ("lora-ci-7-1-mei",))
    store = world.store()
    assert store.has(digest(b"one"))
    assert store.get(digest(b"one")).read_bytes() == b"one"
    assert store.get(digest(b"two")).read_bytes() == b"two"
    assert world.asked("/zip") == 1


def test_what_no_record_names_is_not_looked_for(world):
    world.add("lora-ci-7-1-mei", bundle(b"one"))
    assert not world.store().has(digest(b"one"))
    assert world.hub.requests == []


def test_an_expired_artifact_has_nothing(world):
    world.add("lora-ci-7-1-mei", bundle(b"one"), expired=True)
    world.kept_in = {digest(b"one"): ("lora-ci-7-1-mei",)}
    assert not world.store().has(digest(b"one"))


def test_an_artifact_that_goes_between_question_and_download_is_told(world):
    world.add("lora-ci-7-1-mei", bundle(b"one"))
    world.kept_in = {digest(b"one"): ("lora-ci-7-1-mei",)}
    store = world.store()
    assert store.has(digest(b"one"))
    next(iter(world.repo.artifacts.values())).expired = True
    with pytest.raises(IntegrityError, match="in none of the workflow artifacts") as caught:
        store.get(digest(b"one"))
    assert caught.value.findings[0].hint.startswith("next: ")


def test_a_poisoned_artifact_is_passed_over_for_a_whole_one_of_that_name(world):
    world.add("lora-ci-7-1-mei", bundle(b"one"))
    world.add("lora-ci-7-1-mei", zipped((name_of(b"one"), b"poison")))
    world.add("lora-ci-7-1-mei", b"no zip")
    world.kept_in = {digest(b"one"): ("lora-ci-7-1-mei",)}
    assert world.store().get(digest(b"one")).read_bytes() == b"one"
    assert not world.local.has(digest(b"poison"))


def test_many_names_are_looked_up_in_one_list(world):
    objects = [f"{n}".encode() for n in range(150)]
    for n, data in enumerate(objects):
        world.add(f"lora-ci-7-1-{n}", bundle(data))
        world.kept_in[digest(data)] = (f"lora-ci-7-1-{n}",)
    store = world.store()
    assert all(store.has(digest(data)) for data in objects)
    assert world.asked("/actions/artifacts") == MOST_ASKED + 2
    assert store.get(digest(objects[-1])).read_bytes() == objects[-1]


def test_a_token_that_may_not_read_artifacts_is_no_empty_past(world):
    world.repo.private = True
    world.kept_in = {digest(b"one"): ("lora-ci-7-1-mei",)}
    with pytest.raises(InfrastructureError):
        world.store(rights="").has(digest(b"one"))


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def flagged() -> bytes:
    """A zip whose entry says that it is encrypted."""
    data = bytearray(bundle(b"one"))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature, data.index(signature) + 1)
        data[place + at] |= 1
    return bytes(data)


HARMLESS = {
    "climbs": zipped(("../../escaped", b"one"), ("objects/../../escaped", b"one")),
    "absolute": zipped(("/tmp/escaped", b"one")),
    "climbs below objects": zipped((f"objects/../{digest(b'one')}", b"one")),
    "link": zipped((link(name_of(b"one")), b"/etc/passwd")),
    "encrypted": flagged(),
    "another compression": zipped((name_of(b"one"), b"one"), kind=ZIP_BZIP2),
    "other bytes": zipped((name_of(b"one"), b"two")),
    "a folder": zipped((name_of(b"one") + "/", b"")),
}
BROKEN = {
    "no zip": b"hello",
    "empty": b"",
    "cut": bundle(b"one" * 1000)[:-30],
    "damaged": bundle(b"").replace(b"objects/", b"objects\0", 1),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_object_is_passed_over(tmp_path, name):
    store = LocalStore(tmp_path / "store" / "objects")
    (tmp_path / "a.zip").write_bytes(HARMLESS[name])
    unpack_objects(tmp_path / "a.zip", digest(b"one"), store)
    assert not store.has(digest(b"one"))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "a.zip"]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_zip_is_told(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(BROKEN[name])
    with pytest.raises(IntegrityError, match="is no zip of a bundle"):
        unpack_objects(tmp_path / "a.zip", digest(b"one"), LocalStore(tmp_path / "objects"))


def test_a_zip_that_swells_is_stopped_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts_module, "MAX_BYTES", 1 << 20)
    (tmp_path / "a.zip").write_bytes(bundle(b"\0" * (1 << 20), b"one"))
    store = LocalStore(tmp_path / "objects")
    with pytest.raises(IntegrityError, match="bytes unpacked"):
        unpack_objects(tmp_path / "a.zip", digest(b"one"), store)


def test_an_entry_that_has_more_than_it_says_is_cut(tmp_path, monkeypatch):
    data = b"\0" * (1 << 20)
    lying = bundle(data).replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(lying)
    with pytest.raises(IntegrityError, match="is no zip"):
        unpack_objects(tmp_path / "a.zip", digest(data), LocalStore(tmp_path / "objects"))


def test_any_bytes_are_a_zip_or_refused(tmp_path):
    """Every byte of a small bundle, changed."""
    whole, store = zipped((name_of(b"one"), b"one")), LocalStore(tmp_path / "objects")
    for spot in range(len(whole)):
        changed = bytearray(whole)
        changed[spot] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(bytes(changed))
        try:
            unpack_objects(tmp_path / "a.zip", digest(b"one"), store)
        except IntegrityError:
            continue
    kept = [p for p in store.root.rglob("*") if p.is_file()] if store.root.exists() else []
    assert all(digest(p.read_bytes()) == p.parent.name + p.name for p in kept)
