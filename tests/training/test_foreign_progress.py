"""What trainers print, in pieces of any size, and what is made of it."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.training.foreign.progress import LINES_KEPT, LONGEST_LINE, POINTS, Watched

SD = "\rsteps:  12%|█▏        | 12/100 [00:01<00:09,  9.10it/s, avr_loss=0.123]"
AI = "\radapter:  12%|█▏        | 12/100 [00:01<00:09,  9.10it/s, lr: 1.0e-04 loss: 1.230e-01]"
COMMAND = "epoch 1/3, step 12/100, loss = 0.123\n"


def watched(text: str | bytes, bar: str | None = "steps:", total: int = 100) -> Watched:
    made = Watched(total=total, bar=bar)
    made.feed(text if isinstance(text, bytes) else text.encode())
    made.end()
    return made


@pytest.mark.parametrize(
    ("text", "bar"), [(SD, "steps:"), (AI, "adapter:"), (COMMAND, None), (SD, None), (AI, None)]
)
def test_a_bar_tells_step_and_loss(text: str, bar: str | None):
    made = watched(text, bar)
    assert (made.done, made.loss, made.losses) == (12, 0.123, [(12, 0.123)])
    assert not made.tail
    assert not made.diverged


@given(st.lists(st.integers(0, len((SD + AI).encode()))))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]):
    data = (SD + "\rsteps:  13%|█▎ | 13/100 [00:01<00:09, 1.2s/it, avr_loss=0.12]\nend…\n").encode()
    made = Watched(total=100, bar="steps:")
    ends = sorted({*cuts, len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        made.feed(data[start:end])
    made.end()
    assert (made.done, made.losses, list(made.tail)) == (13, [(12, 0.123), (13, 0.12)], ["end…"])


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_any_bytes_are_read(data: bytes, total: int):
    made = Watched(total=total)
    made.feed(data)
    made.feed(data)
    made.end()
    assert 0 <= made.done <= total
    assert all(line.isprintable() for line in made.tail)


def test_bars_that_count_something_else_are_passed_over():
    text = "\rcaching latents:  50%|█ | 1/2 [00:01<00:01]\r 90%|█▏| 90/100 [00:01<00:01, 5.1it/s]\n"
    made = watched(text + SD)
    assert (made.done, list(made.tail)) == (12, [])
    assert watched(text, None).done == 0


def test_a_resumed_training_counts_what_was_left():
    made = watched("\rsteps:  20%|█▏ | 10/50 [00:01<00:09, avr_loss=0.5]")
    assert (made.done, made.losses) == (60, [(60, 0.5)])
    assert watched("\rsteps:   0%|  | 0/50 [00:00<?, ?it/s]").done == 50


def test_a_bar_never_goes_back_nor_beyond_the_end():
    text = SD + "\rsteps:   5%|█▏ | 5/100 [00:01, avr_loss=0.2]"
    assert watched(text).done == 12
    assert watched("\rsteps: 200%|██ | 200/100 [00:01, avr_loss=0.2]").done == 100
    assert watched("\rsteps: 100%|██ | 100/999 [00:01, avr_loss=0.2]").done == 0


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf"])
def test_a_loss_that_is_no_number_is_seen(value: str):
    made = watched(f"\rsteps:   5%|█▏ | 5/100 [00:01, avr_loss={value}]")
    assert made.diverged
    assert not made.losses


def test_one_loss_that_is_skipped_is_no_divergence_many_are():
    assert not watched("loss is nan\n" * 9).diverged
    assert watched("loss is nan\n" * 10).diverged


@pytest.mark.slow
def test_ten_megabytes_of_log_stay_small():
    made = Watched(total=100_000, bar="steps:")
    tracemalloc.start()
    for step in range(1, 1001):
        made.feed(b"\xff no end of line " * 512)
        made.feed(f"\rsteps: 1%|█ | {100 * step}/100000 [00:01, avr_loss=0.5]\n".encode())
        made.feed(b"a line\n" * 256)
    made.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert made.done == 100_000
    assert len(made.tail) == LINES_KEPT
    assert len(made.losses) <= POINTS + 1
    assert made.losses[-1] == (100_000, 0.5)


def test_what_is_longer_than_a_line_is_cut_and_told_once():
    made = watched("x" * (3 * LONGEST_LINE) + "\nafter\n")
    assert len(made.tail) == 2
    assert made.tail[-1] == "after"
    made = watched("x" * (3 * LONGEST_LINE))
    assert len(made.tail) == 1


def test_the_last_lines_are_printable():
    made = watched("\x1b[31mred\x1b[0m\nlast\tline  \n\n")
    assert list(made.tail) == ["�[31mred�[0m", "last    line"]


def test_losses_are_finite_numbers():
    made = watched("\rsteps: 5%|█ | 5/100 [avr_loss=1.5e-05]\rsteps: 6%|█ | 6/100 [avr_loss=2]")
    assert made.losses == [(5, 1.5e-05), (6, 2.0)]
    assert all(math.isfinite(loss) for _, loss in made.losses)
