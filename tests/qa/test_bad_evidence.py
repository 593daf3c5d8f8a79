"""What nobody can judge an adapter by: it is told, and never a pass."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Severity
from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa.held_out import about_seen
from lora_ci.qa.sitting import sit
from lora_ci.ruler.feature_cache import picture_digest
from lora_ci.ruler.prompts import make_prompts
from lora_ci.ruler.references import Reference, read_references
from tests.judged_world import PLAIN, PROMPTS, TRIGGER, Traits, World, bench_of

QUICK = QaSettings(seeds=2)


def digest_of(reference):
    return picture_digest(reference.picture)


def judged(bench, world):
    sitting = sit(bench, world)
    return sitting, " ".join(finding.message for finding in sitting.verdict.findings)


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 references"), (1, "1 references"), (2, "2 ref")]
)
def test_too_few_references(count, told):
    world = World()
    sitting, message = judged(bench_of(world, settings=QUICK, references=count), world)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert told in message
    assert any("qa.references" in text for text in sitting.verdict.settle)


def test_an_embedder_that_sees_nothing_of_the_concept():
    world = World()
    bench = bench_of(world, settings=QUICK)
    for reference in bench.references:
        world.features[digest_of(reference)] = PLAIN + 0.5 * world.direction(reference.name)
    sitting, message = judged(bench, world)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert "tell references from base pictures" in message


@pytest.mark.parametrize("count", [1, 12])
def test_references_that_were_trained_on_judge_nothing(count):
    world = World()
    bench = bench_of(world, settings=QUICK)
    mixed = [*bench.training[:count], *bench.references[count:]]
    sitting, message = judged(replace(bench, references=mixed), world)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert f"{count} of 12 references are training pictures" in message
    unmeasured = {name for name, reading in sitting.readings.items() if not reading.metrics}
    assert {"identity", "flexibility", "consistency", "leakage", "memorization"} <= unmeasured
    assert sitting.readings["identity"].settle.startswith("references that are no training pict")
    assert "loss.gap" not in sitting.verdict.metrics
    (finding,) = about_seen(sitting.evidence.seen, 12)
    assert (finding.rule, finding.severity) == ("qa.not-held-out", Severity.ERROR)
    assert "training-0.png is training-0.png" in finding.message


def test_references_that_were_trained_on_and_saved_anew():
    world = World()
    bench = bench_of(world, settings=QUICK)
    file = io.BytesIO()
    Image.fromarray(bench.training[3].picture).save(file, "JPEG", quality=92)
    anew = Reference(name="anew.jpg", picture=np.asarray(Image.open(file)), caption="")
    world.features[digest_of(anew)] = world.features[digest_of(bench.training[3])]
    bench = replace(bench, references=[anew, *bench.references])
    sitting, message = judged(bench, world)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert "anew.jpg is training-3.png" in message


def test_held_out_references_are_not_suspected():
    world = World()
    sitting, _ = judged(bench_of(world, settings=QUICK), world)
    assert sitting.evidence.seen == ()
    assert about_seen((), 12) == ()


def test_black_pictures_fail_and_are_called_blank():
    world = World(candidate=Traits(broken=1.0, damage="blank"))
    sitting, message = judged(bench_of(world, settings=QUICK), world)
    assert sitting.verdict.outcome is Outcome.FAILED
    assert "blank where the base draws something" in message


def test_noise_is_no_pass():
    world = World(candidate=Traits(broken=1.0))
    sitting, _ = judged(bench_of(world, settings=QUICK), world)
    assert sitting.verdict.outcome is not Outcome.PASSED
    assert sitting.verdict.metrics["sound"].mean < 0.1


def test_a_base_that_draws_black_judges_nothing():
    class Dark(World):
        def draw(self, worn, prompts, seeds):
            if worn:
                return super().draw(worn, prompts, seeds)
            black = self._damaged("blank", self.luck("black"))
            return {prompt: [black] * len(seeds) for prompt in prompts}

    world = Dark()
    sitting, _ = judged(bench_of(world, settings=QUICK), world)
    assert sitting.verdict.outcome is not Outcome.PASSED


def test_losses_of_the_base_that_are_no_numbers_measure_nothing():
    class Lost(World):
        def losses(self, worn, pictures):
            found = super().losses(worn, pictures)
            return found if worn else np.full(len(found), np.inf)

    world = Lost()
    sitting, _ = judged(bench_of(world, settings=QUICK), world)
    assert "loss.against-base" not in sitting.verdict.metrics
    assert "no number" in sitting.readings["loss-gap"].lacking


def test_losses_of_the_adapter_that_are_no_numbers_fail_it():
    class Broken(World):
        def losses(self, worn, pictures):
            found = super().losses(worn, pictures)
            return np.full(len(found), np.inf) if worn else found

    world = Broken()
    sitting, message = judged(bench_of(world, settings=QUICK), world)
    assert sitting.verdict.outcome is Outcome.FAILED
    assert "predicts real pictures of its concept worse" in message


def test_prompts_with_braces_and_percents_are_taken_as_they_are():
    odd = ("{trigger} {x}", "{trigger} %s", "{trigger} {0!r} \\n", "{trigger} `rm`", "{{trigger}}")
    settings = QaSettings(prompts=odd, flexibility_prompts=odd, base_prompts=("{", "}"), seeds=2)
    prompts = make_prompts(LoraType.CHARACTER, TRIGGER, settings, [])
    assert prompts.identity[:2] == ("mei {x}", "mei %s")
    assert prompts.bare == ("{", "}")
    world = World()
    bench = bench_of(world, settings=settings, prompts=prompts)
    assert judged(bench, world)[0].verdict.outcome in set(Outcome)


def test_empty_lists_of_prompts_are_the_type_s_own():
    settings = QaSettings(prompts=(), flexibility_prompts=(), base_prompts=())
    prompts = make_prompts(LoraType.OBJECT, TRIGGER, settings, [])
    assert min(len(prompts.identity), len(prompts.flexibility), len(prompts.bare)) > 2


def test_the_same_prompt_in_every_list_is_drawn_once():
    one = replace(PROMPTS, bare=PROMPTS.identity[:2], recalled=PROMPTS.identity[:1])
    world = World()
    sitting, _ = judged(bench_of(world, settings=QUICK, prompts=one), world)
    base = [(prompt, seed) for worn, prompt, seed in world.asked if not worn]
    assert len(base) == len(set(base))
    assert sitting.readings["memorization"].metrics


def test_a_folder_that_is_named_as_a_picture_is_none(tmp_path):
    (tmp_path / "set.png").mkdir()
    Image.new("RGB", (30, 30), 90).save(tmp_path / "set.png" / "a.png")
    assert [one.name for one in read_references(tmp_path, 24)] == ["set.png/a.png"]


def test_a_reference_of_far_too_many_pixels_is_refused_by_name(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png"):
        read_references(tmp_path, 24)


def test_references_of_any_size_are_cut_to_the_size_of_the_pictures(tmp_path):
    for name, size in (("wide", (300, 40)), ("dot", (1, 1)), ("gray", (64, 64))):
        Image.new("L" if name == "gray" else "RGB", size, 90).save(tmp_path / f"{name}.png")
    found = read_references(tmp_path, 24)
    assert [one.picture.shape for one in found] == [(24, 24, 3)] * 3
