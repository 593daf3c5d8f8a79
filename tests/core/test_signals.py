"""A signal waits for what must not be torn, and is never lost."""

import signal

import pytest

from lora_ci.cli.main import came_of_signal
from lora_ci.core.signals import signals_wait, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_block(number):
    done = []
    before = signal.getsignal(number)

    def work() -> None:
        with signals_wait():
            signal.raise_signal(number)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest"]
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_wait():
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.raised
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_error_that_a_library_makes_of_a_signal_is_known():
    def driver() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise IndexError("list index out of range") from error

    with pytest.raises(IndexError) as caught:
        driver()
    assert came_of_signal(caught.value)
    assert not came_of_signal(IndexError())
