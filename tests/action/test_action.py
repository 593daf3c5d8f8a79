"""action.yml: what lora-ci is called with, and that no foreign text gets to the shell or runner."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lora_ci.cli.main import build_parser

ACTION = Path(__file__).parents[2] / "action.yml"
STUB = """\
#!/usr/bin/env bash
printf '%s\\n' "$@" > "$RUNNER_TEMP/argv"
printf '%b' "$SAYS"
printf '%b' "$ANNOTATES" > "$RUNNER_TEMP/lora-ci-annotations.txt"
exit "$CODE"
"""
NAMES = "$(touch pwned)`touch pwned`;touch,pwned;'\"*\\"


def step(name: str) -> str:
    """The shell text of a step."""
    steps = yaml.safe_load(ACTION.read_bytes())["runs"]["steps"]
    return next(s["run"] for s in steps if s.get("name") == name)


@dataclass
class Job:
    """The folder that a runner gives to a job, with a stub in place of Python."""

    temp: Path

    def run(
        self,
        command: str = "run",
        *,
        says: str = "",
        annotates: str = "",
        code: int = 0,
        **given: str,
    ):
        """The step `Run lora-ci`, as GitHub's runner calls it; returns it and lora-ci's argv."""
        variables = {
            "COMMAND": command,
            "REPOSITORY": ".",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": "/events/event.json",
            "PYTHON": str(self.temp / "python"),
            "SAYS": says,
            "ANNOTATES": annotates,
            "CODE": str(code),
        }
        done = self.shell("Run lora-ci", **(variables | given))
        argv = (self.temp / "argv").read_text().splitlines()
        assert argv[:3] == ["-P", "-m", "lora_ci"]
        build_parser(argv[3:]).parse_args(argv[3:])  # exits if lora-ci has no such option
        return done, argv[3:]

    def shell(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        names = ["REPOSITORY", "LORA", "ASKED", "BUNDLE", "BUNDLE_NAME", "CANCELLED", "RECORDS"]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)],
            cwd=self.temp,
            env={
                "PATH": os.environ["PATH"],
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_OUTPUT": str(self.temp / "output"),
                "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
                **dict.fromkeys(names, ""),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def always(self) -> list[str]:
        """What every call has."""
        return [
            "--repo=.",
            "--forge=github",
            f"--github-output={self.temp}/output",
            f"--summary={self.temp}/summary",
            f"--annotations={self.temp}/lora-ci-annotations.txt",
        ]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return Job(tmp_path)


EVENT = ["--event=/events/event.json", "--event-name=push"]


def test_an_event_is_handed_on_as_it_is(job):
    done, argv = job.run()
    assert done.returncode == 0, done.stderr
    assert argv == ["run", *job.always, *EVENT]


def test_a_plan_leaves_a_bundle(job):
    _, argv = job.run("plan", BUNDLE="/b", BUNDLE_NAME="lora-ci-plan-7", RECORDS="origin")
    bundle = ["--bundle=/b", "--bundle-name=lora-ci-plan-7"]
    assert argv == ["plan", *job.always, "--records=origin", *EVENT, *bundle]


def test_a_job_of_the_matrix_does_what_was_planned(job):
    asked = '{"event": {"message": "it\'s $HOME"}}'
    _, argv = job.run(ASKED=asked, LORA="mei leo", BUNDLE="/b", BUNDLE_NAME="lora-ci-7-1-mei")
    file = job.temp / "lora-ci-asked.json"
    assert file.read_text() == asked
    assert argv[6:] == [
        f"--asked={file}",
        "--bundle=/b",
        "--bundle-name=lora-ci-7-1-mei",
        "--only=mei",
        "--only=leo",
    ]


def test_the_report_is_made_of_bundles(job):
    _, argv = job.run("report", BUNDLE="/b", CANCELLED="false")
    assert argv == ["report", *job.always, "--bundles=/b"]
    _, argv = job.run("report", BUNDLE="/b", CANCELLED="true", ASKED="{}")
    assert argv[-3:] == [f"--asked={job.temp}/lora-ci-asked.json", "--bundles=/b", "--cancelled"]


def test_nothing_of_the_work_tree_is_run_when_it_is_installed(job):
    """A `venv.py` or `pip.py` in the current folder would come before Python's own."""
    stub = job.temp / "lora-ci" / "bin" / "python"
    stub.parent.mkdir(parents=True)
    for place in (job.temp / "python", stub):
        place.write_text('#!/bin/sh\necho "$@" >> "$RUNNER_TEMP/calls"\n')
        place.chmod(0o755)
    found = f"{job.temp}:{os.environ['PATH']}"
    done = job.shell("Install lora-ci", PATH=found, ACTION_PATH="/lora-ci", EXTRAS="")
    assert done.returncode == 0, done.stderr
    calls = (job.temp / "calls").read_text().splitlines()
    assert [call.split()[:3] for call in calls] == [["-P", "-m", "venv"], ["-P", "-m", "pip"]]


@pytest.mark.parametrize("name", ["LORA", "REPOSITORY", "ASKED", "GITHUB_EVENT_NAME", "RECORDS"])
def test_foreign_text_is_an_argument_and_nothing_else(job, name):
    done, argv = job.run(**{name: NAMES})
    assert done.returncode == 0, done.stderr
    if name != "ASKED":
        assert NAMES in " ".join(argv).replace("--only=", "")
    assert not list(job.temp.glob("**/pwned"))


def test_the_exit_code_is_lora_cis_and_its_words_do_not_reach_the_runner(job):
    says = "::add-mask::e\\n::error::fake\\n"
    done, _ = job.run(says=says, annotates="::error::escaped\\n", code=3)
    assert done.returncode == 3
    quiet = (job.temp / "output").read_text().strip().removeprefix("quiet=")
    assert len(quiet) == 32
    assert done.stdout == f"::stop-commands::{quiet}\n::add-mask::e\n::error::fake\n"
    shown = job.shell("Annotate the job", QUIET=quiet).stdout
    assert shown == f"::{quiet}::\n::error::escaped\n"


def test_without_annotations_nothing_is_told(job):
    done = job.shell("Annotate the job", QUIET="q")
    assert (done.returncode, done.stdout) == (0, "::q::\n")


def test_the_process_that_the_runner_signals_is_lora_ci(job):
    (job.temp / "python").write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/argv"\necho $PPID\n'
    )
    done, _ = job.run()
    assert int(done.stdout.splitlines()[-1]) == os.getpid()


def test_secrets_are_in_no_command_line():
    for found in yaml.safe_load(ACTION.read_bytes())["runs"]["steps"]:
        for secret in ("GITHUB_TOKEN", "LORA_CI_LEDGER_URL", "inputs.token"):
            assert secret not in found.get("run", "")


def test_the_cache_has_a_name_of_its_own_for_any_choice_of_loras(job):
    names = set()
    for lora in ("", "mei", "mei leo", "a-long-name " * 100):
        (job.temp / "output").unlink(missing_ok=True)
        assert job.shell("Name the cache", LORA=lora).returncode == 0
        names.add((job.temp / "output").read_text().strip())
    assert len(names) == 4
    assert all(len(name) < 40 for name in names)
