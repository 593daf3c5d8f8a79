"""Does the adapter copy its training pictures?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Limit, Measure, Pair, Reading
from lora_ci.ruler.statistics import share_of

# How much nearer to a training picture than any reference is a copy.
COPY_MARGIN = 0.02
SHOWN = 6


def measure(evidence: Evidence) -> Reading:
    """The share of pictures nearer to a training picture than every reference is."""
    training, references = evidence.training.features, evidence.references.features
    if not len(training) or not len(references):
        return Reading(lacking="needs the training pictures and references")
    asked, seeds = evidence.prompts.identity, evidence.seeds
    made = evidence.adapter.of(asked)
    cosines = made.reshape(-1, made.shape[-1]) @ training.T
    nearest = cosines.max(axis=1)
    limit = float((references @ training.T).max()) + COPY_MARGIN
    copied = nearest > limit
    pairs = [
        Pair(
            prompt=asked[at // seeds],
            seed=int(at % seeds),
            twin=int(cosines[at].argmax()),
            similarity=float(nearest[at]),
            copied=bool(copied[at]),
        )
        for at in np.argsort(-nearest)[:SHOWN]
    ]
    share = share_of(copied.reshape(len(asked), seeds))
    why = (
        f"{share.hits} of {share.n} pictures are nearer to a training picture (cosine above "
        f"{limit:.2f}) than every reference is"
    )
    return Reading(metrics={"memorization": share}, why=why, pairs=tuple(pairs))


MEASURE = Measure(
    name="memorization",
    run=measure,
    metrics=("memorization",),
    limits={
        "memorization": Limit(
            condition="<= 0.5",
            gate=True,
            fault="it copies its training pictures",
            hint="fewer images seen, or more training pictures",
        )
    },
)
