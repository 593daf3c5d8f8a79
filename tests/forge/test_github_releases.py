"""Releases: seen only when they are whole, finished when they were begun, then left alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lora_ci.core.errors import InputError
from lora_ci.forge.github.pictures import BRANCH, MAX_BYTES
from lora_ci.forge.github.releases import asset_name
from tests.github_world import REPO, open_world


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        yield world


def begin(world, **assets: bytes) -> None:
    """A draft that somebody began."""
    client = world.client()
    body = {"tag_name": "mei@v1.0.0", "target_commitish": world.head, "draft": True}
    made = client.create(f"/repos/{REPO}/releases", body, dict, look=None)
    for name, data in assets.items():
        (world.root / "given").write_bytes(data)
        url = made["upload_url"].partition("{")[0] + f"?name={name}"
        client.upload(url, world.root / "given", dict, look=lambda: None)


def files(world) -> dict[str, bytes]:
    return {a.name: a.data for a in world.hub.release(REPO, "mei@v1.0.0").assets}


def test_one_that_was_begun_is_finished(world):
    begin(world, mei=b"weights", sig=b"half", left=b"over")
    draft = world.draft(mei=b"weights", sig=b"whole")
    before = world.hub.count("POST")
    world.forge().publish_release(draft)
    assert files(world) == {"mei": b"weights", "sig": b"whole"}
    assert world.hub.count("POST") == before + 1
    assert not world.hub.release(REPO, "mei@v1.0.0").draft


def test_what_came_only_in_part_is_sent_again(world):
    begin(world, mei=b"weights")
    (asset,) = world.hub.release(REPO, "mei@v1.0.0").assets
    asset.state = "open"
    world.forge().publish_release(world.draft(mei=b"weights"))
    (sent,) = world.hub.release(REPO, "mei@v1.0.0").assets
    assert (sent.id != asset.id, sent.state, sent.data) == (True, "uploaded", b"weights")


def test_of_two_drafts_of_a_tag_the_oldest_stays(world):
    begin(world)
    begin(world)
    oldest = min(world.repo.releases)
    world.forge().publish_release(world.draft(a=b"a"))
    assert list(world.repo.releases) == [oldest]


def test_it_is_found_behind_many_others(world):
    world.forge().publish_release(world.draft(a=b"a"))
    first = next(iter(world.repo.releases.values()))
    for n in range(230):
        other = replace(first, id=world.hub.new_id(), tag=f"kit@v1.0.{n}", assets=[])
        world.repo.releases[other.id] = other
    world.forge().publish_release(world.draft("new", a=b"a"))
    assert len(world.repo.releases) == 231
    assert first.body == "new"


@pytest.mark.parametrize("immutable", [False, True])
def test_what_is_published_changes_in_its_notes_alone(world, immutable):
    world.repo.immutable_releases = immutable
    world.forge().publish_release(world.draft("old", a=b"a"))
    world.forge().publish_release(world.draft("new", a=b"other", b=b"b"))
    assert files(world) == {"a": b"a"}
    assert world.hub.release(REPO, "mei@v1.0.0").body == "new"
    world.forge().mark_yanked("mei@v1.0.0", "bad")
    assert world.hub.release(REPO, "mei@v1.0.0").prerelease


def test_a_yanked_one_stays_so_when_it_is_released_again(world):
    world.forge().publish_release(world.draft("old"))
    world.forge().mark_yanked("mei@v1.0.0", "bad `hands` @everyone")
    world.forge().publish_release(world.draft("new"))
    body = world.hub.release(REPO, "mei@v1.0.0").body
    assert body.startswith("<!-- lora-ci: yanked -->\n> [!CAUTION]")
    assert body.endswith("\nnew")
    assert "old" not in body
    assert "@everyone" not in body


def test_a_large_file_is_sent_from_the_disk(world):
    path = world.root / "large"
    with path.open("wb") as file:
        file.truncate(24 << 20)
    draft = replace(world.draft(), files={"large.safetensors": path, "empty": world.root / "none"})
    (world.root / "none").touch()
    with pytest.raises(InputError, match="empty"):
        world.forge().publish_release(draft)
    world.forge().publish_release(replace(draft, files={"large.safetensors": path}))
    assert len(files(world)["large.safetensors"]) == 24 << 20


@pytest.mark.parametrize(
    ("name", "shown"),
    [("mei.safetensors", "mei.safetensors"), ("a b/ü.txt", "a.b.txt"), (".x.", "x"), ("ü", "file")],
)
def test_files_are_named_as_github_names_them(name, shown):
    assert asset_name(name) == shown


def test_two_files_of_one_name_are_refused(world):
    draft = world.draft(a=b"a", b=b"b")
    paths = dict(zip(("x y", "x.y"), draft.files.values(), strict=True))
    with pytest.raises(InputError, match="two files"):
        world.forge().publish_release(replace(draft, files=paths))


def test_writers_at_once_lose_no_picture(world):
    forges = [world.forge() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        put = [pool.submit(f.publish_picture, "x", b"%d" % n) for n, f in enumerate(forges)]
        addresses = [future.result() for future in put]
    assert len(set(addresses)) == 4
    store = world.hub.store(REPO)
    tree = [e for e in store.tree(BRANCH, recursive=True) if e["type"] == "blob"]
    assert len(tree) == 4
    assert world.head not in store.commits(BRANCH)


def test_a_picture_that_is_there_is_not_written(world):
    first = world.forge().publish_picture("x", b"png")
    before = len([r for r in world.hub.requests if r.method != "GET"])
    assert world.forge().publish_picture("y", b"png") == first
    assert len([r for r in world.hub.requests if r.method != "GET"]) == before
    assert first.endswith(".png?raw=true")
    with pytest.raises(InputError, match="comments show up to"):
        world.forge().publish_picture("x", b"x" * (MAX_BYTES + 1))


def test_a_branch_that_nobody_may_move_is_told_at_once(world):
    world.forge().publish_picture("x", b"one")
    world.hub.faults.add(match="PATCH */refs/*", kind="422", times=None)
    with pytest.raises(Exception, match="422"):
        world.forge().publish_picture("x", b"two")
    assert world.hub.count("PATCH") <= 2
