"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class SetClock:
    """Stands still until it is told; sleeping moves it."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.pass_s(seconds)

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
