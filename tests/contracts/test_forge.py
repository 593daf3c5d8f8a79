"""What every forge must hold: what is shown twice is there once, and the last word counts."""

import json
from dataclasses import dataclass, replace

import pytest

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Forge, LineComment, Suggests
from lora_ci.forge.local import LocalForge
from lora_ci.report.annotations import Annotation
from tests.github_world import World, open_world

NOTE = Annotation(file="a.txt", line=3, level="failure", title="r.one", message="wrong")


@dataclass
class Shown:
    """What people see."""

    comments: list[str]
    checks: dict[str, list[str]]
    annotations: int
    files: dict[str, bytes]
    notes: str
    suggestions: list[str]


class LocalBench:
    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.root / "forge"

    def forge(self) -> Forge:
        return LocalForge(self.folder)

    def picture(self, address: str) -> bytes:
        return (self.folder / "pulls" / "1" / address).resolve().read_bytes()

    def shown(self) -> Shown:
        checks = [json.loads(p.read_bytes()) for p in self.folder.glob("checks/*/*.json")]
        named: dict[str, list[str]] = {}
        for check in checks:
            named.setdefault(check["name"], []).append(check["outcome"])
        release = self.folder / "releases" / "mei@v1.0.0"
        return Shown(
            comments=[p.read_text() for p in self.folder.glob("pulls/1/*")],
            checks=named,
            annotations=sum(len(check["annotations"]) for check in checks),
            files={p.name: p.read_bytes() for p in release.glob("files/*")},
            notes=next((p.read_text() for p in release.glob("notes.md")), ""),
            suggestions=[p.read_text() for p in self.folder.glob("suggestions/1/*")],
        )


OUTCOMES = {"failure": "failed", "success": "passed", None: None}


class GitHubBench:
    def __init__(self, world: World) -> None:
        self.world = world

    def forge(self) -> Forge:
        return self.world.forge()

    def picture(self, address: str) -> bytes:
        commit, _, path = address.partition("/blob/")[2].partition("?")[0].partition("/")
        store = self.world.hub.store("acme/loras")
        return store.git("show", f"{commit}:{path}")

    def shown(self) -> Shown:
        repo = self.world.repo
        named: dict[str, list[str]] = {}
        for run in repo.checks.values():
            named.setdefault(run.name, []).append(OUTCOMES[run.conclusion])
        releases = list(repo.releases.values())
        assert len(releases) < 2
        return Shown(
            comments=[comment.body for comment in repo.comments_on(1)],
            checks=named,
            annotations=sum(len(run.annotations) for run in repo.checks.values()),
            files={a.name: a.data for r in releases for a in r.assets if not r.draft},
            notes="".join(r.body for r in releases),
            suggestions=[c.body for c in repo.review_comments.values()],
        )


@pytest.fixture(params=[LocalBench, GitHubBench], ids=["local", "github"])
def bench(request, tmp_path):
    with open_world(tmp_path) as world:
        world.pull(head=world.commit({".lora-ci.yml": "one\ntwo\nthree\nfour\n"}))
        yield request.param(world)


def test_the_comment_is_one_and_says_the_last_word(bench):
    for body in ("first", "first", "second"):
        bench.forge().upsert_comment(1, body)
    (comment,) = bench.shown().comments
    assert "second" in comment
    assert "first" not in comment


def test_a_check_is_replaced(bench):
    going_on = bench.world.check(outcome=None, title="training", annotations=())
    failed = bench.world.check(annotations=(NOTE, replace(NOTE, line=4)))
    for check in (going_on, going_on, failed, failed):
        bench.forge().publish_check(check)
    bench.forge().publish_check(replace(failed, name="lora-ci / kit", annotations=()))
    shown = bench.shown()
    assert shown.checks == {"lora-ci / mei": ["failed"], "lora-ci / kit": ["failed"]}
    assert shown.annotations == 2


def test_a_check_can_go_on_again(bench):
    passed = bench.world.check(outcome=Outcome.PASSED)
    for check in (passed, replace(passed, outcome=None), passed):
        bench.forge().publish_check(check)
    assert bench.shown().checks == {"lora-ci / mei": ["passed"]}


def test_pictures_are_what_was_given(bench):
    one, two = (bench.forge().publish_picture("grid.png", data) for data in (b"one", b"two"))
    assert bench.forge().publish_picture("other.png", b"two") == two
    assert (bench.picture(one), bench.picture(two)) == (b"one", b"two")


def test_a_release_has_its_files_once(bench):
    draft = bench.world.draft("old notes", mei_safetensors=b"weights", model_sig=b"signature")
    first = bench.forge().publish_release(draft)
    assert bench.forge().publish_release(replace(draft, notes="new notes")) == first
    shown = bench.shown()
    assert shown.files == {"mei.safetensors": b"weights", "model.sig": b"signature"}
    assert "new notes" in shown.notes
    assert "old notes" not in shown.notes


def test_a_yanked_release_says_so_once(bench):
    with pytest.raises(InputError):
        bench.forge().mark_yanked("mei@v1.0.0", "never released")
    bench.forge().publish_release(bench.world.draft("the notes"))
    for reason in ("bad hands", "wrong dataset"):
        bench.forge().mark_yanked("mei@v1.0.0", reason)
    notes = bench.shown().notes
    assert notes.count("Yanked: do not use") == 1
    assert "wrong dataset" in notes
    assert "the notes" in notes


def change(**changed: object) -> LineComment:
    given = {"path": ".lora-ci.yml", "first_line": 2, "last_line": 3, "body": "rank 16 is best"}
    return LineComment(**(given | changed))


def test_a_change_is_suggested_once_and_says_the_last_word(bench):
    head = bench.world.repo.pulls[1].head
    for now in (change(), change(), change(body="rank 32 is best")):
        forge = bench.forge()
        assert isinstance(forge, Suggests)
        assert forge.suggest(1, head, "mei", now)
    assert bench.forge().suggest(1, head, "leo", change(first_line=3))
    mei, leo = sorted(bench.shown().suggestions, key=lambda body: "16" in body)
    assert "rank 32" in mei
    assert "rank 16" in leo
    assert not bench.forge().suggest(1, head, "mei", None)
    assert not bench.forge().suggest(1, head, "mei", None)
    assert len(bench.shown().suggestions) == 1
    assert bench.forge().notes() == ()


def test_a_report_lies_where_it_can_be_opened(bench):
    for page in ("<p>old", "<p>new"):
        bench.forge().publish_report("run-1", page, f'"{page}"')
    (path,) = bench.world.root.rglob("run-1.html")
    assert path.read_text() == "<p>new"
    assert path.with_suffix(".json").read_text() == '"<p>new"'


def test_nothing_is_noted_where_all_was_shown(bench):
    forge = bench.forge()
    forge.upsert_comment(1, "text")
    forge.publish_check(bench.world.check())
    assert forge.notes() == ()
