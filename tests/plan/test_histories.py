"""Whatever a team does with git: what a tree needs is trained, and nothing is trained twice.

Real repositories with random histories, read as every push reads them, against a model that only
remembers which trees it has seen.
"""

import random
import subprocess
from dataclasses import dataclass, field

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.plan_event import plan_gathered
from lora_ci.changes.range import find_range
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.step import Stage
from tests.builders import RepoBuilder
from tests.records import DictRecords

HISTORIES, STEPS = 30, 14
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
CONFIG = """\
version: 1
# {comment}
defaults: {{base_model: models/sd}}
loras:
  mei:
    dataset: datasets/mei
    train: {{rank: {mei}}}



  leo:
    dataset: datasets/leo
    train: {{rank: {leo}}}
"""
NAMES = ("mei", "leo")
pytestmark = pytest.mark.slow


@dataclass
class Team:
    """A repository, its pushes, and the model: what every tree that was pushed needs."""

    repo: RepoBuilder
    chance: random.Random
    records: DictRecords = field(default_factory=DictRecords)
    pushed: dict[str, str] = field(default_factory=dict)
    needed: set[tuple] = field(default_factory=set)

    def config(self, **changed: object) -> None:
        values = {"comment": "a", "mei": 4, "leo": 4} | self.values() | changed
        self.repo.write(".lora-ci.yml", CONFIG.format(**values))

    def values(self) -> dict[str, object]:
        path = self.repo.root / ".lora-ci.yml"
        if not path.exists():
            return {}
        lines = path.read_text().splitlines()
        ranks = [line.partition("rank: ")[2].rstrip("}") for line in lines if "rank: " in line]
        return {"comment": lines[1][2:], "mei": ranks[0], "leo": ranks[1]}

    def data(self, name: str) -> None:
        """mei lies in DVC, leo in git."""
        if name == "mei":
            pictures = {f"{i}.png": self.chance.choice([b"x", b"y"]) for i in range(2)}
            self.repo.dvc_add("datasets/mei", pictures)
        else:
            self.repo.write(
                f"datasets/leo/{self.chance.choice('01')}.png", self.chance.choice("xy")
            )

    def start(self) -> None:
        for part in PARTS:
            self.repo.write(f"models/sd/{part}/config.json", "{}")
        self.config()
        for name in NAMES:
            self.data(name)
        self.repo.write("datasets/leo/0.png", "x")
        self.repo.commit("Start")
        self.push()

    def git(self, *args: str) -> bool:
        """False where git refuses: a conflict, or nothing to do; the work tree is clean then."""
        try:
            self.repo.git(*args)
        except subprocess.CalledProcessError:
            for undo in ("rebase", "merge", "cherry-pick", "revert"):
                subprocess.run(
                    ["git", "-C", str(self.repo.root), undo, "--abort"],
                    capture_output=True,
                    check=False,
                )
            self.repo.git("reset", "-q", "--hard")
            return False
        return True

    def branches(self) -> list[str]:
        return self.repo.git("branch", "--format=%(refname:short)").splitlines()

    def other(self) -> str:
        here = self.repo.git("branch", "--show-current")
        return self.chance.choice([b for b in self.branches() if b != here] or [here])

    def act(self) -> str:
        """One thing that people do; it is pushed afterwards."""
        what = self.chance.choice(list(ACTIONS))
        ACTIONS[what](self)
        return what

    def edit(self, *names: str) -> None:
        for name in names or [self.chance.choice(NAMES)]:
            self.data(name)
            self.repo.commit()

    def configure(self, **changed: object) -> None:
        self.config(**changed)
        self.repo.commit()

    def squash(self) -> None:
        if self.git("merge", "-q", "--squash", self.other()):
            self.repo.commit("Squashed")

    def amend(self) -> None:
        self.data(self.chance.choice(NAMES))
        self.repo.git("add", "-A")
        self.git("commit", "-q", "--amend", "--allow-empty", "-m", "Amended")

    def push(self) -> None:
        """What lora-ci does on a push, to its end; and what the model says of it."""
        branch, head = self.repo.git("branch", "--show-current"), self.repo.git("rev-parse", "HEAD")
        source = open_git_source(self.repo.root)
        found = find_range(
            source.repo,
            head=head,
            kind=EventKind.PUSH,
            before=self.pushed.get(branch),
            default_branch="main",
        )
        self.pushed[branch] = head
        event = Event(kind=EventKind.PUSH, repo="r", head=head, base=found.base)
        gathered = source.gather(event)
        trained = []
        while runs := (
            plan := plan_gathered(event, gathered, self.records, SystemClock())
        ).to_run():
            trained += [d.lora for d in runs if d.stage is Stage.TRAIN]
            self.records.run(plan)
        expected = {self.state(name): name for name in NAMES}
        new = expected.keys() - self.needed
        assert sorted(trained) == sorted(expected[state] for state in new)
        self.needed |= new
        for decision in plan.decisions:
            assert decision.why

    def state(self, name: str) -> tuple:
        """All that a training depends on, read from the work tree without lora-ci."""
        if name == "mei":
            data = (self.repo.root / "datasets" / "mei.dvc").read_text()
        else:
            folder = self.repo.root / "datasets" / "leo"
            data = str(sorted((p.name, p.read_text()) for p in folder.iterdir()))
        return name, data, self.values()[name]


ACTIONS = {
    "data": Team.edit,
    "more data": Team.edit,
    "both": lambda team: team.edit(*NAMES),
    "rank": lambda team: team.configure(**{team.chance.choice(NAMES): team.chance.choice([4, 8])}),
    "comment": lambda team: team.configure(comment=team.chance.random()),
    "branch": lambda team: team.git("switch", "-q", "-c", f"b{len(team.branches())}"),
    "switch": lambda team: team.git("switch", "-q", team.other()),
    "squash": Team.squash,
    "merge": lambda team: team.git("merge", "-q", "--no-edit", team.other()),
    "octopus": lambda team: team.git("merge", "-q", "--no-edit", *team.branches()),
    "rebase": lambda team: team.git("rebase", "-q", team.other()),
    "revert": lambda team: team.git("revert", "--no-edit", "HEAD"),
    "pick": lambda team: team.git("cherry-pick", "--allow-empty", team.other()),
    "amend": Team.amend,
    "reset": lambda team: team.git("reset", "-q", "--hard", "HEAD~1"),
}


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_nothing_is_trained_twice_and_nothing_is_missed(tmp_path, seed):
    team = Team(RepoBuilder(tmp_path), random.Random(seed))
    team.start()
    done = []
    for _ in range(STEPS):
        done.append(team.act())
        try:
            team.push()
        except AssertionError as error:
            raise AssertionError(f"after {done}") from error
    assert len(team.needed) >= 2
