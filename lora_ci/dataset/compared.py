"""Look-alikes within a dataset, where what was compared the last time is not compared again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from lora_ci.dataset.duplicates import Pair, find_pairs
from lora_ci.dataset.measured import Measured

# Raise it when other pictures count as alike.
COMPARING = "1"


class Notes(Protocol):
    """Keeps bytes under names from one run to the next."""

    def note(self, name: str) -> bytes | None:
        """What was kept under a name."""
        ...

    def keep_note(self, name: str, content: bytes) -> None:
        """Keeps something under a name, instead of what was there."""
        ...


class _Compared(msgspec.Struct, array_like=True):
    """Pictures that were compared, each with each, and which of them are alike: (i, j, distance).

    Pictures are the sha256 of their pixels, none twice.
    """

    pictures: list[str]
    alike: list[tuple[int, int, int]]


def find_pairs_anew(
    measured: Sequence[Measured], max_distance: int, notes: Notes, about: str
) -> list[Pair]:
    """As `find_pairs` within a sequence. `about` names the dataset: its last run is kept."""
    name = f"compared/{COMPARING}/{max_distance}/{about}"
    firsts: dict[str, int] = {}
    for index, one in enumerate(measured):
        firsts.setdefault(one.pixels, index)
    exact = [
        Pair(first=firsts[one.pixels], second=index, distance=0, exact=True)
        for index, one in enumerate(measured)
        if firsts[one.pixels] != index
    ]
    distinct = list(firsts.values())
    before = _read(notes.note(name))
    known = _still_alike(before, firsts)
    compared = firsts.keys() & set(before.pictures)
    fresh = [index for index in distinct if measured[index].pixels not in compared]
    found = known | _alike_now(measured, fresh, distinct, max_distance)
    at = {index: number for number, index in enumerate(distinct)}
    alike = [(at[i], at[j], distance) for (i, j), distance in found.items()]
    notes.keep_note(name, msgspec.msgpack.encode(_Compared(list(firsts), alike)))
    near = [Pair(first=i, second=j, distance=d, exact=False) for (i, j), d in found.items()]
    return sorted([*exact, *near], key=lambda pair: (pair.first, pair.second))


def _still_alike(before: _Compared, indexes: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """Pairs of the last run whose pictures are both still there, and their distances."""
    places = [indexes.get(pixels) for pixels in before.pictures]
    found = {}
    for i, j, distance in before.alike:
        first, second = places[i], places[j]
        if first is not None and second is not None:
            found[min(first, second), max(first, second)] = distance
    return found


def _alike_now(
    measured: Sequence[Measured], fresh: Sequence[int], distinct: Sequence[int], max_distance: int
) -> dict[tuple[int, int], int]:
    """Pairs of which one at least is fresh, and their distances."""
    everything = [measured[i] for i in distinct]
    if len(fresh) == len(distinct):
        pairs = find_pairs(everything, everything, max_distance)
    else:
        pairs = find_pairs([measured[i] for i in fresh], everything, max_distance)
    found = {}
    for pair in pairs:
        first, second = fresh[pair.first], distinct[pair.second]
        if first != second:
            found[min(first, second), max(first, second)] = pair.distance
    return found


def _read(content: bytes | None) -> _Compared:
    """What was kept; nothing if it is damaged."""
    try:
        kept = msgspec.msgpack.decode(content or b"", type=_Compared)
    except msgspec.DecodeError:
        return _Compared([], [])
    limit = len(kept.pictures)
    sound = all(0 <= i < limit and 0 <= j < limit for i, j, _ in kept.alike)
    return kept if sound else _Compared([], [])
