"""What a trainer prints → how far it is, its losses, its last lines; in bounded memory.

Progress bars repaint a line after a carriage return, in pieces of any size:
`steps:  12%|█▏ | 12/100 [00:01<00:09, 9.1it/s, avr_loss=0.123]`.
"""

from __future__ import annotations

import codecs
import math
import re
from collections import deque
from dataclasses import dataclass, field

from lora_ci.core.text import clean

COUNT = re.compile(r"(?<![\d.])(\d{1,9})/(\d{1,9})(?![\d.])")
LOSS = re.compile(r"loss\w*\s*[=:]\s*([-+]?(?:nan|inf|\d[\d.]*(?:e[-+]?\d+)?))", re.IGNORECASE)
# ai-toolkit counts a loss that is no number as 0 and goes on; so many are no accident.
LOSS_IS_NAN = re.compile(r"^\s*loss is nan\b", re.IGNORECASE)
MOST_NAN_LOSSES = 10
LONGEST_LINE = 4096
LINES_KEPT = 40
LONGEST_KEPT = 300
POINTS = 500


@dataclass(slots=True, kw_only=True)
class Watched:
    """What was printed so far by a trainer that is to take `total` steps.

    `bar` is how the trainer's own progress bar begins; without one, any line counts that has both
    `12/100` and a loss. `losses` are (step, loss), at most about 500.
    """

    total: int
    bar: str | None = None
    done: int = 0
    loss: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)
    diverged: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    _text: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _rest: str = ""
    _too_long: bool = False
    _nan_losses: int = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, wherever they were cut."""
        *lines, rest = re.split(r"[\r\n]", self._rest + self._text.decode(data))
        for line in lines:
            # Of a line that is too long the first part was taken already.
            if not self._too_long:
                self._line(line)
            self._too_long = False
        if len(rest) > LONGEST_LINE:
            if not self._too_long:
                self._line(rest)
            self._too_long, rest = True, ""
        self._rest = rest

    def end(self) -> None:
        """Takes what stands after the last end of line."""
        if not self._too_long:
            self._line(self._rest + self._text.decode(b"", final=True))
        self._rest, self._too_long = "", False

    def _line(self, line: str) -> None:
        line = line[:LONGEST_LINE]
        if not line.strip():
            return
        if not self._progress(line) and "%|" not in line:
            self.tail.append(clean(line.rstrip().expandtabs())[:LONGEST_KEPT])
        if LOSS_IS_NAN.match(line):
            self._nan_losses += 1
            self.diverged |= self._nan_losses >= MOST_NAN_LOSSES

    def _progress(self, line: str) -> bool:
        """True for a line of the bar that counts the steps."""
        loss = LOSS.search(line)
        # Other bars count pictures that are read or cached; theirs have no loss.
        if not line.lstrip().startswith(self.bar) if self.bar else loss is None:
            return False
        counted = [(int(m[1]), int(m[2])) for m in COUNT.finditer(line)]
        # A training that was resumed may count only the steps that were left.
        known = [
            (n, of) for n, of in counted if of == self.total or (self.bar and 0 < of < self.total)
        ]
        if not known:
            return False
        done, total = known[0]
        self.done = max(self.done, min(self.total, done + self.total - total))
        if loss is not None and done > 0:
            self._add(float(loss[1]))
        return True

    def _add(self, loss: float) -> None:
        self.loss = loss
        if not math.isfinite(loss):
            self.diverged = True
            return
        step = self.done
        apart = max(1, self.total // POINTS)
        if self.losses and step - self.losses[-1][0] < apart and step < self.total:
            return
        if self.losses and self.losses[-1][0] == step:
            self.losses[-1] = (step, loss)
        else:
            self.losses.append((step, loss))
