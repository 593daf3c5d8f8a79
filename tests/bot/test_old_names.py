"""Repositories that get other names while they have runs."""

import pytest

from lora_ci.bot.child import clone_of
from tests.bot.test_bot_worker import REPO, Bot
from tests.bot.test_intent import changed
from tests.forge.test_payload import PUSH


@pytest.fixture
def bot(tmp_path):
    bot = Bot(tmp_path)
    yield bot
    bot.database.close()


def rename(bot, old, new):
    owner, _, was = old.partition("/")
    bot.deliver("repository", {"action": "renamed", "repository": {"full_name": f"{owner}/{new}"},
                               "changes": {"repository": {"name": {"from": was}}}})  # fmt: skip


def test_a_renamed_repository_keeps_its_clone(bot, tmp_path):
    clone = clone_of(tmp_path, "Team/Loras")
    (clone / ".lora-ci").mkdir(parents=True)
    bot.pull("opened")
    rename(bot, REPO, "new")
    assert (clone_of(tmp_path, "team/new") / ".lora-ci").is_dir()
    assert (clone / ".lora-ci").is_dir()  # for what still runs
    assert [job.repo for job in bot.jobs.running()] == ["team/new"]
    rename(bot, REPO, "new")
    bot.end(0)
    assert not clone.is_symlink()
    assert (clone_of(tmp_path, "team/new") / ".lora-ci").is_dir()


def test_who_takes_an_old_name_never_gets_the_clone(bot, tmp_path):
    clone = clone_of(tmp_path, REPO)
    clone.mkdir(parents=True)
    bot.pull("opened")
    rename(bot, REPO, "new")
    rename(bot, "team/new", "newer")
    bot.deliver("push", {**PUSH, "ref": "refs/heads/main"})  # of another that is called so now
    for _ in range(20):  # as long as the first run takes, and that is no fault of the second
        bot.clock.pass_s(31)
        bot.turn()
    assert len(bot.heads) == 1
    assert clone.resolve() == clone_of(tmp_path, "team/newer")
    assert bot.state[1][1] == "the repository that had this name before still has a run there"
    # What else runs keeps no link: it was started under the name of today.
    bot.deliver("push", changed({**PUSH, "ref": "refs/heads/main"}, "repository.full_name",
                                "team/newer"))  # fmt: skip
    assert len(bot.heads) == 2
    bot.end(0)
    assert [entry.name for entry in (tmp_path / "repos" / "team").iterdir()] == ["newer"]
    bot.clock.pass_s(31)
    bot.turn()
    job, _ = bot.runner.started[2]
    assert (job.repo, job.attempts, clone.exists()) == (REPO, 1, False)


def test_a_repository_that_gets_its_name_back(bot, tmp_path):
    clone = clone_of(tmp_path, REPO)
    (clone / ".lora-ci").mkdir(parents=True)
    bot.pull("opened")
    rename(bot, REPO, "new")
    rename(bot, "team/new", "loras")
    assert not clone.is_symlink()
    assert (clone / ".lora-ci").is_dir()
    bot.end(0)
    assert [entry.name for entry in clone.parent.iterdir()] == ["loras"]
    assert (clone / ".lora-ci").is_dir()
