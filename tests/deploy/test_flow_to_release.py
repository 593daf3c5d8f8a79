"""From a tag through the plan and the ledger to a release; only training and judging are toys."""

from dataclasses import replace

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.handle import handle
from lora_ci.app.wiring import open_deps
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, Stage
from lora_ci.deploy.verify import verify_release
from lora_ci.execution.executor import step_folder
from lora_ci.execution.inline import InlineExecutor
from lora_ci.signing.keys import make_key
from lora_ci.signing.signers import Signer, Signers
from lora_ci.steps.table import TABLE
from tests.builders import RepoBuilder
from tests.releases import TODAY

pytestmark = pytest.mark.slow

STAGES = TABLE | {s: "tests.deploy.toy:run" for s in Stage if s is not Stage.DEPLOY}
CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {{seed: {seed}}}
    deploy: {{targets: [../releases], license: MIT}}
"""


class World:
    """A repository with one LoRA, and a key."""

    def __init__(self, root) -> None:
        self.repo = RepoBuilder(root)
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            self.repo.write(f"models/sd/{part}/config.json", "{}")
        self.repo.write("models/sd/model_index.json", "{}")
        self.repo.write("datasets/mei/a.txt", "mei")
        self.key_file = root / "key.pem"
        self.key = make_key(self.key_file)
        self.releases = root / "releases" / "releases" / "mei"

    def tag(self, tag: str, *, seed: int = 0, key: bool = True):
        self.repo.write(".lora-ci.yml", CONFIG.format(seed=seed))
        self.repo.commit()
        self.repo.git("tag", "-f", tag)
        deps = open_deps(
            open_git_source(self.repo.root), signing_key=self.key_file if key else None
        )
        inline = InlineExecutor(deps.store, deps.state / "cache", deps.live, STAGES)
        head = self.repo.git("rev-parse", "HEAD")
        event = Event(kind=EventKind.TAG, repo="repo", head=head, tag=tag)
        view = handle(event, replace(deps, executor=inline))
        deps.ledger.close()
        assert view.notes == ()
        return view.steps[-1], view


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_tag_is_released_published_and_done_once(world):
    step, view = world.tag("mei@v1.0.0")
    assert view.outcome is Outcome.PASSED, step.result
    signers = Signers(signers=(Signer(name="team", key=world.key.public_key()),))
    verified = verify_release(world.releases / "1.0.0", signers, TODAY)
    release = verified.release
    assert (release.commit, release.recommended_weight) == (view.event.head, 0.8)
    assert release.fingerprints.keys() == {str(stage) for stage in Stage}
    assert release.base_model.path == "models/sd"
    assert release.base_model.content_id
    # The release on the git host can be verified as the one in the store.
    shown = world.repo.root / ".lora-ci" / "forge" / "releases" / "mei@v1.0.0" / "files"
    assert verify_release(shown, signers, TODAY).digest == verified.digest
    step, _ = world.tag("mei@v1.0.0")
    assert step.decision.action is Action.REUSE


def test_a_tag_too_low_fails_and_the_proposed_one_passes(world):
    world.tag("mei@v1.0.0")
    step, view = world.tag("mei@v1.0.1", seed=1)
    assert view.outcome is Outcome.FAILED
    assert "mei@v1.1.0" in step.result.findings[0].hint
    _, view = world.tag("mei@v1.1.0", seed=1)
    assert view.outcome is Outcome.PASSED


def test_without_a_key_nothing_is_recorded_and_the_same_tag_goes_on(world):
    step, view = world.tag("mei@v1.0.0", key=False)
    assert view.outcome is Outcome.ERROR
    assert "LORA_CI_SIGNING_KEY" in step.result.findings[0].hint
    assert not world.releases.exists()
    _, view = world.tag("mei@v1.0.0")
    assert view.outcome is Outcome.PASSED


def test_pictures_made_while_training_are_no_part_of_a_release(world):
    step, view = world.tag("mei@v1.0.0")
    folder = step_folder(world.repo.root / ".lora-ci", step.decision.fingerprint.value)
    assert set(folder.read_spec().inputs) == {"adapter", "adapter-kohya.safetensors"}
    trained = next(s.result for s in view.steps if s.decision.stage is Stage.TRAIN)
    assert trained.artifact("sample-000000-0.png")
