"""What differs between two commits, dataset by dataset."""

import pytest

from lora_ci.changes.between import changed_files, changes_between
from lora_ci.changes.git import open_repository
from lora_ci.changes.inputs import resolve_input
from lora_ci.changes.objects import open_objects
from lora_ci.core.errors import InputError
from tests.builders import RepoBuilder

FILES = {"a.png": b"a", "a.txt": b"cap", "sub/b.png": b"b"}


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    return RepoBuilder(tmp_path)


def between(repo: RepoBuilder, base: str | None, head: str, *also: str):
    git = open_repository(repo.root)
    return {c.dataset: c for c in changes_between(git, base, head, open_objects(git), also)}


def test_each_kind_of_difference_is_told(repo):
    repo.dvc_add("data/mei", FILES)
    repo.dvc_add("data/leo", FILES)
    base = repo.commit()
    repo.dvc_add("data/mei", {"a.png": b"A", "c.png": b"b", "a.txt": b"cap", "d.png": b"d"})
    head = repo.commit()
    (change,) = between(repo, base, head).values()
    assert change.dataset == "data/mei"
    assert (change.added, change.removed, change.modified) == (("d.png",), (), ("a.png",))
    assert change.renamed == (("sub/b.png", "c.png"),)
    assert change.total == 4
    assert not change.captions_only
    assert between(repo, head, head) == {}


def test_edits_of_captions_alone_are_told_apart(repo):
    repo.dvc_add("data/mei", FILES)
    base = repo.commit()
    repo.dvc_add("data/mei", {**FILES, "a.txt": b"other"})
    (change,) = between(repo, base, repo.commit()).values()
    assert change.captions_only


def test_a_dataset_that_moved_is_no_change_of_content(repo):
    repo.dvc_add("data/mei", FILES)
    base = repo.commit()
    repo.git("rm", "-q", "data/mei.dvc")
    repo.dvc_add("other/leo", FILES)
    (change,) = between(repo, base, repo.commit()).values()
    assert change.dataset == "other/leo"
    assert not change
    assert change.total == 3


def test_a_dataset_that_is_new_or_gone_lists_all_its_files(repo):
    first = repo.commit()
    repo.dvc_add("data/mei", FILES)
    second = repo.commit()
    assert between(repo, first, second)["data/mei"].added == tuple(sorted(FILES))
    assert between(repo, second, first)["data/mei"].removed == tuple(sorted(FILES))
    assert between(repo, None, second)["data/mei"].added == tuple(sorted(FILES))


def test_a_manifest_that_was_not_pushed_is_unknown_never_empty(repo):
    repo.dvc_add("data/mei", FILES)
    base = repo.commit()
    md5 = repo.dvc_add("data/mei", {"x.png": b"x"}, push=False)
    head = repo.commit()
    repo.clear_cache()
    change = between(repo, base, head)["data/mei"]
    assert change
    assert change.unknown.startswith(f"manifest {md5} was not pushed: next: dvc push")
    assert change.added == change.removed == ()


def test_what_cannot_be_read_is_unknown_and_hurts_no_other(repo):
    repo.dvc_add("data/mei", FILES)
    base = repo.commit()
    repo.dvc_add("data/leo", FILES)
    repo.write("data/mei.dvc", "<<<<<<< HEAD\n")
    found = between(repo, base, repo.commit())
    assert "data/mei.dvc:1:1: " in found["data/mei"].unknown
    assert len(found["data/leo"].added) == 3


def test_hostile_names_of_the_past_can_be_mended(repo):
    repo.dvc_add("data/mei", {"../x.png": b"x", "a.png": b"a"})
    base = repo.commit()
    repo.dvc_add("data/mei", {"x.png": b"x", "a.png": b"a"})
    head = repo.commit()
    assert between(repo, base, head)["data/mei"].renamed == (("../x.png", "x.png"),)
    assert "not a plain path" in between(repo, head, base)["data/mei"].unknown


def test_single_files_and_outputs_of_stages_are_datasets_too(repo):
    md5 = repo.dvc_add("x", FILES)
    other = repo.dvc_add("x", {"a.png": b"a"})
    lock = "schema: '2.0'\nstages:\n  a@1:\n    outs:\n    - path: out/mei\n      md5: {}\n"
    (repo.root / "x.dvc").unlink()
    repo.write("prep/dvc.lock", lock.format(md5))
    repo.write("model.bin.dvc", f"outs:\n- md5: {'0' * 32}\n  path: model.bin\n")
    base = repo.commit()
    repo.write("prep/dvc.lock", lock.format(other))
    repo.write("model.bin.dvc", f"outs:\n- md5: {'1' * 32}\n  path: model.bin\n")
    head = repo.commit()
    found = between(repo, base, head)
    assert found["prep/out/mei"].removed == ("a.txt", "sub/b.png")
    assert found["model.bin"].modified == ("model.bin",)
    git = open_repository(repo.root)
    facts = resolve_input(git.tree(head), "prep/out/mei", open_objects(git))
    assert facts.content_id == other


def test_stages_below_a_working_folder_are_found(repo):
    md5 = repo.dvc_add("x", FILES)
    (repo.root / "x.dvc").unlink()
    repo.write("dvc.yaml", "stages:\n  crop:\n    wdir: work\n    cmd: x\n    outs: [mei]\n")
    base = repo.commit()
    lock = f"schema: '2.0'\nstages:\n  crop:\n    outs:\n    - path: mei\n      md5: {md5}\n"
    repo.write("dvc.lock", lock)
    head = repo.commit()
    assert set(between(repo, base, head)) == {"work/mei"}
    git = open_repository(repo.root)
    assert resolve_input(git.tree(head), "work/mei", open_objects(git)).content_id == md5


