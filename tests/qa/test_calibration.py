"""Thresholds that fit people's votes: a known one is found again, luck is not taken for one."""

from random import Random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.qa.calibration import (
    MIN_EACH,
    MIN_PAIRS,
    MIN_RUNS,
    SIGNS,
    Shortage,
    Threshold,
    Tried,
    _chance,
    best_cut,
    calibrate,
    lacking,
    yaml_lines,
)
from lora_ci.qa.gates import CONDITION


def tried(liked: float, pairs: int = 20, **metrics: float) -> Tried:
    return Tried(
        fingerprint=f"{liked}{metrics}", lora="mei", metrics=metrics,
        liked=round(liked * pairs), pairs=pairs,
    )  # fmt: skip


def world(rng: Random, runs: int, threshold: float, *, noise: float = 0.0) -> list[Tried]:
    """People like what has an identity of at least the threshold; `loss` mirrors it."""
    made = []
    for i in range(runs):
        identity = (i + 0.5) / runs
        likes = 0.8 if identity + rng.gauss(0, noise) >= threshold else 0.2
        made.append(
            tried(likes, identity=identity, flexibility=rng.random(),
                  **{"loss.against-base": 1 - identity})
        )  # fmt: skip
    return made


def test_a_known_threshold_is_found_again():
    found = {t.metric: t for t in calibrate(world(Random(1), 40, 0.6), {}, Random(2))}
    identity, loss = found["identity"], found["loss.against-base"]
    assert (identity.kept, identity.stopped, identity.sound) == (1.0, 1.0, True)
    # Runs stand at 0.5875 and 0.6125: every value between tells them apart.
    assert 0.5875 < identity.value <= 0.6125
    assert identity.low is not None
    assert identity.high is not None
    assert identity.low <= identity.value <= identity.high
    assert identity.high - identity.low < 0.2
    assert (loss.sign, loss.sound) == ("<=", True)
    assert 1 - 0.6125 <= loss.value < 1 - 0.5875
    assert loss.low is not None
    assert loss.high is not None
    assert loss.low <= loss.value <= loss.high
    # What has nothing to do with people's choice comes last, if at all.
    assert list(found)[:2] == ["identity", "loss.against-base"]


def test_the_interval_covers_the_threshold_where_people_waver():
    covered = 0
    for i in range(6):
        (found, *_) = calibrate(
            [Tried(fingerprint=t.fingerprint, lora=t.lora, liked=t.liked, pairs=t.pairs,
                   metrics={"identity": t.metrics["identity"]})
             for t in world(Random(i), 40, 0.55, noise=0.1)],
            {}, Random(100 + i),
        )  # fmt: skip
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.55 <= found.high
        assert found.unseen is not None
        assert 0.6 < found.unseen <= (found.kept + found.stopped) / 2
    assert covered >= 5


def test_luck_suggests_nothing():
    suggested = 0
    for i in range(8):
        rng = Random(i)
        runs = [tried(rng.choice([0.2, 0.8]), identity=rng.random(), variety=rng.random())
                for _ in range(24)]  # fmt: skip
        suggested += any(t.sound for t in calibrate(runs, {}, rng))
    assert suggested <= 1  # more come in 6 % of cases where luck has 5 % each


def test_too_few_runs_say_how_many_are_lacking():
    assert lacking([]) == Shortage(runs=MIN_RUNS, accepted=MIN_EACH, refused=MIN_EACH)
    runs = [tried(0.9, identity=0.1)] * 9 + [tried(0.1, identity=0.1)] * 2
    assert lacking(runs) == Shortage(runs=1, accepted=0, refused=2)
    few_pairs = [tried(0.1, pairs=MIN_PAIRS - 1, identity=0.1)] * 20
    assert lacking(runs + few_pairs) == lacking(runs)
    with pytest.raises(ValueError, match="too few"):
        calibrate(runs, {}, Random(0))
    assert lacking([*runs, *[tried(0.1, identity=0.1)] * 2]) is None


def test_people_would_accept_a_run_again_as_often_as_coins_say():
    # Of 4 pairs at least 2: 1 - P(0 or 1 of 4).
    assert _chance(tried(0.5, pairs=4)) == pytest.approx(1 - 5 / 16)
    assert _chance(tried(1 / 3, pairs=3)) == pytest.approx(7 / 27)
    assert (_chance(tried(0, pairs=8)), _chance(tried(1, pairs=8))) == (0.0, 1.0)


def test_half_of_the_pairs_is_accepted():
    assert tried(0.5).accepted
    assert not tried(0.45).accepted
    assert (tried(0.5).share().low or 0) < 0.5 < (tried(0.5).share().high or 1)


