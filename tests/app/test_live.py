"""What is shown while a run goes on: seldom, one at a time, and never in the way."""

import threading

from lora_ci.app.live import EVERY_S, Announcer, Live
from lora_ci.core.step import Progress, Stage

LAST = 30


class Hands:
    """A clock that is set by hand."""

    def __init__(self):
        self.at = 0.0

    def monotonic(self):
        return self.at


def test_what_steps_tell_is_passed_on_and_the_newest_kept():
    heard, moved = [], []
    live = Live(lambda *told: heard.append(told))
    live.moved = lambda: moved.append(1)
    live("mei", Stage.TRAIN, 1, 9, "a")
    live("mei", Stage.TRAIN, 2, 9, "b")
    assert len(heard) == len(moved) == 2
    assert live.progress == {("mei", Stage.TRAIN): Progress(2, 9, "b")}


def test_a_view_is_shown_at_once_and_then_only_now_and_then():
    clock, shown = Hands(), []
    announcer = Announcer(shown.append, clock)
    for at in (0.0, 1.0, EVERY_S - 0.1, EVERY_S, EVERY_S + 1):
        clock.at = at
        announcer.offer(lambda at=at: at)
        announcer.close()
    assert shown == [0.0, EVERY_S]


def test_a_slow_host_gets_one_at_a_time_and_the_last_word_waits_for_it():
    clock, shown, free = Hands(), [], threading.Event()

    def show(view):
        assert free.wait(LAST)
        shown.append(view)

    announcer = Announcer(show, clock)
    announcer.offer(lambda: "first")
    clock.at = 2 * EVERY_S
    announcer.offer(lambda: "while the first is on its way")
    free.set()
    announcer.close()
    assert shown == ["first"]


def test_what_cannot_be_shown_disturbs_nobody():
    def fail(view):
        raise KeyError(view)

    announcer = Announcer(fail, Hands())
    announcer.offer(lambda: "x")
    announcer.close()
    Announcer(print, Hands()).offer(lambda: 1 / 0)
