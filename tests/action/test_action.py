"""action.yml: which command an event becomes, and that no foreign text gets to the shell."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lora_ci.cli.main import build_parser
from tests.builders import RepoBuilder

ACTION = Path(__file__).parents[2] / "action.yml"
NOTHING = "0" * 40
STUB = """\
#!/usr/bin/env bash
printf '%s\\n' "$@" > "$RUNNER_TEMP/argv"
printf '%b' "$SAYS"
exit "$CODE"
"""


def step(name: str) -> str:
    """The shell text of a step."""
    steps = yaml.safe_load(ACTION.read_bytes())["runs"]["steps"]
    return next(s["run"] for s in steps if s.get("name") == name)


@dataclass
class Job:
    """A checkout of a repository, and the folder that a runner gives to a job."""

    builder: RepoBuilder
    checkout: Path
    temp: Path

    def run(self, event: str, *, says: str = "", code: int = 0, **variables: str):
        """The step `Run lora-ci`, as GitHub's runner calls it; returns it and lora-ci's argv."""
        done = self.shell(
            "Run lora-ci",
            GITHUB_EVENT_NAME=event,
            SAYS=says,
            CODE=str(code),
            **{"GITHUB_REF_TYPE": "branch", **variables},
        )
        called = self.temp / "argv"
        argv = called.read_text().splitlines() if called.exists() else None
        if argv:
            build_parser(argv).parse_args(argv)  # exits if lora-ci has no such option
        return done, argv

    def shell(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)],
            cwd=self.temp,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.temp),
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_OUTPUT": str(self.temp / "output"),
                "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
                "GITHUB_REPOSITORY": "me/loras",
                "REPOSITORY": str(self.checkout),
                "DEFAULT_BRANCH": "main",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Main has one commit; the branch `topic` has two more; both are checked out with history."""
    builder = RepoBuilder(tmp_path)
    builder.commit("first")
    builder.git("checkout", "-q", "-b", "topic")
    builder.commit("second")
    builder.commit("third")
    checkout, temp = tmp_path / "checkout", tmp_path / "temp"
    subprocess.run(["git", "clone", "-q", builder.root, checkout], check=True)
    stub = temp / "lora-ci" / "bin" / "lora-ci"
    stub.parent.mkdir(parents=True)
    stub.write_text(STUB)
    stub.chmod(0o755)
    return Job(builder, checkout, temp)


def pull_request(job: Job, repository: str) -> dict[str, str]:
    return {
        "PR_NUMBER": "7",
        "PR_BASE": job.builder.git("rev-parse", "main"),
        "PR_HEAD": job.builder.git("rev-parse", "topic"),
        "PR_HEAD_REPOSITORY": repository,
    }


def test_a_pull_request_is_compared_with_its_base(job):
    given = pull_request(job, "me/loras")
    done, argv = job.run("pull_request", **given)
    assert done.returncode == 0, done.stderr
    assert argv == [
        "run",
        f"--repo={job.checkout}",
        f"--head={given['PR_HEAD']}",
        f"--base={given['PR_BASE']}",
        "--pull-request=7",
    ]


@pytest.mark.parametrize("repository", ["stranger/loras", "", "me/loras2", "*"])
def test_a_fork_is_untrusted_and_so_is_a_deleted_one(job, repository):
    _, argv = job.run("pull_request", **pull_request(job, repository))
    assert argv[-1] == "--untrusted"


def test_a_head_that_is_not_checked_out_is_fetched(job):
    job.builder.git("checkout", "-q", "--detach")
    head = job.builder.commit("in no branch, as the head of a fork")
    job.builder.git("config", "uploadpack.allowAnySHA1InWant", "true")
    job.run("pull_request", **pull_request(job, "stranger/loras") | {"PR_HEAD": head})
    subprocess.run(["git", "-C", job.checkout, "cat-file", "-e", head], check=True)


def test_a_push_is_compared_with_what_was_there_before(job):
    before, head = job.builder.git("rev-parse", "topic^", "topic").splitlines()
    _, argv = job.run("push", BEFORE=before, FORCED="false", GITHUB_SHA=head)
    assert argv[2:] == [f"--head={head}", f"--base={before}"]


@pytest.mark.parametrize(
    ("before", "forced"),
    [(NOTHING, "false"), ("", "false"), ("1" * 40, "false"), ("topic", "true")],
    ids=["new branch", "no before", "before is gone", "forced"],
)
def test_without_a_before_a_push_is_compared_with_the_default_branch(job, before, forced):
    head, main = job.builder.git("rev-parse", "topic", "main").splitlines()
    _, argv = job.run("push", BEFORE=before, FORCED=forced, GITHUB_SHA=head)
    assert argv[2:] == [f"--head={head}", f"--base={main}"]


def test_histories_that_share_nothing_are_left_to_lora_ci(job):
    job.builder.git("checkout", "-q", "--orphan", "other")
    head = job.builder.commit("unrelated")
    subprocess.run(["git", "-C", job.checkout, "fetch", "-q", "origin", head], check=True)
    _, argv = job.run("push", BEFORE=NOTHING, FORCED="false", GITHUB_SHA=head)
    assert argv[2:] == [f"--head={head}"]


def test_a_tag_and_the_clock(job):
    _, argv = job.run("push", GITHUB_REF_TYPE="tag", GITHUB_REF_NAME="mei@v1.2.0", BEFORE=NOTHING)
    assert argv[2:] == ["--tag=mei@v1.2.0"]
    _, argv = job.run("schedule", GITHUB_SHA="abc")
    assert argv[2:] == ["--head=abc"]


@pytest.mark.parametrize("event", ["pull_request_target", "workflow_run", "issue_comment"])
def test_other_events_are_refused(job, event):
    done, argv = job.run(event, **pull_request(job, "stranger/loras"))
    assert done.returncode == 2
    assert argv is None
    assert f"::error::lora-ci does not run on {event}" in done.stdout


def test_foreign_text_is_an_argument_and_nothing_else(job):
    name = "$(touch pwned)`touch pwned`;touch pwned;'\" *\\"
    _, argv = job.run("push", GITHUB_REF_TYPE="tag", GITHUB_REF_NAME=name)
    assert argv[2:] == [f"--tag={name}"]
    assert not list(job.temp.glob("**/pwned"))
    for found in yaml.safe_load(ACTION.read_bytes())["runs"]["steps"]:
        assert "${{" not in found.get("run", "")


def test_the_exit_code_is_lora_cis_and_its_words_do_not_reach_the_runner(job):
    says = "::add-mask::e\\n```\\n::error::fake\\n"
    done, _ = job.run("schedule", says=says, code=3, GITHUB_SHA="abc")
    assert done.returncode == 3
    token = (job.temp / "output").read_text().strip().removeprefix("token=")
    assert len(token) == 32
    assert done.stdout == f"::stop-commands::{token}\n"
    shown = job.shell("Show the result", TOKEN=token).stdout
    assert shown == f"::stop-commands::{token}\n::add-mask::e\n```\n::error::fake\n::{token}::\n"
    summary = (job.temp / "summary").read_text()
    assert all(line.startswith("    ") for line in summary.splitlines())
