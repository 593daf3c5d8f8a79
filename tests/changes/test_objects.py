"""Where DVC's bytes are looked for: by the default branch's settings, never a commit's own."""

import hashlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lora_ci.changes.copying import copy_verified
from lora_ci.changes.dvc_config import parse_dvc_config, read_dvc_config
from lora_ci.changes.git import open_repository
from lora_ci.changes.inputs import resolve_input
from lora_ci.changes.objects import open_objects
from lora_ci.core.errors import InfrastructureError, InputError, IntegrityError, UsageError
from tests.builders import RepoBuilder

FILES = {"a.png": b"a", "b.png": b"b"}


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    return RepoBuilder(tmp_path)


def test_the_config_of_a_branch_has_no_say(repo, tmp_path):
    repo.dvc_add("data/mei", FILES)
    good = repo.commit()
    trace = tmp_path / "ran"
    evil = RepoBuilder(tmp_path / "evil")
    md5 = evil.dvc_add("data/mei", {"planted.png": b"x"})
    repo.git("checkout", "-q", "-b", "evil")
    repo.write("data/mei.dvc", (evil.root / "data/mei.dvc").read_bytes())
    command = f"touch {trace}"
    hostile = (
        f"[core]\n    remote = storage\n    hooks_path = {evil.root}\n"
        f"[cache]\n    dir = {evil.root}/.dvc/cache\n"
        f"['remote \"storage\"']\n    url = {evil.remote}\n"
        f"['remote \"other\"']\n    url = ssh://localhost/x\n    keyfile = {command}\n"
        f"    ask_password = true\n    password_command = {command}\n"
    )
    repo.write(".dvc/config", hostile)
    repo.write(".gitattributes", "* filter=evil diff=evil\n")
    repo.git("config", "diff.evil.textconv", command)
    head = repo.commit()
    git = open_repository(repo.root)
    objects = open_objects(git)
    assert (objects.cache, objects.remote) == (repo.root / ".dvc" / "cache", repo.remote)
    facts = resolve_input(git.tree(head), "data/mei", objects)
    assert (facts.content_id, facts.entries) == (md5, None)
    assert resolve_input(git.tree(good), "data/mei", objects).missing == ()
    assert not trace.exists()


def test_what_this_machine_says_is_added(repo, tmp_path):
    repo.dvc_add("data/mei", FILES)
    head = repo.commit()
    repo.remote.rename(tmp_path / "mounted")
    repo.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {tmp_path}/mounted\n")
    git = open_repository(repo.root)
    assert resolve_input(git.tree(head), "data/mei", open_objects(git)).missing == ()
    assert open_objects(git).remote == tmp_path / "mounted"


def test_the_only_branch_has_its_say_where_there_is_no_default(repo):
    repo.git("checkout", "-q", "-b", "wip")
    assert open_objects(repo.root).remote is None
    repo.commit()
    assert open_objects(repo.root).remote == repo.remote
    (repo.root / ".dvc" / "config").unlink()
    assert open_objects(repo.root).remote == repo.remote
    assert open_objects(open_repository(repo.root), repo.commit()).remote is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[core", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[core]\nremote = x\n", "`x` has no url"),
    ],
)
def test_a_config_that_cannot_be_read_is_told(text, said):
    with pytest.raises(UsageError, match=said):
        parse_dvc_config([(".dvc/config", text)]).url()


def test_both_layouts_are_looked_through_and_a_late_push_counts(repo):
    md5 = repo.dvc_add("data/mei", FILES)
    repo.commit()
    objects = open_objects(repo.root)
    other = "0" * 32
    old = repo.remote / md5[:2] / md5[2:]
    old.parent.mkdir()
    (repo.remote / "files" / "md5" / md5[:2] / md5[2:]).rename(old)
    assert objects.not_pushed([md5, other]) == {other}
    late = repo.remote / "files" / "md5" / "00" / other[2:]
    late.parent.mkdir(exist_ok=True)
    late.touch()
    assert objects.not_pushed([md5, other]) == frozenset()


def test_a_link_to_itself_in_the_remote_is_no_object(repo):
    md5 = repo.dvc_add("data/mei", FILES)
    repo.commit()
    place = repo.remote / "files" / "md5" / md5[:2] / md5[2:]
    place.unlink()
    place.symlink_to(place)
    objects = open_objects(repo.root)
    assert objects.not_pushed([md5]) == {md5}
    repo.clear_cache()
    assert objects.find(md5) is None


