"""Can the concept be combined with other words? Prompt following kept, times identity kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import to_scale
from lora_ci.qa.reading import Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import identity_by_prompt
from lora_ci.ruler.statistics import divided, mean_of, shares_of_pairs

# The product of two shares, each of which passes at about 0.6.
ANCHORS = Anchors(0.0, 0.35, 1.0)
# So many prompts it takes to compare what they ask.
LEAST = 3
NO_TEXTS = "the embedder knows no texts"
USE_CLIP = "an embedder that knows texts (`qa.embedder: path:…` of a CLIP or SigLIP model)"
NAMED, LONGEST_SHOWN = 3, 60
SET_ASIDE = "flexibility prompts that the base model can draw (`qa.flexibility_prompts`)"


def measure(evidence: Evidence) -> Reading:
    """Following is how much nearer pictures are to their own context than to the other contexts.

    It counts as a share of what the base reaches on the very same prompts.
    """
    scale, prompts = evidence.scale, evidence.prompts
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=to_scale(evidence))
    if evidence.texts is None:
        return Reading(lacking=NO_TEXTS, settle=USE_CLIP)
    if len(prompts.flexibility) < LEAST:
        lacking = f"flexibility prompts: {len(prompts.flexibility)}, needs {LEAST}"
        return Reading(lacking=lacking, settle=SET_ASIDE)
    adapter, base = evidence.adapter.of(prompts.flexibility), evidence.base.of(prompts.flexibility)
    contexts = np.stack([evidence.texts[context] for context in prompts.contexts])
    of_base = preference(base, contexts)
    reached = mean_of(of_base)
    if problem := deaf(prompts.contexts, of_base):
        return Reading(lacking=problem, settle=SET_ASIDE)
    kept = np.clip(preference(adapter, contexts) / reached.mean, 0, 1)
    identity = np.clip(identity_by_prompt(scale, adapter, base, same_prompts=False), 0, 1)
    value = divided(mean_of(kept * identity), reached, scale.measured_span())
    why = (
        f"follows prompts {kept.mean():.2f} as well as the base, "
        f"with {identity.mean():.2f} of the identity"
    )
    return Reading(
        metrics={"flexibility": value},
        why=why,
        score=Score(name="flexibility", metric=value, anchors=ANCHORS, why=why),
    )


def deaf(contexts: Sequence[str], reached: NDArray[np.float64]) -> str:
    """Why prompt following cannot be told: the base's own is not surely there; else nothing.

    `reached` [p] is what the base reaches on each context.
    """
    low = mean_of(reached).interval().low
    if low is not None and low > 0:
        return ""
    worst = [contexts[at] for at in np.argsort(reached)[:NAMED]]
    named = ", ".join(f"`{text[:LONGEST_SHOWN]}`" for text in worst)
    return f"the base itself does not surely draw what the prompts ask (least: {named})"


def preference(pictures: Features, contexts: Features) -> NDArray[np.float64]:
    """Cosine to the own context less the mean cosine to the others, [p], p at least 3.

    It is the mean over pairs of prompts of what an exchange of contexts would lose, and each prompt
    has its part in that: what all pictures have in common with a context counts for none.
    Shapes: pictures [p, s, d], contexts [p, d].
    """
    cosines = (pictures.astype(np.float64) @ contexts.T.astype(np.float64)).mean(axis=1)
    own = np.diag(cosines)
    lost = (own[:, None] + own[None, :] - cosines - cosines.T) / 2
    return shares_of_pairs(lost)


MEASURE = Measure(name="flexibility", run=measure, metrics=("flexibility",))
