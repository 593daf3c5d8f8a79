"""What fingerprints are made of may not move in silence: every team would train everything again,
or, worse, would not where it must.
"""

import json
from dataclasses import replace
from pathlib import Path

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Lora, Source
from lora_ci.core.settings import (
    OptimizeSettings,
    QaSettings,
    TrainSettings,
    ValidateSettings,
    settings_json,
)
from lora_ci.core.step import Stage
from lora_ci.core.versions import RECIPES
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import (
    deploy_fingerprint,
    optimize_fingerprint,
    qa_fingerprint,
    train_fingerprint,
    validate_fingerprint,
)

PINNED = json.loads((Path(__file__).parent / "golden" / "recipes.json").read_text())
SETTINGS = {
    Stage.VALIDATE: (ValidateSettings,),
    Stage.TRAIN: (TrainSettings,),
    Stage.QA: (QaSettings,),
    Stage.OPTIMIZE: (QaSettings, OptimizeSettings),
    Stage.DEPLOY: (),
}
LORA = Lora(
    name="mei", dataset=(Source(path="d"),), base_model="m", trigger="mei",
    train=TrainSettings(rank=8),
)  # fmt: skip
INPUT = InputFacts(path="d", tracked_by="dvc", content_id="id", entries=())
FACTS = LoraFacts(dataset=INPUT, base_model=INPUT, sources=(INPUT,), repeats=(1,))


def made(lora: Lora = LORA) -> dict[Stage, str]:
    """A fingerprint of each stage."""
    found = (
        validate_fingerprint(lora, FACTS),
        train_fingerprint(lora, FACTS),
        qa_fingerprint(lora, FACTS, "a" * 64, None),
        optimize_fingerprint(lora, FACTS, "a" * 64),
        deploy_fingerprint(lora, "a" * 64, "1.0.0", ("latest",)),
    )
    # The versions of the code move on their own account.
    return {f.stage: json.dumps({**f.parts, "code": "-", "recipe": "-"}) for f in found}


def test_a_default_that_changes_raises_the_recipe():
    """Defaults do not enter fingerprints: under the same recipe another one would go unseen."""
    for stage, kinds in SETTINGS.items():
        pinned = PINNED[stage]
        given = {k: v for kind in kinds for k, v in settings_json(kind()).items()}
        now = json.loads(json.dumps(given))
        assert pinned["recipe"] == RECIPES[stage], "then: python -m tests.plan.test_recipes"
        moved = [k for k, v in pinned["defaults"].items() if now.get(k) != v]
        assert not moved, f"raise RECIPES[{stage}], then: python -m tests.plan.test_recipes"


def test_parts_that_change_raise_the_recipe():
    for stage, parts in made().items():
        assert parts == PINNED[stage]["parts"], f"raise RECIPES[{stage}], and pin it"


def test_a_setting_at_its_default_is_as_if_it_were_not_there():
    assert made(replace(LORA, qa=QaSettings(seeds=4))) == made()
    assert made(replace(LORA, qa=QaSettings(seeds=5))) != made()


def pin() -> None:
    """Writes down what holds now."""
    pinned = {
        stage: {
            "recipe": RECIPES[stage],
            "defaults": {k: v for kind in kinds for k, v in settings_json(kind()).items()},
            "parts": made()[stage],
        }
        for stage, kinds in SETTINGS.items()
    }
    path = Path(__file__).parent / "golden" / "recipes.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(pinned, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    pin()
