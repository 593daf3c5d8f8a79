"""The time to go: only where the pace is known, and never of other work."""

import pytest

from lora_ci.cli.output import Output
from lora_ci.cli.pace import SEEN_S, Pace, left_text


def test_the_pace_is_that_of_what_was_seen():
    # Resumed at 400 of 1,000: what was done before says nothing of this machine.
    pace = Pace.start(400, 1_000, now=50.0)
    assert pace.left_s(401, 1_000, now=50.0 + SEEN_S / 2) is None
    assert pace.left_s(410, 1_000, now=60.0) == pytest.approx(590.0)
    assert pace.left_s(500, 1_000, now=150.0) == pytest.approx(500.0)


@pytest.mark.parametrize(("done", "total"), [(3, 80), (5, 1_000)])
def test_other_work_has_a_pace_of_its_own(done, total):
    pace = Pace.start(0, 1_000, now=0.0)
    assert pace.left_s(900, 1_000, now=10.0) is not None
    assert pace.left_s(done, total, now=11.0) is None
    assert pace.left_s(done + 1, total, now=21.0) == pytest.approx(10.0 * (total - done - 1))


def test_what_stands_still_or_is_done_has_no_time_to_go():
    pace = Pace.start(7, 10, now=0.0)
    assert pace.left_s(7, 10, now=1e6) is None
    assert pace.left_s(10, 10, now=2e6) is None
    assert pace.left_s(12, 10, now=2e6) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "10 s left"),
        (31.0, "40 s left"),
        (89.0, "90 s left"),
        (91.0, "2 min left"),
        (3_541.0, "1 h 0 min left"),
        (12_000.0, "3 h 20 min left"),
    ],
)
def test_no_finer_than_anyone_can_know(seconds, told):
    assert left_text(seconds) == told


def test_the_line_has_loss_and_time_to_go(capsys, monkeypatch):
    output = Output(json=False, quiet=False)
    for now, done in ((100.0, 1), (110.0, 11)):
        monkeypatch.setattr("lora_ci.cli.output.time.monotonic", lambda now=now: now)
        output.progress("train mei", done, 71, "loss 0.2171")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train mei 1/71 loss 0.2171",
        "train mei 11/71 loss 0.2171, 60 s left",
    ]
