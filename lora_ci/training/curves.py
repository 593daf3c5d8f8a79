"""What is told of a training: loss, size of gradients and rate every ten steps, and validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW = 10
# A curve in a report has no more points: neighbors become their mean.
MAX_POINTS = 500


@dataclass(frozen=True, slots=True)
class Point:
    """Means over the steps that end with `step`; the learning rate is that of the last one."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(slots=True, kw_only=True)
class Curves:
    """`window` has loss and norm of the steps that wait to become a point."""

    points: list[Point] = field(default_factory=list)
    window: list[tuple[float, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, values: tuple[float, float] | None, rate: float) -> Point | None:
        """Takes note of a step's loss and norm, None if it was left out; a point that is whole."""
        if values:
            self.window.append(values)
        return self._close(step, rate) if self.window and step % WINDOW == 0 else None

    def whole(self, step: int, rate: float) -> Curves:
        """With a point for what is left of the window; this value stays as it is."""
        ended = Curves(
            points=list(self.points), window=list(self.window), validation=list(self.validation)
        )
        if ended.window:
            ended._close(step, rate)
        return ended

    def note(self) -> str:
        """The newest loss in words."""
        if self.points:
            return f"loss {self.points[-1].loss:.4f}"
        return f"loss {self.window[-1][0]:.4f}" if self.window else "loss not known yet"

    def as_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "points": [[p.step, p.loss, p.gradient_norm, p.learning_rate] for p in self.points],
            "window": self.window,
            "validation": self.validation,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Curves:
        """From a checkpoint of ours."""
        return cls(
            points=[Point(*point) for point in stored["points"]],
            window=[(loss, norm) for loss, norm in stored["window"]],
            validation=[(step, loss) for step, loss in stored["validation"]],
        )

    def details(self) -> dict[str, list[list[float]]]:
        """What a result tells: [step, value] pairs."""
        points = _thinned(self.points)
        shown = {
            "loss": [[p.step, p.loss] for p in points],
            "gradient_norm": [[p.step, p.gradient_norm] for p in points],
            "learning_rate": [[p.step, p.learning_rate] for p in points],
        }
        if self.validation:
            shown["validation_loss"] = [[step, loss] for step, loss in self.validation]
        return {name: [[float(x) for x in pair] for pair in pairs] for name, pairs in shown.items()}

    def _close(self, step: int, rate: float) -> Point:
        count = len(self.window)
        loss = sum(loss for loss, _ in self.window) / count
        norm = sum(norm for _, norm in self.window) / count
        point = Point(step, loss, norm, rate)
        self.points.append(point)
        self.window.clear()
        return point


def _thinned(points: list[Point]) -> list[Point]:
    """At most `MAX_POINTS`, each the mean of its neighbors."""
    size = -(-len(points) // MAX_POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        Point(
            group[-1].step,
            sum(p.loss for p in group) / len(group),
            sum(p.gradient_norm for p in group) / len(group),
            group[-1].learning_rate,
        )
        for group in groups
    ]
