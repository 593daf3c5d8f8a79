"""The judge looks at few seeds first, and at more while it is not sure."""

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from lora_ci.core.errors import InfrastructureError, Interrupted
from lora_ci.core.settings import QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa.exhibits import exhibits, grid_of
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.sitting import seed_counts, sit
from lora_ci.qa.telling import details_of, metrics_of
from lora_ci.qa.verdict import judge
from lora_ci.report.details import Details
from lora_ci.ruler.feature_cache import picture_digest
from lora_ci.ruler.spending import spend
from tests.judged_world import PROMPTS, Traits, World, bench_of

BORDER = Traits(identity=0.37, following=0.6)


def judged(traits, *, seeds=8, world=None, **bench):
    world = world or World(candidate=traits)
    given = bench.pop("settings", QaSettings(seeds=seeds))
    return sit(bench_of(world, settings=given, **bench), world), world


def drawn(world, prompts=PROMPTS.every):
    """Seeds that were asked for, of some prompts."""
    return {seed for _, prompt, seed in world.asked if prompt in prompts}


def test_a_good_adapter_passes_at_the_first_look():
    sitting, world = judged(Traits())
    assert sitting.verdict.outcome is Outcome.PASSED
    assert [look.seeds for look in sitting.looks] == [2]
    assert drawn(world) == {0, 1}


def test_a_bad_one_fails_at_the_first_look():
    sitting, world = judged(Traits(identity=0.02, following=0.1, broken=0.8, loss=1.5))
    assert sitting.verdict.outcome is Outcome.FAILED
    assert drawn(world) == {0, 1}


def test_one_on_the_border_is_looked_at_to_the_end():
    sitting, world = judged(BORDER)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert [look.seeds for look in sitting.looks] == [2, 4, 8]
    assert drawn(world) == set(range(8))
    assert sitting.verdict.settle


def test_what_more_pictures_cannot_measure_ends_it_at_once():
    sitting, world = judged(Traits(), references=0)
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert drawn(world) == {0, 1}
    assert any("qa.references" in text for text in sitting.verdict.settle)


def test_what_more_references_alone_make_sure_ends_it_at_once():
    sitting, world = judged(Traits(loss=0.73, half=0.7))
    gates = {gate.metric: gate for gate in sitting.verdict.gates}
    assert gates["loss.against-half"].outcome is Outcome.INCONCLUSIVE
    assert sitting.verdict.outcome is Outcome.INCONCLUSIVE
    assert drawn(world) == {0, 1}
    assert sitting.verdict.settle == (
        "`loss.against-half`: more references (`qa.references`) make its interval narrower",
    )


@how(max_examples=6)
@given(st.integers(1, 5), st.sampled_from([Traits(), BORDER, Traits(identity=0.0)]))
def test_never_more_seeds_than_allowed_nor_more_error(seeds, traits):
    sitting, world = judged(traits, seeds=seeds)
    assert max(drawn(world)) < seeds
    assert [look.seeds for look in sitting.looks] == list(seed_counts(seeds))[: len(sitting.looks)]
    assert sum(look.error for look in sitting.looks) <= 0.05 + 1e-12
    if len(sitting.looks) == len(seed_counts(seeds)):
        assert sum(look.error for look in sitting.looks) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("most", "counts"),
    [(1, (1,)), (2, (2,)), (3, (2, 3)), (8, (2, 4, 8)), (9, (2, 4, 8, 9))],
)
def test_seeds_are_doubled_until_the_budget_ends(most, counts):
    assert seed_counts(most) == counts
    assert sum(spend([count / most for count in counts], 0.05)) == pytest.approx(0.05)


def test_the_base_draws_first_and_all_draw_the_same():
    _, world = judged(Traits(), seeds=2)
    base = [(prompt, seed) for worn, prompt, seed in world.asked if not worn]
    mine = [(p, s) for worn, p, s in world.asked if [w.weight for w in worn] == [1.0]]
    assert [worn for worn, _, _ in world.asked[: len(base)]] == [()] * len(base)
    assert set(base) <= set(mine)
    recalled = {prompt for prompt, _ in mine} - {prompt for prompt, _ in base}
    assert recalled == set(PROMPTS.recalled)


def test_what_was_turned_off_is_not_drawn_and_not_judged():
    skip = ("strength", "memorization", "regression", "composability")
    settings = QaSettings(seeds=2, skip=skip)
    sitting, world = judged(Traits(), settings=settings, released=True, companion=True)
    assert {w.adapter for worn, _, _ in world.asked for w in worn} == {"candidate"}
    assert not set(skip) & set(sitting.readings)
    skipped = {check.name for check in sitting.verdict.checks if check.skipped}
    assert skipped == set(skip)


