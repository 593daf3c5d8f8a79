"""One person's way through the pairs: what is asked next, what was answered. Threads share it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from lora_ci.core.votes import Choice, Side, Vote, side_of
from lora_ci.qa.blind import Pair

# So many are asked of one person; more would not be looked at with care.
MOST_PAIRS = 200

Answer = Literal[Side.LEFT, Side.RIGHT] | None


class VoteBox(Protocol):
    """Where votes are kept, each at once: the ledger."""

    def cast(self, vote: Vote) -> None:
        """Keeps a vote, in place of an earlier one of the same person on the same pair."""
        ...

    def withdraw(self, vote: Vote) -> None:
        """Forgets a person's vote on a pair."""
        ...

    def votes(self, fingerprint: str | None = None) -> tuple[Vote, ...]:
        """The votes on a judgement, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is asked about what: the judgement, the person, and the seed of order and sides."""

    fingerprint: str
    lora: str
    voter: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A pair as it is shown: `number` says nothing of where its pictures come from."""

    number: int
    pair: Pair
    new_on: Side

    def picture(self, side: Side) -> str:
        """The sha256 of the picture on a side."""
        return self.pair.new if side is self.new_on else self.pair.other


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the person is. `card` is None where nothing is left to ask; `closed`: no more votes."""

    card: Card | None
    voted: int
    skipped: int
    total: int
    may_undo: bool
    closed: bool


class Desk:
    """The cards of a session, in random order; votes that were given before are not asked again.

    What was skipped comes again on demand, and in the next session. Once the result was looked at,
    no vote is taken any more: it would no longer be blind.
    """

    def __init__(self, session: Session, pairs: Sequence[Pair], box: VoteBox) -> None:
        self._session = session
        self._box = box
        self._turn = threading.Lock()
        order = sorted(pairs, key=lambda pair: pair.id)
        Random(session.seed).shuffle(order)
        self._cards = [
            Card(number=number, pair=pair, new_on=side_of(session.seed, pair.id))
            for number, pair in enumerate(order[:MOST_PAIRS])
        ]
        before = {v.pair for v in box.votes(session.fingerprint) if v.voter == session.voter}
        self._voted = {card.number for card in self._cards if card.pair.id in before}
        # What was answered in this session, newest last.
        self._trail: list[int] = []
        self._skipped: set[int] = set()
        self._closed = not self._cards or len(self._voted) == len(self._cards)

    def state(self) -> State:
        """What is to be shown now."""
        with self._turn:
            card = None if self._closed else self._next()
            return State(
                card=card,
                voted=len(self._voted),
                skipped=len(self._skipped),
                total=len(self._cards),
                may_undo=bool(self._trail) and not self._closed,
                closed=self._closed,
            )

    def card(self, number: int) -> Card | None:
        """The card of a number."""
        return self._cards[number] if 0 <= number < len(self._cards) else None

    def vote(self, number: int, answer: Answer) -> bool:
        """Keeps what the person says of a card; None: no difference. False: not taken."""
        card = self.card(number)
        with self._turn:
            if card is None or self._closed:
                return False
            self._box.cast(self._vote(card, answer))
            self._voted.add(number)
            self._skipped.discard(number)
            self._trail = [one for one in self._trail if one != number] + [number]
            return True

    def skip(self, number: int) -> bool:
        """Puts a card aside."""
        with self._turn:
            if self.card(number) is None or self._closed or number in self._voted:
                return False
            self._skipped.add(number)
            self._trail = [one for one in self._trail if one != number] + [number]
            return True

    def undo(self) -> bool:
        """Takes the last answer of this session back; its card is the next."""
        with self._turn:
            if not self._trail or self._closed:
                return False
            number = self._trail.pop()
            if number in self._voted:
                self._box.withdraw(self._vote(self._cards[number], None))
                self._voted.remove(number)
            self._skipped.discard(number)
            return True

    def again(self) -> None:
        """Asks again what was skipped; what was answered before cannot be undone any more."""
        with self._turn:
            self._trail.clear()
            self._skipped.clear()

    def close(self) -> None:
        """Ends the voting, so that the result may be seen."""
        with self._turn:
            self._closed = True

    def result(self) -> Counter[Choice]:
        """How this person chose, in earlier sessions too."""
        mine = {card.pair.id for card in self._cards}
        votes = self._box.votes(self._session.fingerprint)
        voter = self._session.voter
        return Counter(v.choice for v in votes if v.voter == voter and v.pair in mine)

    def _next(self) -> Card | None:
        done = self._voted | self._skipped
        return next((card for card in self._cards if card.number not in done), None)

    def _vote(self, card: Card, answer: Answer) -> Vote:
        choice = Choice.NONE
        if answer is not None:
            choice = Choice.NEW if answer is card.new_on else Choice.OTHER
        session = self._session
        return Vote(
            fingerprint=session.fingerprint,
            pair=card.pair.id,
            voter=session.voter,
            lora=session.lora,
            against=card.pair.against,
            choice=choice,
            side=card.new_on,
            seed=session.seed,
        )
