"""Whose rules hold: those of the default branch, whatever a push brings along."""

import json
from pathlib import Path

import pytest

from tests.builders import RepoBuilder
from tests.command import lora_ci

pytestmark = pytest.mark.slow

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
CONFIG = """\
version: 1
defaults: {{base_model: models/sd}}
policy: {policy}
loras:
  mei: {{dataset: datasets/mei, train: {{rank: {rank}}}}}
"""


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    """On `main`, a policy; on `work`, another one and another rank."""
    made = RepoBuilder(tmp_path)
    for part in PARTS:
        made.write(f"models/sd/{part}/config.json", "{}")
    made.dvc_add("datasets/mei", {"a.png": b"a"})
    made.write(".lora-ci.yml", CONFIG.format(policy="{max_gpu_hours_per_run: 0.001}", rank=4))
    made.commit("Rules")
    made.git("switch", "-q", "-c", "work")
    made.write(".lora-ci.yml", CONFIG.format(policy="{forks: nothing}", rank=8))
    made.commit("Other rules")
    return made


def plan(repo: RepoBuilder, *args: str) -> dict[str, dict]:
    told = lora_ci(repo.root, "plan", "--json", *args)
    assert told.code == 0, told.err
    return {d["stage"]: d for d in json.loads(told.out)["decisions"]}


def test_a_push_cannot_raise_its_own_budget(repo):
    assert plan(repo)["train"]["why"].startswith("over budget")
    assert plan(repo, "--approved-by", "ann")["train"]["action"] == "wait"


def test_a_foreign_push_is_judged_by_the_default_branchs_config(repo):
    ours = plan(repo)["validate"]["fingerprint"]["parts"]
    told = lora_ci(repo.root, "simulate", "--from", "main", "--to", "work", "--json")
    assert '"rank"' not in json.dumps(ours)
    assert "train.rank" in told.out
    foreign = plan(repo, "--untrusted")
    assert foreign["validate"]["action"] == "run", "`forks: nothing` is only what it says of itself"
    assert foreign["train"]["action"] == "blocked"


def test_a_config_that_breaks_the_default_branch_can_be_mended(repo):
    repo.git("switch", "-q", "main")
    repo.write(".lora-ci.yml", "version: 1\nloras: [")
    repo.commit("Break it")
    repo.git("switch", "-q", "work")
    assert plan(repo)["validate"]["action"] == "run"


def test_a_foreign_push_cannot_bring_its_own_rules(repo):
    """Wherever the default branch's are not to be had, nothing is planned for it."""
    repo.git("branch", "-m", "main", "trunk")
    repo.git("branch", "other")  # neither of three is a usual name
    told = lora_ci(repo.root, "plan", "--untrusted", "--approved-by", "eve")
    assert told.code == 2
    assert "the default branch is not known" in told.err
    told = lora_ci(repo.root, "plan", "--default-branch", "nope")
    assert told.code == 2
    assert "`nope` is not here" in told.err


@pytest.mark.parametrize("config", ["version: 1\nloras: [", None])
def test_a_default_branch_without_a_policy_approves_nobody(repo, config):
    repo.git("switch", "-q", "main")
    if config:
        repo.write(".lora-ci.yml", config)
    else:
        repo.git("rm", "-q", ".lora-ci.yml")
    repo.commit("No rules")
    repo.git("switch", "-q", "work")
    told = lora_ci(repo.root, "plan", "--untrusted", "--approved-by", "eve")
    assert told.code == 2, told.out


def test_a_tag_that_is_called_like_the_default_branch_is_not_it(repo):
    repo.git("tag", "main")  # on the commit of `work`
    assert plan(repo)["train"]["why"].startswith("over budget")


def test_a_foreign_push_does_not_bring_the_files_that_a_config_names(repo):
    repo.git("switch", "-q", "main")
    text = CONFIG.format(policy="{}", rank=4).replace("{rank: 4}", "{rank: 4}, validate: v.toml")
    repo.write(".lora-ci.yml", text)
    repo.write("v.toml", "min_images = 50\n")
    repo.commit("Settings in a file")
    repo.git("switch", "-q", "-c", "fork")
    repo.write("v.toml", "min_images = 1\n")
    repo.commit("Make it easy")
    parts = plan(repo, "--untrusted")["validate"]["fingerprint"]["parts"]
    assert parts["validate.min_images"] == "[50]"


@pytest.mark.parametrize("who", ["", " "])
def test_nobody_is_no_approver(repo, who):
    assert plan(repo, "--untrusted", "--approved-by", who)["train"]["action"] == "blocked"


def test_what_is_not_pushed_is_told_before_anything_runs(repo):
    md5 = "0cc175b9c0f1b6a831c399e269772661"  # of b"a"
    repo.forget(md5)
    told = lora_ci(repo.root, "plan")
    assert "1 of 1 files of `datasets/mei` are not in the DVC remote: a.png" in told.err


def test_a_payload_says_it_all(repo, tmp_path: Path):
    base, head = repo.git("rev-parse", "main"), repo.git("rev-parse", "work")
    payload = {
        "number": 7,
        "repository": {"full_name": "team/loras", "default_branch": "main"},
        "pull_request": {
            "number": 7,
            "title": "Rank 8",
            "head": {"sha": head, "ref": "work", "repo": {"full_name": "stranger/loras"}},
            "base": {"sha": base, "ref": "main"},
        },
    }
    file = tmp_path / "event.json"
    file.write_text(json.dumps(payload))
    decisions = plan(repo, "--event", str(file), "--event-name", "pull_request")
    assert decisions["train"]["action"] == "blocked"
    payload["pull_request"]["title"] = "Rank 8 [skip lora-ci]"
    file.write_text(json.dumps(payload))
    assert plan(repo, "--event", str(file))["train"]["action"] == "blocked", "a fork cannot pass so"
    payload["pull_request"]["head"]["repo"]["full_name"] = "team/loras"
    file.write_text(json.dumps(payload))
    assert plan(repo, "--event", str(file)) == {}
    file.write_text("{}")
    told = lora_ci(repo.root, "plan", "--event", str(file))
    assert told.code == 2
    assert "event.json: `repository.full_name` is not what GitHub sends" in told.err


def test_plan_as_markdown_and_explain(repo):
    told = lora_ci(repo.root, "plan", "--markdown", "--base", "main")
    assert told.out.startswith("### lora-ci: the plan")
    assert "`loras.mei.train.rank`" in told.out
    told = lora_ci(repo.root, "explain", "mei", "--stage", "validate")
    assert told.code == 0
    assert "nothing of this stage was recorded" in told.out
    assert lora_ci(repo.root, "explain", "nobody").code == 2
