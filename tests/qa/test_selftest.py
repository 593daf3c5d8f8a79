"""The world is what it says, the judge is found right in it, and broken judges are found out."""

import argparse
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lora_ci.cli import qa_selftest
from lora_ci.cli.output import Output
from lora_ci.core.settings import QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa import sitting
from lora_ci.qa.gates import Errors, check_gate
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.measures.variety import unlike
from lora_ci.qa.reading import Reading
from lora_ci.qa.selftest import run as selftest
from lora_ci.qa.selftest.cases import FAULTS
from lora_ci.qa.selftest.paint import WIDTH, features, paint, read, unit
from lora_ci.qa.selftest.run import Observed, all_cases, bench_of, observe, studio_of
from lora_ci.qa.selftest.studio import CANDIDATE, TRIGGER, WorldEmbedder, real_pictures
from lora_ci.qa.selftest.tally import tally
from lora_ci.qa.selftest.truth import draw_chances, population
from lora_ci.qa.selftest.world import base_latents, real_latents
from lora_ci.qa.studio import Worn
from lora_ci.ruler.likeness import find_axis
from lora_ci.ruler.ratio import Ratio
from lora_ci.ruler.statistics import Exact, Mean

WORN = (Worn(adapter=CANDIDATE, weight=1.0),)
# What the five tests pass at.
MARKS = {
    "identity": ("identity", ">= 0.5"),
    "flexibility": ("flexibility", ">= 0.35"),
    "consistency": ("spread", "<= 0.5"),
}


def sound_cases(count):
    return list(islice(all_cases(count, 0), count))


def cases_of(test, count=2):
    every = all_cases(8 * count, 0)
    return [case for case in every if case.fault and case.fault.test == test]


def true_metrics(case):
    """The truths of a case, on an axis that was found from plenty."""
    source = np.random.default_rng(case.world.seed)
    base = features(base_latents(case.world, draw_chances(source, (200,), 4)))
    real = features(real_latents(case.world, *source.normal(size=(2, 200, WIDTH))))
    return population(
        case.world,
        case.candidate,
        find_axis(real, base),
        released=case.released,
        companion=case.companion,
    )


def conditions_of(measure):
    conditions = {metric: limit.condition for metric, limit in measure.limits.items()}
    return conditions | dict([MARKS[measure.name]] if measure.name in MARKS else [])


def held(truths, conditions):
    """Whether what is known of a case holds what is asked; {} where nothing of it is known."""
    exact, sure = (
        {name: Exact(value=x) for name, x in truths.items()},
        Errors(passing=0.01, failing=0.01),
    )
    return {
        metric: check_gate(metric, condition, exact, sure).outcome is Outcome.PASSED
        for metric, condition in conditions.items()
        if metric in exact
    }


@pytest.fixture(scope="module")
def observed():
    """What a judge may have said of some sound adapters, and of one with each fault."""
    usual = Observed(
        fault=None,
        outcome=Outcome.PASSED,
        measured=frozenset(m.name for m in MEASURES) - {"composability"},
        blamed=frozenset(),
        sides={"spread": 0},
    )
    said = [usual] * 7
    for fault in FAULTS:
        outcome = Outcome.FAILED if fault.stops else Outcome.PASSED
        blamed = frozenset({fault.test, "identity"})
        sides = {"spread": -1}
        said.append(replace(usual, fault=fault, outcome=outcome, blamed=blamed, sides=sides))
    return said


# The world


def test_what_is_painted_is_read_back():
    latents = np.random.default_rng(0).normal(size=(50, WIDTH))
    seen = read(paint(latents))
    assert np.abs(seen[:, :WIDTH] - unit(latents)).max() < 0.03
    assert np.abs(seen[:, WIDTH]).max() < 0.03


def test_pictures_are_the_same_whatever_else_is_asked():
    case = sound_cases(1)[0]
    studio, prompts = studio_of(case), bench_of(case).prompts.every
    every = studio.draw(WORN, prompts, range(4))
    some = studio.draw(WORN, prompts[2:0:-1], [3, 1])
    for prompt in prompts[1:3]:
        np.testing.assert_array_equal(some[prompt][0], every[prompt][3])
        np.testing.assert_array_equal(some[prompt][1], every[prompt][1])