def test_an_output_moves_with_the_working_folder_of_its_stage(repo):
    md5 = repo.dvc_add("x", FILES)
    (repo.root / "x.dvc").unlink()
    stages = "stages:\n  crop:\n    wdir: {}\n    cmd: x\n    outs: [mei]\n"
    lock = "schema: '2.0'\nstages:\n  crop:\n    outs:\n    - path: mei\n      md5: {}\n"
    repo.write("prep/dvc.yaml", stages.format("one"))
    repo.write("prep/dvc.lock", lock.format(md5))
    base = repo.commit()
    repo.write("prep/dvc.yaml", stages.format("two"))
    head = repo.commit()
    (change,) = between(repo, base, head).values()
    assert (change.dataset, bool(change)) == ("prep/two/mei", False)
    repo.write("prep/dvc.yaml", stages.format("${x}"))
    templated = repo.commit()
    repo.write("prep/dvc.lock", lock.format("0" * 32))
    found = between(repo, templated, repo.commit())
    said = "prep/dvc.lock: stage crop has a wdir with ${…}"
    assert found["prep/dvc.lock:crop/mei"].unknown.startswith(said)


def test_a_path_inside_a_dvc_folder_is_that_part_of_it(repo):
    repo.dvc_add("data", {"mei/a.png": b"a", "mei/sub/b.png": b"b", "meilin/c.png": b"c"})
    head = repo.commit()
    alone = RepoBuilder(repo.root.parent / "alone")
    md5 = alone.dvc_add("mei", {"a.png": b"a", "sub/b.png": b"b"})
    git = open_repository(repo.root)
    tree, objects = git.tree(head), open_objects(git)
    facts = resolve_input(tree, "data/mei", objects)
    assert [entry.path for entry in facts.entries] == ["a.png", "sub/b.png"]
    assert facts.content_id == md5
    assert [e.path for e in resolve_input(tree, "data/mei/a.png", objects).entries] == ["a.png"]
    with pytest.raises(InputError, match=r"`data/leo` is not in the manifest of data\.dvc"):
        resolve_input(tree, "data/leo", objects)


def test_a_pointer_whose_name_is_not_that_of_its_output(repo):
    repo.dvc_add("data/mei", FILES)
    (repo.root / "data/mei.dvc").rename(repo.root / "data/pointer.dvc")
    base = repo.commit()
    git = open_repository(repo.root)
    assert resolve_input(git.tree(base), "data/mei", open_objects(git)) is not None
    assert resolve_input(git.tree(base), "data/pointer", open_objects(git)) is None


def test_a_git_folder_beside_a_pointer_of_its_name_does_not_count(repo):
    repo.dvc_add("mei", FILES)
    repo.write("mei/kept.txt", "x")
    base = repo.commit()
    repo.write("mei/kept.txt", "y")
    kept = repo.commit()
    assert between(repo, base, kept, "mei") == {}
    repo.dvc_add("mei", {**FILES, "c.png": b"c"})
    repo.write("mei/kept.txt", "z")
    assert between(repo, kept, repo.commit(), "mei")["mei"].added == ("c.png",)
    repo.git("rm", "-q", "mei.dvc")
    assert len(between(repo, kept, repo.commit(), "mei")["mei"].removed) == 3


def test_a_submodule_where_a_folder_is_wanted_is_unknown(repo):
    repo.write("plain/mei/a.png", b"a")
    base = repo.commit()
    repo.git("rm", "-rq", "plain")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{base},plain")
    repo.git("commit", "-q", "-m", "submodule")
    head = repo.git("rev-parse", "HEAD")
    for one, other in ((base, head), (None, head)):
        for change in between(repo, one, other, "plain", "plain/mei").values():
            assert change.unknown == "plain is a submodule; lora-ci does not follow it"
    assert between(repo, head, base, "plain")["plain"].added == ("mei/a.png",)
    assert between(repo, head, base, "plain/mei")["plain/mei"].added == ("a.png",)


def test_a_damaged_manifest_says_how_to_mend_it_where_it_lies(repo):
    md5 = repo.dvc_add("mei", FILES)
    base = repo.commit()
    inside = f"files/md5/{md5[:2]}/{md5[2:]}"
    (repo.root / ".dvc/cache" / inside).write_bytes(b"[]")
    git = open_repository(repo.root)

    def hint() -> str:
        with pytest.raises(InputError) as caught:
            resolve_input(git.tree(base), "mei", open_objects(git))
        return caught.value.findings[0].hint

    assert hint() == f"next: rm {repo.root}/.dvc/cache/{inside} && dvc pull"
    repo.clear_cache()
    (repo.remote / inside).write_bytes(b"[]")
    assert hint() == (
        f"next: rm {repo.remote}/{inside}, then dvc push -r storage, "
        "from a machine whose copy is whole"
    )


def test_folders_in_git_are_compared_where_they_are_asked_for(repo):
    for name, data in FILES.items():
        repo.write(f"plain/{name}", data)
        repo.write(f"plainer/{name}", data)
    base = repo.commit()
    repo.write("plain/a.png", b"A")
    repo.git("mv", "plain/sub/b.png", "plain/c.png")
    repo.git("rm", "-rq", "plainer")
    head = repo.commit()
    found = between(repo, base, head, "plain", "plainer", "nowhere")
    assert found["plain"].modified == ("a.png",)
    assert found["plain"].renamed == (("sub/b.png", "c.png"),)
    assert (found["plain"].total, found["plainer"].total) == (3, 0)
    assert len(found["plainer"].removed) == 3
    assert between(repo, base, head) == {}
    assert "plain/c.png" in changed_files(open_repository(repo.root), base, head)
