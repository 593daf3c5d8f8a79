"""What a commit holds and how two commits differ, from git and DVC's own files."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.changes.diff import diff_entries, diff_inputs
from lora_ci.changes.folder import read_folder
from lora_ci.changes.git import Repository, open_repository
from lora_ci.changes.inputs import resolve_input
from lora_ci.changes.manifest import parse_manifest
from lora_ci.changes.objects import open_objects
from lora_ci.changes.pointer import parse_pointer
from lora_ci.core.changeset import FileEntry
from lora_ci.core.errors import InfrastructureError, InputError, UsageError
from tests.builders import RepoBuilder

FILES = {"a.png": b"a", "b.png": b"b", "sub/c.png": b"c"}


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    return RepoBuilder(tmp_path)


def resolve(repo: RepoBuilder, commit: str, path: str):
    return resolve_input(Repository(repo.root).tree(commit), path, open_objects(repo.root))


def test_a_dvc_folder_and_a_git_folder_are_read_from_a_commit(repo):
    md5 = repo.dvc_add("data/mei", FILES)
    for name, data in FILES.items():
        repo.write(f"plain/{name}", data)
    head = repo.commit()
    by_dvc, by_git = resolve(repo, head, "data/mei"), resolve(repo, head, "plain/")
    assert by_dvc.content_id == md5
    assert [e.path for e in by_dvc.entries] == [e.path for e in by_git.entries] == sorted(FILES)
    assert by_dvc.missing == ()
    assert resolve(repo, head, "nowhere") is None


def test_the_work_tree_does_not_matter(repo):
    repo.dvc_add("data/mei", FILES)
    head = repo.commit()
    before = resolve(repo, head, "data/mei")
    (repo.root / "data" / "mei.dvc").write_text("garbage")
    assert resolve(repo, head, "data/mei") == before


def test_a_file_that_was_not_pushed_is_named(repo):
    repo.dvc_add("data/mei", FILES)
    head = repo.commit()
    entry = resolve(repo, head, "data/mei").entries[1]
    repo.forget(entry.content_id)
    assert resolve(repo, head, "data/mei").missing == ("b.png",)


def test_a_manifest_that_is_nowhere_is_unknown_never_unchanged(repo):
    repo.dvc_add("data/mei", FILES)
    first = repo.commit()
    md5 = repo.dvc_add("data/mei", {**FILES, "d.png": b"d"})
    second = repo.commit()
    repo.forget(md5, everywhere=True)
    old, new = resolve(repo, first, "data/mei"), resolve(repo, second, "data/mei")
    assert new.entries is None
    assert f"manifest {md5} was not pushed" in diff_inputs(old, new).unknown


def test_the_old_cache_layout_is_read_too(repo):
    md5 = repo.dvc_add("data/mei", FILES)
    head = repo.commit()
    cache = repo.root / ".dvc" / "cache"
    (cache / "files" / "md5" / md5[:2]).rename(cache / md5[:2])
    repo.forget(md5)
    assert resolve(repo, head, "data/mei").entries is not None


def test_links_in_a_git_folder_are_refused(repo):
    repo.write("plain/a.png", b"a")
    (repo.root / "plain" / "link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        resolve(repo, repo.commit(), "plain")


def test_no_repository_and_no_commit_say_what_to_do(tmp_path, repo):
    with pytest.raises(UsageError, match="no git repository"):
        open_repository(tmp_path)
    with pytest.raises(UsageError, match="no commit yet"):
        Repository(repo.root).commit("HEAD")
    repo.commit()
    with pytest.raises(UsageError, match="no commit `nope`"):
        Repository(repo.root).commit("nope")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../../x", "a\\b", "C:x", "nul", "sub/CON.txt", "a\x00b", "a\nb", ""],
)
def test_hostile_paths_in_a_manifest_are_refused(path):
    data = json.dumps([{"md5": "0" * 32, "relpath": path}]).encode()
    with pytest.raises(InputError, match="not a plain path"):
        parse_manifest(data, "x.dvc")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b'[{"relpath": "a"}]', b'[{"relpath": "a", "md5": "z"}]', b"[" * 9**5],
)
def test_broken_manifests_are_refused(data):
    with pytest.raises(InputError):
        parse_manifest(data, "x.dvc")


def test_names_that_collide_on_other_systems_are_refused():
    items = [{"md5": "0" * 32, "relpath": name} for name in ("a.png", "A.PNG")]
    with pytest.raises(InputError, match="only in case"):
        parse_manifest(json.dumps(items).encode(), "x.dvc")


@pytest.mark.parametrize("text", [b"", b"outs: []", b"outs:\n- md5: 12\n  path: a", b"outs: 5"])
def test_broken_pointers_say_dvc_add(text):
    with pytest.raises(InputError) as caught:
        parse_pointer(text, "data/mei.dvc")
    assert caught.value.findings[0].hint == "next: dvc add data/mei"


NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=2)
LISTS = st.dictionaries(NAMES, st.sampled_from("xyz"), max_size=6)


@given(LISTS, LISTS)
def test_a_diff_tells_every_file_once_and_turns_old_into_new(old, new):
    def entries(files):
        return tuple(FileEntry(path=p, content_id=c) for p, c in sorted(files.items()))

    change = diff_entries("d", entries(old), entries(new))
    made = dict(old)
    for path in change.removed:
        del made[path]
    for source, target in change.renamed:
        assert old[source] == new[target]
        del made[source]
    made |= {target: new[target] for _, target in change.renamed}
    made |= {path: new[path] for path in (*change.added, *change.modified)}
    assert made == new
    assert bool(change) == (old != new)


def test_a_folder_has_the_id_that_dvc_gives_it(repo, tmp_path):
    md5 = repo.dvc_add("data/mei", FILES)
    for name, data in FILES.items():
        path = tmp_path / "plain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    facts = read_folder(tmp_path / "plain", "plain")
    assert facts.content_id == md5
    assert facts.entries == resolve(repo, repo.commit(), "data/mei").entries


def test_links_and_hostile_names_in_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        read_folder(tmp_path / "nowhere", "nowhere")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="no regular file"):
        read_folder(tmp_path, "data")
    (tmp_path / "link").unlink()
    (tmp_path / "a.PNG").touch()
    (tmp_path / "A.png").touch()
    with pytest.raises(InputError, match="only in case"):
        read_folder(tmp_path, "data")


def test_many_objects_come_from_one_process_and_a_lost_one_is_named(repo):
    texts = [f"number {i}\n" * 5000 for i in range(40)]
    for i, text in enumerate(texts):
        repo.write(f"many/{i:02d}", text)
    git = Repository(repo.root)
    tree = git.tree(repo.commit())
    oids = [entry.oid for entry in tree.files("many")]
    assert [blob.decode() for blob in git.blobs(oids)] == texts
    with pytest.raises(InfrastructureError, match="damaged, or not here"):
        list(git.blobs([*oids, "0" * 40]))