def test_the_truth_is_what_many_pictures_come_near_to():
    """By the plain formulas, from the pixels of the studio."""
    case, many = sound_cases(1)[0], 300
    world = replace(case.world, luck=0.0)
    studio, eye = studio_of(replace(case, world=world)), WorldEmbedder(world)

    def seen(worn, words):
        made = studio.draw(worn, [f"{words}scene {n}" for n in range(many)], range(3))
        flat = [picture for pictures in made.values() for picture in pictures]
        found = eye.embed_pictures(flat)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found.reshape(many, 3, -1)

    base, adapter, bare = seen((), ""), seen(WORN, f"{TRIGGER}, "), seen(WORN, "")
    real = eye.embed_pictures([r.picture for r in real_pictures(world, "many", 900)])
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    axis = find_axis(real[:100], base[:50])
    truth = population(world, case.candidate, axis, released=None, companion=False)
    start, span = axis.place(base).mean(), axis.place(real).mean() - axis.place(base).mean()
    assert truth["identity"] == pytest.approx((axis.place(adapter).mean() - start) / span, abs=0.05)
    assert truth["leakage"] == pytest.approx((axis.place(bare).mean() - start) / span, abs=0.03)
    spread = np.sqrt(axis.place(adapter).var(axis=1, ddof=1).mean()) / span
    assert truth["spread"] == pytest.approx(spread, rel=0.1)
    apart = [
        float(unlike(pictures)[np.triu_indices(many, 1)].mean())
        for pictures in (adapter, base, real[:many, None])
    ]
    assert truth["variety"] == pytest.approx(apart[0] / min(apart[1:]), rel=0.05)


def test_sound_adapters_are_sound_in_truth():
    for case in sound_cases(8):
        truths = true_metrics(case)
        assert truths["overall"] > 0.8
        for measure in MEASURES:
            assert all(held(truths, conditions_of(measure)).values()), (measure.name, truths)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.test}-{fault.name}")
def test_faults_break_in_truth_what_must_find_them(fault):
    measure = next(m for m in MEASURES if m.name == fault.test)
    for case in cases_of(fault.test):
        known = held(true_metrics(case), conditions_of(measure)) if case.fault is fault else {}
        assert not known or not all(known.values())


# The judge


def test_every_test_has_a_fault_or_says_why():
    assert {m.name for m in MEASURES} - {fault.test for fault in FAULTS} == set()


def test_rates_are_counted(observed):
    found = tally([*observed, replace(observed[0], outcome=Outcome.FAILED, blamed={"variety"})])
    assert (found.found.hits, found.found.n) == (len(FAULTS), len(FAULTS))
    assert (found.alarms.hits, found.alarms.n) == (1, 8)
    assert found.inconclusive.hits == found.slipped.hits == 0
    by_name = {test.name: test for test in found.tests}
    assert by_name["variety"].alarms.hits == 1
    assert by_name["identity"].alarms.hits == 0
    assert by_name["composability"].alarms is None
    assert by_name["consistency"].held.hits == 8
    assert (found.metrics["spread"].below, found.metrics["spread"].above) == (len(FAULTS), 0)


def test_what_must_stop_and_passes_is_not_found(observed):
    passed = [replace(one, outcome=Outcome.PASSED) for one in observed]
    found = tally(passed)
    stops = sum(fault.stops for fault in FAULTS)
    assert found.found.hits == len(FAULTS) - stops
    assert found.slipped.hits == stops
    assert any(miss.startswith("what must fail") for miss in found.misses)


def test_the_judge_finds_a_fault_and_leaves_sound_adapters_alone():
    *sound, faulty = [observe(case) for case in (*sound_cases(3), *cases_of("variety", 1))]
    assert Outcome.PASSED in {one.outcome for one in sound}
    assert Outcome.FAILED not in {one.outcome for one in sound}
    assert all(one.sides and not one.blamed for one in sound)
    assert faulty.found


@pytest.mark.slow
def test_the_targets_are_met():
    found = tally(selftest.run(40, 0, lambda *_: None))
    assert found.misses == ()
    assert found.found.mean >= 0.95
    assert found.alarms.mean <= 0.05


# Broken judges


def broken(name, **replaced):
    """The table of tests with a broken one."""
    return tuple(replace(m, **replaced) if m.name == name else m for m in MEASURES)


def misses_of(cases):
    return "\n".join(tally([observe(case) for case in cases]).misses)


def test_a_judge_that_sees_the_concept_everywhere_is_found_out(monkeypatch):
    identity = next(m for m in MEASURES if m.name == "identity")

    def always(evidence):
        reading = identity.run(evidence)
        value = Exact(value=0.9)
        score = replace(reading.score, metric=value) if reading.score else None
        return replace(reading, metrics={**reading.metrics, "identity": value}, score=score)

    monkeypatch.setattr(sitting, "MEASURES", broken("identity", run=always))
    told = misses_of([*sound_cases(1), *cases_of("identity")])
    assert "identity: weak: 0 %" in told


