"""The pairs that people are asked about, and what the judge says of them."""

from dataclasses import replace

from lora_ci.core.step import Outcome, StepResult
from lora_ci.core.votes import Against, Choice, pair_id
from lora_ci.qa.blind import blind_of
from tests.reviewed import PROMPTS, blind_step, judged_step


def test_new_against_released_on_the_same_prompt_and_seed():
    step, _ = judged_step()
    assert step.result
    blind = blind_of(step.result)
    keys = [(prompt, seed) for prompt in PROMPTS for seed in (0, 1)]
    assert [(pair.prompt, pair.seed) for pair in blind.pairs] == keys
    assert [pair.id for pair in blind.pairs] == [pair_id(*key) for key in keys]
    names = {artifact.sha256: artifact.name for artifact in step.result.artifacts}
    for pair in blind.pairs:
        assert names[pair.new].startswith("adapter-")
        assert names[pair.other].startswith("released-")
        assert (pair.against, pair.judged) == (Against.RELEASED, Choice.NEW)
    assert len(blind.references) == len(PROMPTS)
    assert blind.trigger == "mochi"


def test_without_a_release_against_the_base():
    blind = blind_step(kinds=("base", "adapter"))
    assert {pair.against for pair in blind.pairs} == {Against.BASE}
    assert (len(blind.pairs), blind.references) == (6, ())


def test_pictures_at_other_weights_are_not_asked_about():
    step, _ = judged_step(kinds=("base", "adapter"))
    assert step.result
    details = dict(step.result.details)
    extra = {"kind": "strength", "prompt": PROMPTS[0], "seed": 0, "artifact": "base-000.png"}
    details["pictures"] = [*details["pictures"], {**extra, "weight": 0.4}]
    assert len(blind_of(replace(step.result, details=details)).pairs) == 6


def test_the_judge_prefers_what_is_nearer_to_the_references():
    step, _ = judged_step(
        prompts=["a", "b", "c", "d"], seeds=1, kinds=("base", "adapter"), trigger=None
    )
    assert step.result
    likeness = {
        "a": (0.5, 0.4), "b": (0.1, 0.4), "c": (0.3, 0.3), "d": (0.3, None),
    }  # fmt: skip
    pictures = [
        {**p, "likeness": likeness[p["prompt"]][p["kind"] == "base"]}
        for p in step.result.details["pictures"]
    ]
    details = {**step.result.details, "pictures": pictures}
    found = blind_of(replace(step.result, details=details)).pairs
    wanted = {"a": Choice.NEW, "b": Choice.OTHER, "c": Choice.NONE, "d": None}
    assert {pair.prompt: pair.judged for pair in found} == wanted


def test_prompts_without_the_trigger_are_not_asked_about():
    blind = blind_step(prompts=["mochi at sea", "a cat", "a drawing of mochi"], seeds=1)
    assert [pair.prompt for pair in blind.pairs] == ["mochi at sea", "a drawing of mochi"]


def test_a_result_without_pictures_has_no_pairs():
    assert blind_of(StepResult(outcome=Outcome.FAILED)).pairs == ()
    step, _ = judged_step()
    assert step.result
    assert blind_of(replace(step.result, artifacts=())).pairs == ()