def test_a_copy_is_checked_and_captions_of_dvc_2_may_have_windows_line_ends(tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_bytes(b"mei\r\nsmiles\r\n")
    for data, whole in ((b"mei\r\nsmiles\r\n", True), (b"mei\nsmiles\n", True), (b"mei", False)):
        assert copy_verified(source, target, hashlib.md5(data).hexdigest()) is whole
    assert target.read_bytes() == source.read_bytes()


def test_a_remote_folder_that_is_not_there_is_no_missing_push(repo):
    repo.dvc_add("data/mei", FILES)
    repo.commit()
    repo.remote.rename(repo.root.parent / "away")
    with pytest.raises(InfrastructureError, match="the DVC remote `storage` is not there"):
        open_objects(repo.root).not_pushed(["0" * 32])


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(repo):
    """The remote over HTTP; yields its port."""
    repo.remote.mkdir(exist_ok=True)
    handler = partial(_Quiet, directory=str(repo.remote))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


def over_http(repo: RepoBuilder, port: int) -> None:
    url = f"http://user:secret@127.0.0.1:{port}/"
    repo.write(".dvc/config", f"[core]\n    remote = web\n['remote \"web\"']\n    url = {url}\n")


def test_a_remote_over_http_is_asked_and_manifests_are_kept(repo, server):
    md5 = repo.dvc_add("data/mei", FILES)
    over_http(repo, server)
    head = repo.commit()
    entry = "0cc175b9c0f1b6a831c399e269772661"  # md5 of b"a"
    repo.forget(entry)
    repo.clear_cache()
    git = open_repository(repo.root)
    objects = open_objects(git)
    facts = resolve_input(git.tree(head), "data/mei", objects)
    assert facts.missing == ("a.png",)
    kept = repo.root / ".lora-ci" / "cache" / "manifests" / md5[:2] / md5[2:]
    assert objects.find(md5) == kept
    repo.forget(md5)
    assert open_objects(git).find(md5) == kept
    assert objects.find("0" * 32 + ".dir") is None


def test_a_manifest_that_arrives_damaged_or_too_large_is_not_kept(repo, server, monkeypatch):
    md5 = repo.dvc_add("data/mei", FILES)
    over_http(repo, server)
    repo.commit()
    repo.clear_cache()
    (repo.remote / "files" / "md5" / md5[:2] / md5[2:]).write_bytes(b"[]")
    with pytest.raises(IntegrityError, match="damaged"):
        open_objects(repo.root).find(md5)
    monkeypatch.setattr("lora_ci.changes.remote.MAX_MANIFEST_BYTES", 1)
    with pytest.raises(InputError, match="a manifest of over 1 bytes"):
        open_objects(repo.root).find(md5)
    assert not [p for p in (repo.root / ".lora-ci").rglob("*") if p.is_file()]


def test_a_remote_that_does_not_answer_is_told_without_its_password(repo):
    over_http(repo, 1)
    repo.commit()
    with pytest.raises(InfrastructureError) as caught:
        open_objects(repo.root).find("0" * 32 + ".dir")
    assert "ClientConnectorError" in str(caught.value)
    assert "http://127.0.0.1:1/" in str(caught.value)
    assert "secret" not in repr(caught.value.findings)


def test_a_remote_that_lets_nobody_in_is_not_taken_for_an_empty_one(repo, server, monkeypatch):
    over_http(repo, server)
    repo.commit()
    monkeypatch.setattr(_Quiet, "send_head", lambda self: self.send_error(403))
    with pytest.raises(InfrastructureError, match="HTTP status 403"):
        open_objects(repo.root).not_pushed(["0" * 32])


def test_without_dvc_it_says_what_to_install(repo, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvc", None)
    monkeypatch.setitem(sys.modules, "dvc.fs", None)
    over_http(repo, 1)
    repo.commit()
    with pytest.raises(InfrastructureError) as caught:
        open_objects(repo.root)
    assert caught.value.findings[0].hint == 'next: pip install "lora-ci[dvc]"'


def test_options_of_remotes_are_kept_as_they_are(repo):
    repo.write(".dvc/config", "['remote \"s3\"']\nurl = s3://b/p\nendpointurl = http://x%y\n")
    repo.commit()
    config = read_dvc_config(open_repository(repo.root))
    assert config.remotes["s3"] == {"url": "s3://b/p", "endpointurl": "http://x%y"}
    assert config.remote is None
