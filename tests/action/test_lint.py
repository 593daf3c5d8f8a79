"""What GitHub reads of ours, and of what `init` and the docs give users, passes three linters."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lora_ci.cli import workflow
from lora_ci.forge.github.action_executor import ARTIFACT, TITLE, WORKFLOW

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
USES = re.compile(r"\buses:")
PINNED = re.compile(r"uses: [^ @]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
A_COMMIT = "3d3c42e5aac5ba805825da76410c181273ba90b1"


def pinned(text: str) -> str:
    """A text of ours for users, as they have filled it in."""
    return text.replace("OWNER/", "acme/").replace("@COMMIT", f"@{A_COMMIT}")


def documented() -> list[str]:
    """The workflows of the docs."""
    blocks = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / "github.md").read_text(), re.M | re.S
    )
    return [pinned(block) for block in blocks if "jobs:" in block]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A repository with every workflow and action there is."""
    root = tmp_path_factory.mktemp("lint")
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "action.yml").write_bytes((ROOT / "action.yml").read_bytes())
    place = root / ".github" / "workflows"
    place.mkdir(parents=True)
    for file in WORKFLOWS.glob("*.yml"):
        (place / file.name).write_bytes(file.read_bytes())
    (root / ".github" / "dependabot.yml").write_bytes(
        (ROOT / ".github" / "dependabot.yml").read_bytes()
    )
    (place / "written.yml").write_text(pinned(workflow.TEXT))
    (place / "written-step.yml").write_text(pinned(workflow.STEP_TEXT))
    for at, text in enumerate(documented()):
        (place / f"documented-{at}.yml").write_text(text)
    return root


def check(folder: Path, program: str, *arguments: str | Path) -> None:
    command = [Path(sys.executable).parent / program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def workflows(folder: Path) -> list[Path]:
    return sorted((folder / ".github" / "workflows").iterdir())


def test_actionlint(folder):
    # A comment's run gets a cache that it can only read, unless it asks for more: ours never do.
    ignored = ["-ignore", "no explicit cache access limit", "-ignore", 'label "lora" is unknown']
    check(folder, "actionlint", *ignored, *workflows(folder))


def test_zizmor(folder):
    check(folder, "zizmor", "--offline", "--no-progress", "--min-severity=low", folder)


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-actions", "action.yml"),
        ("dependabot", ".github/dependabot.yml"),
    ],
)
def test_schema(folder, schema, pattern):
    files = sorted(folder.glob(pattern))
    assert files
    check(folder, "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


def test_the_docs_have_workflows_to_check():
    assert {pinned(workflow.TEXT), pinned(workflow.STEP_TEXT)} <= set(documented())
    assert len(documented()) >= 3


def test_actions_of_others_are_pinned_by_commit(folder):
    texts = [path.read_text() for path in [folder / "action.yml", *workflows(folder)]]
    lines = [line.strip() for text in texts for line in text.splitlines() if USES.search(line)]
    foreign = [line for line in lines if "./" not in line and "acme/lora-ci" not in line]
    assert foreign
    assert [line for line in foreign if not PINNED.search(line)] == []


def test_one_action_has_one_pin(folder):
    """Two pins of an action would drift apart unseen."""
    seen: dict[str, set[str]] = {}
    for path in [folder / "action.yml", *workflows(folder)]:
        for name, pin in re.findall(r"uses: (actions/[^/@ ]+)[^@ ]*@(.*)$", path.read_text(), re.M):
            seen.setdefault(name, set()).add(pin)
    assert {name: pins for name, pins in seen.items() if len(pins) > 1} == {}


def test_no_expression_gets_into_a_shell(folder):
    for path in [folder / "action.yml", *workflows(folder)]:
        content = yaml.safe_load(path.read_bytes())
        jobs = content["jobs"].values() if "jobs" in content else [content["runs"]]
        for step in (step for job in jobs for step in job.get("steps", ())):
            assert "${{" not in step.get("run", ""), path.name


# Those that others call, and their callers.
CALLED = {"loras.yml": workflow.TEXT, "step.yml": workflow.STEP_TEXT}
each = pytest.mark.parametrize("file", CALLED)


def reusable(file: str) -> dict:
    return yaml.safe_load((WORKFLOWS / file).read_bytes())


@each
def test_the_caller_grants_what_the_jobs_ask_for_and_nothing_else(file):
    """A permission that the caller does not grant keeps GitHub from starting any job."""
    asked: dict[str, str] = {}
    for job in reusable(file)["jobs"].values():
        for name, level in job["permissions"].items():
            asked[name] = max(asked.get(name, ""), level)  # read < write
    caller = yaml.safe_load(CALLED[file])
    (job,) = caller["jobs"].values()
    assert job["permissions"] == asked
    assert caller["permissions"] == reusable(file)["permissions"] == {}


@pytest.mark.parametrize(("file", "job"), [("loras.yml", "run"), ("step.yml", "step")])
def test_the_machines_that_train_can_only_read(file, job):
    assert set(reusable(file)["jobs"][job]["permissions"].values()) == {"read"}


@pytest.mark.parametrize(("file", "named"), [("loras.yml", {"ledger-url"}), ("step.yml", set())])
def test_secrets_are_named_one_by_one(file, named):
    """None is handed on that nobody asked for; a fork's run has none at all."""
    text = (WORKFLOWS / file).read_text()
    assert set(re.findall(r"secrets\.([\w-]+)", text)) == named
    assert "inherit" not in text + CALLED[file]


def test_a_caller_gives_what_a_step_needs_and_names_its_run_by_the_key():
    asks = reusable("step.yml")[True]["workflow_call"]["inputs"]
    caller = yaml.safe_load(workflow.STEP_TEXT)
    needed = {name for name, told in asks.items() if told.get("required")}
    assert set(caller[True]["workflow_dispatch"]["inputs"]) == needed
    assert set(caller["jobs"]["step"]["with"]) == needed | {"runner"}
    assert caller["run-name"] == TITLE + "${{ inputs.key }}"
    assert Path(workflow.STEP_FILE).name == WORKFLOW
    uploads = [s for s in reusable("step.yml")["jobs"]["step"]["steps"] if "upload" in str(s)]
    assert uploads[-1]["with"]["name"] == ARTIFACT + "${{ inputs.key }}"


@each
def test_every_job_ends_in_time(file):
    assert all("timeout-minutes" in job for job in reusable(file)["jobs"].values())


@each
def test_no_checkout_keeps_a_token_or_takes_the_head_of_a_pull_request(file):
    for job in reusable(file)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
                assert "head" not in step["with"]["ref"]


@each
def test_no_caller_can_put_another_action_in_the_place_of_ours(file):
    """A fork writes the caller of its own run; a runner group trusts this file alone."""
    for job in reusable(file)["jobs"].values():
        (own,) = (s["with"] for s in job["steps"] if ".lora-ci-action" in str(s.get("with", {})))
        assert own["repository"] == "${{ job.workflow_repository || inputs.lora-ci-repository }}"
        assert own["ref"] == "${{ job.workflow_sha || inputs.lora-ci-commit }}"