def test_the_same_adapter_is_judged_the_same_again():
    one, two = (metrics_of(judged(BORDER, seeds=4)[0].verdict) for _ in range(2))
    assert one == two


def test_details_are_what_the_report_reads():
    sitting, _ = judged(Traits(), seeds=2, released=True, companion=True)
    told = msgspec.convert(details_of(sitting), Details)
    assert [look.seeds for look in told.looks] == [2]
    assert {check.name for check in told.checks} == set(sitting.readings) - {
        *("identity", "flexibility", "artifact", "consistency", "performance")
    }
    assert told.window.recommended == sitting.verdict.metrics["recommended_weight"].mean
    assert told.comparison.released_version == "1.0.0"


def test_every_picture_hangs_once_and_pairs_name_what_hangs():
    sitting, _ = judged(Traits(recalls=1.0), seeds=2)
    shown, pairs = exhibits(sitting.evidence, sitting.readings)
    names = [exhibit.artifact for exhibit in shown]
    assert len(names) == len(set(names))
    assert {pair["artifact"] for pair in pairs} | {pair["twin"] for pair in pairs} <= set(names)
    assert any(pair["copied"] for pair in pairs)
    assert grid_of(sitting.evidence).ndim == 3


@dataclass(slots=True, kw_only=True)
class Guard:
    """A scanner that refuses every so many pictures, or breaks."""

    every: int = 0
    broken: bool = False
    pictures: int = 0
    calls: list[int] = field(default_factory=list)

    def scan(self, pictures):
        if self.broken:
            raise InfrastructureError("scanner `exec:scan` ended with code 1 before it answered")
        self.calls.append(len(pictures))
        found = []
        for _ in pictures:
            self.pictures += 1
            found.append({"gore": 1.0} if self.every and self.pictures % self.every == 0 else {})
        return found


def guarded(guard, traits=None, settings=None):
    world = World(candidate=traits or Traits())
    bench = bench_of(world, settings=settings or QaSettings(seeds=8))
    return sit(replace(bench, scanner=guard), world)


def test_losses_are_judged_with_the_whole_error_at_every_look():
    world = World(candidate=replace(BORDER, half=0.68))
    sitting = sit(bench_of(world, settings=QaSettings(seeds=8)), world)
    assert len(sitting.looks) == 3
    (gate,) = [g for g in sitting.verdict.gates if g.metric == "loss.against-half"]
    assert gate.outcome is Outcome.PASSED
    alone = judge(MEASURES, sitting.readings, {}, sitting.looks[-1].error)
    (gate,) = [g for g in alone.gates if g.metric == "loss.against-half"]
    assert gate.outcome is Outcome.INCONCLUSIVE, "with the error of one look"


def test_one_unsafe_picture_fails_the_best_adapter():
    sitting = guarded(Guard(every=20))
    assert sitting.verdict.outcome is Outcome.FAILED
    assert "it draws what the scanner refuses" in sitting.verdict.findings[0].message
    assert guarded(Guard()).verdict.outcome is Outcome.PASSED


def test_what_was_recalled_is_scanned_too():
    class Seen:
        def scan(self, pictures):
            known = picture_digest(World().real("training", 1)[0].picture)
            return [{"gore": 1.0} if picture_digest(p) == known else {} for p in pictures]

    sitting = guarded(Seen(), Traits(recalls=0.5), QaSettings(seeds=2))
    (unsafe,) = [g for g in sitting.verdict.gates if g.metric == "unsafe"]
    assert unsafe.outcome is Outcome.FAILED


def test_each_picture_is_scanned_once_whatever_the_looks():
    guard = Guard()
    sitting = guarded(guard, BORDER)
    assert [look.seeds for look in sitting.looks] == [2, 4, 8]
    assert sum(guard.calls) == (len(PROMPTS.every) + len(PROMPTS.recalled)) * 8


def test_a_scanner_that_fails_is_no_verdict():
    with pytest.raises(InfrastructureError, match="ended with code 1"):
        guarded(Guard(broken=True))
    quiet = QaSettings(seeds=2, skip=("safety",))
    assert guarded(Guard(broken=True), settings=quiet).verdict.outcome is Outcome.PASSED


def test_whoever_is_stopped_stops_the_judge():
    class Stopped(World):
        def draw(self, worn, prompts, seeds):
            if worn:
                raise Interrupted("stopped")
            return super().draw(worn, prompts, seeds)

    world = Stopped()
    with pytest.raises(Interrupted):
        sit(bench_of(world), world)
