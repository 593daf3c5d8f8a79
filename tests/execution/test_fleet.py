"""A simulated fleet: the real queue and reconciler under faults, in virtual time."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.step import Resources, Stage, StepSpec
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, Place
from lora_ci.execution.fleet.cluster import Cluster, ServerDiedError, make_gpus
from lora_ci.execution.fleet.loras import STAGES, draw_loras, gpu_hours
from lora_ci.execution.fleet.measured import Meter, spread_of
from lora_ci.execution.fleet.page import render_lines, render_page
from lora_ci.execution.fleet.scenario import (
    Arrivals,
    Family,
    Fault,
    Scenario,
    parse_faults,
    parse_mix,
)
from lora_ci.execution.fleet.search import find_gpus, simulated
from lora_ci.execution.fleet.time import DAY_S, HOUR_S, Agenda, VirtualClock
from lora_ci.steps.folder import StepFolder
from tests.command import assert_one_message, lora_ci

SMALL = Scenario(gpus=4, loras_per_day=24, days=0.5, faults={}, seed=3)
# So often that each kind happens several times in half a day.
OFTEN = {
    Fault.GPU: 60.0,
    Fault.NODE: 1500.0,
    Fault.PREEMPTION: 30.0,
    Fault.NETWORK: 60.0,
    Fault.DATA: 5.0,
    Fault.SERVER: 60.0,
    Fault.CLOCK: 60.0,
}


# What is simulated


@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_as_many_loras_come_as_were_asked_for(arrivals):
    scenario = replace(SMALL, arrivals=arrivals, loras_per_day=100, days=70)
    loras = draw_loras(scenario)
    assert len(loras) == pytest.approx(7000, rel=0.1)
    assert [lora.at_s for lora in loras] == sorted(lora.at_s for lora in loras)
    assert loras == draw_loras(scenario)
    assert loras != draw_loras(replace(scenario, seed=4))


def test_office_hours_are_on_working_days():
    scenario = replace(SMALL, arrivals=Arrivals.OFFICE, loras_per_day=200, days=28)
    at_work = [
        lora.at_s // DAY_S % 7 < 5 and 9 <= lora.at_s % DAY_S / HOUR_S < 18
        for lora in draw_loras(scenario)
    ]
    assert sum(at_work) / len(at_work) > 0.7


def test_a_burst_is_of_one_repository():
    scenario = replace(SMALL, arrivals=Arrivals.BURST, loras_per_day=20, days=20)
    first = draw_loras(scenario)[:20]
    assert len({lora.repo for lora in first}) == 1
    assert first[-1].at_s - first[0].at_s < 600


def test_the_usual_mix_takes_55_minutes_of_a_gpu():
    loras = draw_loras(replace(SMALL, loras_per_day=1000, days=5))
    assert 60 * gpu_hours(loras) / len(loras) == pytest.approx(55, abs=2)
    small = draw_loras(replace(SMALL, loras_per_day=1000, days=1, mix={Family.SD15: 1.0}))
    assert {lora.family for lora in small} == {Family.SD15}
    assert all(600 <= lora.stage_s[Stage.TRAIN] <= 900 for lora in small)
    assert all(set(lora.stage_s) == set(STAGES) for lora in small)


def test_faults_and_mixes_are_read_from_words():
    assert parse_faults("none") == {}
    assert parse_faults("all") == dict.fromkeys(Fault, 1.0)
    assert parse_faults("gpu, node=3") == {Fault.GPU: 1.0, Fault.NODE: 3.0}
    assert parse_mix("sd15=1,sdxl=3") == {Family.SD15: 1.0, Family.SDXL: 3.0}
    for wrong in ("", "fire", "gpu=much", "gpu=-1", "gpu=nan", "gpu,,node"):
        with pytest.raises(UsageError):
            parse_faults(wrong)
    for wrong in ("sd15=0", "flux=1", ""):
        with pytest.raises(UsageError):
            parse_mix(wrong)


# The cluster


def cluster_of(count: int = 1) -> Cluster:
    clock, agenda = VirtualClock(), Agenda()
    return Cluster(clock=clock, agenda=agenda, gpus=make_gpus(count, 4), rng=Random(1))


def attempt_of(folder: Path, number: int = 1, gpu: int = 0) -> Attempt:
    spec = StepSpec(
        stage=Stage.TRAIN, lora=f"lora-{number}", fingerprint=f"{number:064x}", inputs={},
        params={"seconds": 1000.0, "passes": True}, resources=Resources(gpus=1),
    )  # fmt: skip
    place = Place(node="node-1", gpus=(f"GPU-1-{gpu + 1}",))
    made = StepFolder(folder / str(number))
    made.write_spec(spec)
    return Attempt(key=f"a-{number}", folder=made, spec=spec, place=place)


def pass_until(cluster: Cluster, at_s: float) -> None:
    while (next_s := cluster.agenda.next_s()) is not None and next_s <= at_s:
        cluster.clock.elapsed_s, happen = cluster.agenda.take()
        happen()
    cluster.clock.elapsed_s = at_s


def test_an_attempt_lasts_as_long_as_it_says(tmp_path):
    cluster, attempt = cluster_of(), attempt_of(tmp_path)
    handle = cluster.submit(attempt)
    assert cluster.submit(attempt) == handle
    pass_until(cluster, 999.0)
    assert (cluster.phases([handle]), cluster.busy) == ({handle: Phase.RUNNING}, 1)
    pass_until(cluster, 1001.0)
    assert (cluster.phases([handle]), cluster.busy) == ({handle: Phase.ENDED}, 0)
    assert attempt.folder.read_result(attempt.spec.fingerprint).outcome == "passed"


def test_a_gpu_is_never_used_twice_at_the_same_moment(tmp_path):
    cluster = cluster_of()
    cluster.submit(attempt_of(tmp_path, 1))
    with pytest.raises(RuntimeError, match="a-2 was given the GPU of a-1"):
        cluster.submit(attempt_of(tmp_path, 2))
    pass_until(cluster, 1000.0)
    cluster.submit(attempt_of(tmp_path, 2))


def test_a_gpu_that_fails_takes_what_was_not_saved(tmp_path):
    cluster, attempt = cluster_of(), attempt_of(tmp_path)
    handle = cluster.submit(attempt)
    pass_until(cluster, 700.0)
    cluster.fail(cluster.gpus[0], 60.0)
    assert cluster.phases([handle]) == {handle: Phase.ENDED}
    assert attempt.folder.read_result(attempt.spec.fingerprint) is None
    assert cluster.well() == []
    cluster.clear(handle)
    pass_until(cluster, 800.0)
    assert cluster.well() == cluster.gpus
    # Two checkpoints of 300 s were kept.
    cluster.submit(attempt)
    pass_until(cluster, 1199.0)
    assert cluster.busy == 1
    pass_until(cluster, 1201.0)
    assert (cluster.busy, cluster.lost_s) == (0, 100.0)


def test_a_cluster_that_is_away_answers_nothing_and_a_server_may_die_in_a_call(tmp_path):
    cluster, attempt = cluster_of(), attempt_of(tmp_path)
    cluster.silent_until_s = 10.0
    for call in (lambda: cluster.submit(attempt), lambda: cluster.phases([])):
        with pytest.raises(ExecutorAwayError):
            call()
    pass_until(cluster, 11.0)
    cluster.dying = True
    with pytest.raises(ServerDiedError):
        cluster.submit(attempt)
    assert cluster.submit(attempt) == attempt.key


def test_shares_of_time_are_added_up():
    meter = Meter(sample_s=10.0)
    meter.pass_to(10.0, well=4, busy=2, wanted=2, out_since_s=None)
    meter.pass_to(20.0, well=4, busy=2, wanted=9, out_since_s=15.0)
    meter.pass_to(30.0, well=0, busy=0, wanted=9, out_since_s=15.0)
    assert (meter.busy_s, meter.bound_s, meter.out_s) == (40.0, 60.0, 15.0)
    assert [m.at_h for m in meter.moments] == [10 * n / HOUR_S for n in range(4)]
    assert spread_of([]).mean == 0.0
    assert spread_of([HOUR_S, 3 * HOUR_S]).mean == 2.0


# What comes of it


@pytest.mark.slow
def test_the_same_seed_gives_the_same(tmp_path):
    scenario = replace(SMALL, faults=OFTEN)
    first, second = simulated(scenario), simulated(scenario)
    assert first == second
    assert render_page(scenario, first) == render_page(scenario, second)
    assert first.success > 0.95
    assert render_lines(scenario, first).count("\n") > 8


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(Fault))
def test_all_good_loras_end_in_spite_of(fault):
    scenario = replace(SMALL, faults={fault: OFTEN[fault]})
    told: list[float] = []
    measured = simulated(scenario, watch=lambda done, days: told.append(done / days))
    assert measured.passed == measured.good
    assert measured.refused == measured.loras - measured.good
    assert measured.attempts >= 4 * measured.good
    if fault is not Fault.DATA:
        assert measured.faults[fault.value] >= 3
    # Nobody waits for long beside a GPU that is free.
    assert measured.utilisation > 0.9
    assert (measured.available > 0.999) == (fault not in (Fault.NETWORK, Fault.SERVER))
    assert told[-1] == 1.0


@pytest.mark.slow
def test_a_repository_that_floods_does_not_hold_up_another():
    scenario = replace(SMALL, gpus=2, loras_per_day=160)
    pushed = Counter(lora.repo for lora in draw_loras(scenario))
    wait = simulated(scenario).wait
    assert pushed["team-1/loras"] > 2 * pushed["team-5/loras"]
    assert wait["team-5/loras"].mean < 0.8 * wait["team-1/loras"].mean


@pytest.mark.slow
def test_the_smallest_number_of_gpus_is_found():
    found = find_gpus(replace(SMALL, loras_per_day=40), 2.0)
    assert found.measured.turnaround.p95 <= 2.0
    assert found.measured.gpus == found.gpus > 1
    assert found.measured.load < 1
    fewer = [one for one in found.tried if one.gpus < found.gpus]
    assert all(one.turnaround.p95 > 2.0 for one in fewer)
    assert fewer[-1].gpus == found.gpus - 1


@pytest.mark.slow
def test_a_turnaround_that_no_number_of_gpus_reaches_is_told():
    with pytest.raises(InputError, match="no number of GPUs"):
        find_gpus(replace(SMALL, loras_per_day=4, mix={Family.SDXL: 1.0}), 0.5)


@pytest.mark.slow
def test_the_command_prints_and_writes(tmp_path):
    asked = ("simulate-fleet", "--loras-per-day", "12", "--days", "0.5", "--json")
    told = lora_ci(tmp_path, *asked, "--out", "made")
    assert told.code == 0
    printed = json.loads(told.out)
    assert printed["schema"] == "lora-ci.simulate-fleet/1"
    written = json.loads((tmp_path / "made" / "fleet.json").read_text())
    assert written["measured"]["moments"]
    assert printed["measured"].items() <= written["measured"].items()
    page = (tmp_path / "made" / "fleet.html").read_text()
    assert page.count("<polyline") == 4
    assert lora_ci(tmp_path, *asked, "--out", "made").out == told.out


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        ("--gpus", "0"),
        ("--days", "-1"),
        ("--days", "nan"),
        ("--faults", "fire"),
        ("--mix", "sd15=0"),
        ("--find-gpus", "--turnaround", "soon"),
        ("--turnaround", "4h"),
        ("--out", __file__),
    ],
)
def test_what_cannot_be_simulated_is_told(tmp_path, wrong):
    told = lora_ci(tmp_path, "simulate-fleet", "--loras-per-day", "12", *wrong)
    assert_one_message(told, code=2)
