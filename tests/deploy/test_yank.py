"""A release that was yanked stays as it was signed, and nobody gets it by mistake."""

import json
import shutil
from datetime import UTC, datetime

import pytest

from lora_ci.cli.main import main
from lora_ci.core.errors import InputError, IntegrityError
from lora_ci.core.step import Outcome
from lora_ci.deploy.stores import FolderStore
from lora_ci.deploy.version import Version
from lora_ci.deploy.yank import MAX_REASON, read_yank, yank
from lora_ci.forge.forge import ReleaseDraft
from lora_ci.forge.local import LocalForge
from lora_ci.signing.signers import FILE_NAME, render_signers
from tests.releases import Team, files_of

ONE, TWO = Version(1, 0, 0), Version(1, 1, 0)
NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    team = Team(tmp_path_factory.mktemp("team"))
    team.release("1.0.0")
    team.release("1.1.0", seed=1)
    return team


@pytest.fixture
def team(released, tmp_path):
    """The team's place, as a copy that may be changed."""
    shutil.copytree(released.root, tmp_path / "team")
    team = Team.__new__(Team)
    team.__dict__ |= released.__dict__
    team.place, team.root = tmp_path / "team" / "store", tmp_path / "team"
    team.store = FolderStore(team.place)
    (team.root / FILE_NAME).write_bytes(render_signers(team.signers))
    return team


def lora_ci(capsys, *args: object) -> tuple[int, dict]:
    code = main([*map(str, args), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def pull(capsys, team, what: str, *more: str) -> tuple[int, str]:
    to, signers = team.root / "to", team.root / FILE_NAME
    options = ("--store", team.place, "--signers", signers, "--to", to, *more)
    code, said = lora_ci(capsys, "pull", what, *options)
    return code, json.dumps(said)


def test_the_command_marks_store_and_page_and_pull_refuses(team, capsys):
    before = files_of(team.released("1.1.0"))
    pages = LocalForge(team.root / ".lora-ci" / "forge")
    pages.publish_release(ReleaseDraft(tag="mei@v1.1.0", commit="c", title="mei", notes="good"))
    command = ("yank", "mei@v1.1.0", "--store", team.place, "--repo", team.root, "--reason")
    for reason in ("six", "six fingers"):
        code, said = lora_ci(capsys, *command, reason)
        assert (code, said["version"], said["reason"]) == (0, "1.1.0", reason)
    assert files_of(team.released("1.1.0")) == before
    (notes,) = team.root.rglob("notes.md")
    assert "six fingers" in notes.read_text()
    for what in ("mei", "mei@v1.1.0"):
        code, told = pull(capsys, team, what)
        assert code == 1
        assert "was yanked on" in told
        assert "six fingers" in told
        assert "next: lora-ci pull mei@v1.0.0" in told
    assert pull(capsys, team, "mei@v1.0.0")[0] == 0
    assert pull(capsys, team, "mei", "--allow-yanked")[0] == 0


def test_a_yanked_version_is_not_released_again(team):
    yank((team.store,), "mei", TWO, "bad", NOW)
    result = team.release("1.1.0", seed=1, targets=[str(team.place)])
    assert result.outcome is Outcome.FAILED
    assert "1.1.0 of mei was yanked on 2026-07-01: bad" in result.findings[0].message
    assert "mei@v1.1.1" in result.findings[0].hint
    assert team.release("1.2.0", seed=1, targets=[str(team.place)]).outcome is Outcome.PASSED


def test_what_is_in_no_store_is_not_marked_in_any(team, tmp_path):
    empty = FolderStore(tmp_path / "empty")
    with pytest.raises(InputError, match=r"no release 1\.0\.0"):
        yank((team.store, empty), "mei", ONE, "bad", NOW)
    assert read_yank(team.store, "mei", ONE) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 9999, b"\xff", b'{"schema":"else"}'])
def test_a_mark_that_cannot_be_read_is_a_mark(team, data, capsys):
    team.store.yank("mei", ONE, data)
    with pytest.raises(IntegrityError, match="was yanked"):
        read_yank(team.store, "mei", ONE)
    assert pull(capsys, team, "mei@v1.0.0")[0] == 1


def test_the_mark_of_another_release_is_a_mark(team):
    yank((team.store,), "mei", TWO, "bad", NOW)
    mark = team.store.read_yank("mei", TWO)
    team.store.yank("mei", ONE, mark)
    with pytest.raises(IntegrityError, match="mark of another release"):
        read_yank(team.store, "mei", ONE)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "  "},
        {"reason": "x" * (MAX_REASON + 1)},
        {"release": "mei"},
        {"release": "mei#latest"},
        {"release": "../x@v1.0.0"},
        {"store": "nowhere"},
    ],
)
def test_what_is_wrong_on_the_command_line_is_told(team, change, capsys):
    given = {"release": "mei@v1.0.0", "reason": "bad", "store": team.place} | change
    options = ("--reason", given["reason"], "--store", given["store"], "--repo", team.root)
    assert lora_ci(capsys, "yank", given["release"], *options)[0] == 2
    assert read_yank(team.store, "mei", ONE) is None


def test_a_hostile_reason_is_shown_as_text(team, capsys):
    reason = "\x1b[31m @everyone ::add-mask::x\n<script>"
    options = ("--store", team.place, "--repo", team.root)
    assert main(["yank", "mei@v1.0.0", "--reason", reason, *map(str, options)]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert pull(capsys, team, "mei@v1.0.0")[0] == 1
