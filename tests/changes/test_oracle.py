"""`dvc diff` as the oracle: the same two commits of random repositories, told the same.

Where equal contents could be paired in several ways, or move from one dataset to another, DVC may
pair them otherwise, and between its two layouts it pairs none: what comes and goes must always be
the same, and how many renames there are in one dataset of one layout.
"""

import hashlib
import json
import string
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lora_ci.changes.between import changes_between
from lora_ci.changes.git import open_repository
from lora_ci.changes.objects import open_objects
from tests.builders import RepoBuilder

pytestmark = pytest.mark.slow
CASES = 220

# No name is a file here and a folder there: DVC loses one of the two.
INNER = st.lists(st.sampled_from(["sub", "ü", "in side", "x.y"]), max_size=2)
NAMES = st.sampled_from(["a", "b", "a.png", "b.txt", "é.png", "日本", "with space", "-dash"])
PATHS = st.builds(lambda folders, name: "/".join([*folders, name]), INNER, NAMES)
CONTENTS = st.sampled_from([*string.ascii_lowercase[:6], "", "long" * 99])
FOLDERS = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=9)
DATASETS = st.dictionaries(st.sampled_from(["data/mei", "data/leo", "one"]), FOLDERS, max_size=3)
LAYOUTS = st.sampled_from(["dvc 3", "dvc 2"])


@st.composite
def edited(draw, state):
    """A state that came from another one by edits, removals, additions and renames."""
    made = {}
    for dataset, files in state.items():
        fate = draw(st.sampled_from(["edit", "edit", "edit", "keep", "drop"]))
        if fate == "drop":
            continue
        made[dataset] = dict(files)
        for path in sorted(files) if fate == "edit" else ():
            match draw(st.sampled_from(["keep", "keep", "edit", "remove", "rename"])):
                case "edit":
                    made[dataset][path] = draw(CONTENTS)
                case "remove":
                    del made[dataset][path]
                case "rename":
                    made[dataset][f"moved/{path}"] = made[dataset].pop(path)
        if not made[dataset]:
            made[dataset]["left.png"] = "left"
    return made


@st.composite
def pairs(draw):
    old = draw(DATASETS)
    return old, draw(st.one_of(edited(old), edited(old), DATASETS))


class Oracle:
    """A real DVC repository whose files are written directly, and DVC in this process."""

    def __init__(self, folder) -> None:
        from dvc.repo import Repo

        self.builder = RepoBuilder(folder)
        (self.builder.root / ".dvc" / "config").unlink()
        Repo.init(str(self.builder.root), force=True).close()
        self.builder.commit()
        self.dvc = Repo(str(self.builder.root))
        self.git = open_repository(self.builder.root)
        self.objects = open_objects(self.git)
        self.states = {}

    def commit(self, state, layout: str) -> str:
        root = self.builder.root
        for file in root.rglob("*.dvc"):
            if file.is_file():
                file.unlink()
        for dataset, files in state.items():
            entries = [
                {"md5": self.store(text.encode(), layout), "relpath": path}
                for path, text in sorted(files.items())
            ]
            data = json.dumps(entries).encode()
            md5 = self.store(data, layout, ".dir")
            kind = "  hash: md5\n" if layout == "dvc 3" else ""
            name = dataset.rpartition("/")[2]
            text = f"outs:\n- md5: {md5}\n  size: 1\n  nfiles: {len(files)}\n{kind}  path: {name}\n"
            self.builder.write(f"{dataset}.dvc", text)
        made = self.builder.commit()
        self.states[made] = state
        return made

    def store(self, data: bytes, layout: str, suffix: str = "") -> str:
        md5 = hashlib.md5(data).hexdigest() + suffix
        inner = "files/md5/" if layout == "dvc 3" else ""
        path = self.builder.root / ".dvc" / "cache" / f"{inner}{md5[:2]}" / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5

    def ours(self, base: str, head: str):
        told = {"added": set(), "deleted": set(), "modified": set(), "renamed": Counter()}
        for change in changes_between(self.git, base, head, self.objects):
            assert change.unknown is None
            top = change.dataset
            if not change:
                before, after = self.states[base], self.states[head]
                gone = [d for d in before.keys() - after.keys() if before[d] == after[top]]
                assert gone
                told["added"] |= {f"{top}/{path}" for path in after[top]}
                told["deleted"] |= {f"{d}/{path}" for d in gone for path in before[d]}
            told["added"] |= {f"{top}/{path}" for path in change.added}
            told["deleted"] |= {f"{top}/{path}" for path in change.removed}
            told["modified"] |= {f"{top}/{path}" for path in change.modified}
            told["added"] |= {f"{top}/{new}" for _, new in change.renamed}
            told["deleted"] |= {f"{top}/{old}" for old, _ in change.renamed}
            told["renamed"][top] = len(change.renamed)
        return told

    def theirs(self, base: str, head: str):
        found = self.dvc.diff(base, head)
        told = {
            kind: {item["path"] for item in found.get(kind, []) if self.differs(item)}
            for kind in ("added", "deleted", "modified")
        }
        told["renamed"] = Counter()
        for item in found.get("renamed", []):
            old, new = item["path"]["old"], item["path"]["new"]
            if new.endswith("/"):
                continue
            told["added"].add(new)
            told["deleted"].add(old)
            told["renamed"][self.dataset(new)] += self.dataset(old) == self.dataset(new)
        return told

    @staticmethod
    def differs(item) -> bool:
        """False for folders, and where the same md5 only lies in another layout."""
        md5 = item["hash"]
        same = isinstance(md5, dict) and md5["old"] == md5["new"]
        return not item["path"].endswith("/") and not same

    @staticmethod
    def dataset(path: str) -> str:
        return next(name for name in ("data/mei", "data/leo", "one") if path.startswith(f"{name}/"))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    return Oracle(tmp_path_factory.mktemp("oracle"))


# Without shrinking, which would ask DVC a thousand times.
@settings(
    max_examples=CASES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(pairs(), LAYOUTS, LAYOUTS)
def test_dvc_says_the_same(oracle, pair, then, now):
    base, head = oracle.commit(pair[0], then), oracle.commit(pair[1], now)
    ours, theirs = oracle.ours(base, head), oracle.theirs(base, head)
    if len(pair[0].keys() | pair[1].keys()) == 1 and then == now:
        assert ours["renamed"] == theirs["renamed"]
    for kind in ("added", "deleted", "modified"):
        assert ours[kind] == theirs[kind], kind
