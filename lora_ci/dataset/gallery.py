"""What a page shows of a dataset: the worst pictures first, look-alikes side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_ci.core.captions import SIDECARS, is_metadata
from lora_ci.core.finding import Finding, Severity
from lora_ci.dataset.files import shown
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.validate import Seen, Validation

# Of a burst of hundreds these say enough; the others stand among the rest.
MOST_IN_A_GROUP = 12
MOST_REFERENCES = 3
ORDER = list(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One picture and all that is said of it; a `number` within the page if it is no reference."""

    name: str
    measured: Measured
    number: int | None = None
    caption: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The pictures to show: look-alikes, the one to keep first, and the rest, worst first."""

    groups: tuple[tuple[Card, ...], ...]
    rest: tuple[Card, ...]

    @property
    def cards(self) -> list[Card]:
        """All of them, references too."""
        return [*(card for group in self.groups for card in group), *self.rest]

    @property
    def own(self) -> list[Card]:
        """Those of the dataset."""
        return [card for card in self.cards if card.number is not None]


def arrange(validation: Validation, most: int) -> Gallery:
    """At most so many pictures, and the references that they are like.

    The names of files in findings must be relative to the dataset.
    """
    seen = validation.seen
    by_picture = sort_findings(validation.findings, seen)
    order = sorted(seen.images, key=lambda name: _rank(by_picture.get(name, ())))
    together = _choose(order, seen.groups, most)
    like: dict[str, list[str]] = defaultdict(list)
    for name, other in seen.leaks:
        like[name].append(other)
    numbers = {name: i for i, name in enumerate(name for group in together for name in group)}

    def card(name: str) -> Card:
        caption = seen.captions.get(name)
        return Card(
            number=numbers[name],
            name=name,
            measured=seen.images[name],
            caption=caption.text if caption else None,
            findings=tuple(by_picture.get(name, ())),
        )

    def beside(group: Sequence[str]) -> list[Card]:
        """The references that some of a group are like."""
        names = dict.fromkeys(other for name in group for other in like[name])
        return [
            Card(name=name, measured=seen.references[name])
            for name in list(names)[:MOST_REFERENCES]
        ]

    cards = [(*map(card, group), *beside(group)) for group in together]
    return Gallery(
        groups=tuple(several for several in cards if len(several) > 1),
        rest=tuple(several[0] for several in cards if len(several) == 1),
    )


def _choose(
    order: Sequence[str], groups: Sequence[Sequence[str]], most: int
) -> list[Sequence[str]]:
    """At most so many names in their order, each with those of its group."""
    group_of = {
        name: group[:MOST_IN_A_GROUP] for group in groups for name in group[:MOST_IN_A_GROUP]
    }
    together: list[Sequence[str]] = []
    taken: set[str] = set()
    for name in order:
        if name not in taken and len(taken) < most:
            together.append(group_of.get(name, (name,))[: most - len(taken)])
            taken.update(together[-1])
    return together


def sort_findings(findings: Sequence[Finding], seen: Seen) -> Mapping[str, Sequence[Finding]]:
    """Findings by the picture that they, or its caption, are about; some are about none."""
    places: dict[tuple[str, int | None], list[str]] = defaultdict(list)
    for name in seen.images:
        places[shown(name), None].append(name)
        for suffix in SIDECARS:
            places[shown(name.rpartition(".")[0] + suffix), None].append(name)
    for name, caption in seen.captions.items():
        if is_metadata(caption.file):
            places[shown(caption.file), caption.line].append(name)
    by_picture: dict[str, list[Finding]] = defaultdict(list)
    for found in findings:
        file = found.file or ""
        for name in places.get((file, found.line if is_metadata(file) else None), ()):
            by_picture[name].append(found)
    for several in by_picture.values():
        several.sort(key=lambda found: ORDER.index(found.severity))
    return by_picture


def _rank(findings: Sequence[Finding]) -> int:
    """How bad the worst is: 0 for an error; more than any for none."""
    return min((ORDER.index(found.severity) for found in findings), default=len(ORDER))