def test_the_present_gate_stays_where_it_is_as_good():
    values, accepted = [0.1, 0.2, 0.6, 0.7], [False, False, True, True]
    for present in (0.21, 0.5, 0.6):
        cut = best_cut(values, accepted, present)
        assert cut is not None
        assert cut.value == present
    cut = best_cut(values, accepted, 0.9)
    assert cut is not None
    assert cut.value == 0.4
    assert best_cut(values, accepted, 0.2).value == 0.4  # 0.2 passes what people do not want


def test_equally_good_places_are_taken_next_to_the_present_gate():
    # Between 0.1 and 0.2, and between 0.3 and 0.9, J is 1/2.
    values, accepted = [0.1, 0.2, 0.3, 0.9], [False, True, False, True]
    assert best_cut(values, accepted, 0.11).value == 0.11
    assert best_cut(values, accepted, 0.05).value == 0.15
    assert best_cut(values, accepted, 0.95).value == 0.6
    assert best_cut(values, accepted, None).value == 0.6


@pytest.mark.parametrize("accepted", [[True] * 3, [False] * 3, [True, True, False]])
def test_no_cut_where_none_gains(accepted):
    assert best_cut([0.1, 0.2, 0.3], accepted, None) is None


votes = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=2, max_size=30
)  # fmt: skip


@given(votes, st.none() | st.floats(-1e3, 1e3))
@settings(max_examples=200)
def test_no_other_cut_is_better(votes, present):
    values, accepted = [v for v, _ in votes], [a for _, a in votes]
    goods, bads = sum(accepted), len(accepted) - sum(accepted)

    def gain(cut: float) -> int:
        kept = sum(a and v >= cut for v, a in votes)
        stopped = sum(not a and v < cut for v, a in votes)
        return kept * bads + stopped * goods - goods * bads

    best = max(gain(value) for value in values)
    cut = best_cut(values, accepted, present)
    if best <= 0:
        assert cut is None
        return
    assert cut is not None
    assert cut.gain == best == gain(cut.value)
    assert cut.kept + cut.stopped - 1 == pytest.approx(best / (goods * bads))
    if present is not None and gain(present) == best and min(values) < present <= max(values):
        assert cut.value == present


def threshold(metric: str, value: float, *, present: float | None, sound: bool = True) -> Threshold:
    return Threshold(
        metric=metric, sign=">=", value=value, low=value, high=value, kept=1.0, stopped=1.0,
        unseen=1.0, luck=0.001, sound=sound, present=present, n=12,
    )  # fmt: skip


def test_the_lines_to_paste_are_a_config():
    lines = yaml_lines([
        threshold("following", 0.5, present=None),
        threshold("identity", 0.64, present=0.7),
        threshold("variety", 0.1, present=0.3, sound=False),
    ])  # fmt: skip
    text = "\n".join(lines)
    gates = yaml.safe_load(text)["defaults"]["qa"]["gates"]
    assert gates == {"identity": ">= 0.64"}
    assert '# instead, or as well: following: ">= 0.5"' in text
    config = f"version: 1\n{text}\nloras: {{mei: {{dataset: d, base_model: b}}}}\n"
    assert load_config(config.encode()).loras["mei"].qa.gates == gates


def test_without_any_gate_the_best_is_pasted():
    lines = yaml_lines([threshold("identity", 0.64, present=None),
                        threshold("sound", 0.9, present=None)])  # fmt: skip
    assert yaml.safe_load("\n".join(lines))["defaults"]["qa"]["gates"] == {"identity": ">= 0.64"}
    assert yaml_lines([threshold("identity", 0.6, present=None, sound=False)]) == []


@given(st.floats(-100, 100))
def test_every_condition_is_one_that_gates_take(value):
    assert CONDITION.fullmatch(threshold("identity", value, present=None).condition)


@pytest.mark.slow
def test_errors_are_as_rare_as_told():
    suggested = covered = 0
    for i in range(50):
        rng = Random(i)
        coins = [
            tried(rng.choice([0.2, 0.8]), **{metric: rng.random() for metric in SIGNS})
            for _ in range(24)
        ]
        suggested += any(t.sound for t in calibrate(coins, {}, rng))
        wavering = []
        for _ in range(40):
            identity = rng.random()
            likes = 0.8 if identity + rng.gauss(0, 0.1) >= 0.55 else 0.2
            share = sum(rng.random() < likes for _ in range(12)) / 12
            wavering.append(tried(share, 12, identity=identity))
        (found,) = calibrate(wavering, {}, rng)
        covered += found.low is not None and found.low <= 0.55 <= (found.high or 0)
    assert suggested <= 7  # 5 % are allowed; more than 7 come of them in 0.5 % of cases
    assert covered >= 42  # 95 % are told; fewer than 42 come of them in 0.1 % of cases
