"""Does the adapter copy its training pictures?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence, Views
from lora_ci.qa.reading import Limit, Measure, Pair, Reading
from lora_ci.ruler.copies import find_twins
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.pixel_copies import pixel_copies
from lora_ci.ruler.statistics import Estimate, share_of

# How much nearer to a training picture than any reference is a copy.
COPY_MARGIN = 0.02
SHOWN = 6
NEEDED = "the dataset and references that are not in it (`qa.references`)"


def measure(evidence: Evidence) -> Reading:
    """The share of copies among pictures of identity prompts, and of training captions.

    A copy by features is nearer to a training picture than every reference is to any, and nearer
    to it than any other training picture: pictures of one kind are all near to each other, and no
    copies. What an embedder misses is found by pixels.
    """
    training, references = evidence.training.features, evidence.references.features
    if not len(training) or not len(references):
        return Reading(lacking="needs the training pictures and references", settle=NEEDED)
    if evidence.seen:
        return Reading(lacking=evidence.no_scale, settle=NEEDED)
    among = references @ training.T
    limit = float(among.max()) + COPY_MARGIN
    asked = _look(evidence, evidence.prompts.identity, evidence.adapter, limit)
    share = share_of(asked.copied)
    metrics: dict[str, Estimate] = {"memorization": share}
    nearer = (
        f"nearer to a training picture than references (cosine above {limit:.2f}) and other "
        "training pictures are, or the same pixels"
    )
    if limit >= 1:
        one, other = divmod(int(among.argmax()), len(training))
        nearer = (
            f"the same pixels; features cannot tell, as the reference "
            f"{evidence.references.pictures[one].name} is as near to "
            f"{evidence.training.pictures[other].name} as a copy would be"
        )
    why = f"{share.hits} of {share.n} pictures are copies: {nearer}"
    pairs = asked.pairs
    if evidence.recalled is not None:
        recalled = _look(evidence, evidence.prompts.recalled, evidence.recalled, limit)
        known = share_of(recalled.copied)
        metrics["memorization.recalled"] = known
        why += f"; asked with training captions {known.hits} of {known.n}"
        pairs = [*pairs, *recalled.pairs]
    nearest = sorted(pairs, key=lambda pair: (not pair.copied, -pair.similarity))
    return Reading(metrics=metrics, why=why, pairs=tuple(nearest[:SHOWN]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """Which pictures are copies [prompts, seeds], and the pairs that are most alike."""

    copied: NDArray[np.bool_]
    pairs: list[Pair]


def _look(evidence: Evidence, prompts: Sequence[str], views: Views, limit: float) -> _Looked:
    made, training = views.of(prompts), evidence.training.features
    flat = made.reshape(-1, made.shape[-1])
    cosines = flat @ training.T
    nearest, twins = cosines.max(axis=1), cosines.argmax(axis=1)
    copied = (nearest > limit) & ~_authentic(flat, training)
    copied |= pixel_copies(
        views.drawn(prompts),
        [one.picture for one in evidence.training.pictures],
        [one.picture for one in evidence.references.pictures],
    )
    seeds = made.shape[1]
    pairs = [
        Pair(
            prompt=prompts[at // seeds],
            seed=int(at % seeds),
            twin=int(twins[at]),
            similarity=float(nearest[at]),
            copied=bool(copied[at]),
        )
        for at in np.argsort(-nearest)[:SHOWN]
    ]
    return _Looked(copied=copied.reshape(len(prompts), seeds), pairs=pairs)


def _authentic(pictures: Features, training: Features) -> NDArray[np.bool_]:
    """Which are no nearer to their twin than others are; none if all training is one picture."""
    try:
        return find_twins(pictures, training).authentic
    except ValueError:
        return np.zeros(len(pictures), np.bool_)


MEASURE = Measure(
    name="memorization",
    run=measure,
    metrics=("memorization", "memorization.recalled"),
    limits={
        "memorization": Limit(
            condition="<= 0.5",
            gate=True,
            fault="it copies its training pictures",
            hint="fewer images seen, or more training pictures",
        ),
        "memorization.recalled": Limit(
            condition="<= 0.3",
            gate=True,
            fault="it knows its training pictures by heart",
            hint="fewer images seen, more training pictures, and captions that differ",
        ),
    },
)
