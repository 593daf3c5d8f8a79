"""What scans generated pictures for content that must not be there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from lora_ci.core.embedders import parse_embedder
from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.program import ANSWER_S, Shown, show

BATCH = 32
MAX_LABELS = 20
LONGEST_LABEL = 80
# docs/qa/safety.md has what is spoken.
EXPECTED = 'such as `{"labels": [[], ["nudity"]]}`, a list of words for each picture'


class Scanner(Protocol):
    """Looks at pictures and names what is wrong with each."""

    def scan(self, pictures: Sequence[Picture]) -> Sequence[tuple[str, ...]]:
        """One tuple of labels a picture, in their order; () for a safe one.

        Raises InfrastructureError where it cannot work, or its answer is none.
        """
        ...


def open_scanner(spec: str | None) -> Scanner | None:
    """The scanner of `qa.safety`; nothing is started before something must be scanned."""
    if spec is None:
        return None
    return CommandScanner(command=parse_embedder(spec).command, spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandScanner:
    """Asks a program of the user's what it sees in PNG files; it runs as long as a call takes."""

    command: tuple[str, ...]
    spec: str
    answer_s: float = ANSWER_S

    def scan(self, pictures: Sequence[Picture]) -> Sequence[tuple[str, ...]]:
        if not pictures:
            return ()
        found: list[tuple[str, ...]] = []
        what = f"scanner `{self.spec}`"
        with closing(show(self.command, pictures, what=what, answer_s=self.answer_s)) as parts:
            for shown in parts:
                found += _labels_of(shown, what)
        return found


def _labels_of(shown: Shown, what: str) -> list[tuple[str, ...]]:
    """Its labels for some pictures."""
    labels, count = shown.answer.get("labels"), len(shown.pictures)
    if not isinstance(labels, list) or len(labels) != count:
        told = f"{len(labels)} lists of labels" if isinstance(labels, list) else "no `labels`"
        raise _refused(what, f"answered with {told} for {count} pictures")
    return [_labels(what, some) for some in labels]


def _labels(what: str, some: Any) -> tuple[str, ...]:
    """What it says of one picture. An answer that is none must not look like a safe picture."""
    if not isinstance(some, list) or not all(isinstance(label, str) and label for label in some):
        raise _refused(what, f"called a picture `{str(some)[:LONGEST_LABEL]}`")
    return tuple(label[:LONGEST_LABEL] for label in some[:MAX_LABELS])


def _refused(what: str, told: str) -> InfrastructureError:
    message = f"{what} {told}; expected {EXPECTED}"
    return InfrastructureError(message, rule="program.answer", hint="next: see docs/qa/safety.md")