def test_a_judge_that_does_not_look_for_leakage_is_found_out(monkeypatch):
    monkeypatch.setattr(sitting, "MEASURES", broken("leakage", run=lambda _: Reading(lacking="-")))
    told = misses_of([*sound_cases(1), *cases_of("leakage"), *cases_of("variety", 1)])
    assert "leakage: everywhere: 0 %" in told


def test_a_judge_that_refuses_all_is_found_out(monkeypatch):
    usual = next(m for m in MEASURES if m.name == "variety").limits["variety"]
    limits = {"variety": replace(usual, condition=">= 5")}
    monkeypatch.setattr(sitting, "MEASURES", broken("variety", limits=limits))
    assert "sound adapters: 100 %" in misses_of([*sound_cases(3), *cases_of("variety", 1)])


@pytest.mark.slow
def test_intervals_half_as_wide_are_found_out(monkeypatch):
    for kind in (Mean, Ratio):
        monkeypatch.setattr(kind, "interval", halved(kind.interval))
    told = misses_of([*sound_cases(25), *cases_of("variety", 1)])
    assert "all metrics" in told


def halved(interval):
    def half(self, confidence=0.95):
        whole = interval(self, confidence)
        if whole.low is None or whole.high is None:
            return whole
        low, high = ((end + whole.mean) / 2 for end in (whole.low, whole.high))
        return replace(whole, low=low, high=high)

    return half


# The command


def command(monkeypatch, capsys, observed, *words):
    monkeypatch.setattr(selftest, "run", lambda cases, seed, progress: observed)
    parser = argparse.ArgumentParser()
    qa_selftest.add_arguments(parser)
    args = parser.parse_args(words)
    code = qa_selftest.run(args, Output(json=args.json, quiet=True))
    return code, capsys.readouterr().out


def test_what_is_wider_than_need_be_is_told_and_no_miss(observed):
    wide = [replace(one, sides={"spread": 0}) for one in observed] * 10
    found = tally([*wide, *(replace(one, sides={"leakage": 1, "spread": 0}) for one in wide)])
    assert [text.partition(":")[0] for text in found.wide] == ["spread"]
    assert any(text.startswith("leakage") for text in found.misses)
    assert not any(text.startswith("spread") for text in found.misses)


def test_a_program_gets_rates(monkeypatch, capsys, observed):
    code, out = command(monkeypatch, capsys, observed, "--json", "--cases", "40")
    told = json.loads(out)
    assert (told["cases"], told["error"]) == (40, QaSettings().error)
    assert 0 <= told["coverage"] <= 1
    low, high = told["detection_rate_interval"]
    assert low <= told["detection_rate"] <= high
    assert told["false_alarm_rate"] + told["inconclusive_rate"] <= 1
    assert set(told["tests"]) == {m.name for m in MEASURES}
    assert told["tests"]["identity"]["faults"][0]["severity"] == FAULTS[0].severity
    assert (code == 0) is not bool(told["missed"])


def test_a_person_is_told_what_is_missed(monkeypatch, capsys, observed):
    blind = [replace(one, blamed=frozenset()) for one in observed] * 20
    code, out = command(monkeypatch, capsys, blind)
    assert code == 1
    assert "identity: weak: 0 % (0 to 16 %) of 20 found, expected 95 to 100 %" in out


def test_the_docs_name_every_fault():
    told = (Path(__file__).parents[2] / "docs/qa.md").read_text()
    rows = [line for line in told.splitlines() if line.startswith("|")]
    for fault in FAULTS:
        verdict = "`failed`" if fault.stops else "may pass"
        (row,) = [row for row in rows if f"| {fault.name}" in row]
        assert row.startswith(f"| {fault.test} |")
        assert row.endswith(f": {fault.severity} | {verdict} |")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cases", "3"], "give 20 or more"),
        (["--cases", "many"], "expected a whole number"),
        (["--seed", "-1"], "expected a whole number from 0"),
    ],
)
def test_what_cannot_be_counted_is_refused(words, told, capsys):
    parser = argparse.ArgumentParser()
    qa_selftest.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert told in capsys.readouterr().err


def test_progress_counts_all_cases(monkeypatch):
    seen = []
    monkeypatch.setattr(selftest, "observe", lambda case: case)
    judged = selftest.run(16, 0, lambda done, total: seen.append((done, total)))
    assert len(judged) == 16 + 2 * len(FAULTS)
    assert seen == [(done, len(judged)) for done in range(len(judged) + 1)]
