"""How far an adapter moves pictures from the base model's likeness to that of the real thing.

    identity = (s_L - s_B) / (s_R - s_B)

where s is the mean cosine to the held-out references: of pictures of the base (B), of the adapter
(L), and of the references among themselves (R). 0 is the base, 1 is as alike as real ones are. A
plain difference between pictures with and without the adapter would reward broken adapters most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.embedder import Features
from lora_ci.ruler.statistics import Interval, mean_interval, separation

MIN_SEPARATION = 1.0
MIN_REFERENCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The two ends of the identity scale. Shapes: references [n, d], real [n], base [prompts].

    `power` is d′ of the references against the base's pictures (see `_power`).
    """

    references: Features
    real: NDArray[np.float64]
    base: NDArray[np.float64]
    power: float

    @property
    def span(self) -> float:
        """s_R - s_B."""
        return float(self.real.mean() - self.base.mean())


def find_scale(references: Features, base: Features) -> tuple[Scale | None, str]:
    """The scale of references [n, d] and base pictures [prompts, seeds, d], or why there is none.

    An embedder that cannot tell the references from the base's pictures cannot judge identity.
    """
    n = len(references)
    if n < MIN_REFERENCES:
        return None, f"{n} references, needs {MIN_REFERENCES} (`qa.references`)"
    if len(base) < 2:
        return None, "one identity prompt, needs 2 (`qa.prompts`)"
    scale = Scale(
        references=references,
        real=_to_others(references),
        base=likeness(base, references).mean(axis=1),
        power=_power(references, base.reshape(-1, base.shape[-1])),
    )
    if scale.power < MIN_SEPARATION:
        return None, (
            "the embedder cannot tell references from base pictures "
            f"(d′ {scale.power:.2f}, needs {MIN_SEPARATION:g})"
        )
    return scale, ""


def _power(references: Features, base: Features) -> float:
    """d′ of how much nearer a picture is to the references than to the base's pictures.

    Both for references and for pictures of the base, each left out of its own group: what the
    pictures have in common besides, such as a rare subject, cancels. Features [n, d] and [m, d].
    """
    across = references.astype(np.float64) @ base.T.astype(np.float64)
    real = _to_others(references) - across.mean(axis=1)
    return separation(real, across.mean(axis=0) - _to_others(base))


def _to_others(features: Features) -> NDArray[np.float64]:
    """Mean cosine of each to all others of its group, [n], of [n, d]."""
    among = features.astype(np.float64) @ features.T.astype(np.float64)
    others: NDArray[np.float64] = (among.sum(axis=1) - np.diag(among)) / (len(features) - 1)
    return others


def likeness(pictures: Features, references: Features) -> NDArray[np.float64]:
    """Mean cosine to the references, [prompts, seeds], of features [prompts, seeds, d]."""
    cosines = pictures.astype(np.float64) @ references.T.astype(np.float64)
    mean: NDArray[np.float64] = cosines.mean(axis=-1)
    return mean


def identity_by_prompt(scale: Scale, pictures: Features, base: Features) -> NDArray[np.float64]:
    """Identity of each prompt, [prompts], paired with the base on the same prompts and seeds."""
    moved = likeness(pictures, scale.references) - likeness(base, scale.references)
    by_prompt: NDArray[np.float64] = moved.mean(axis=1) / scale.span
    return by_prompt


def similarity(scale: Scale, pictures: Features) -> dict[str, Interval]:
    """s_B, s_L and s_R with their intervals."""
    return {
        "base": mean_interval(scale.base),
        "adapter": mean_interval(likeness(pictures, scale.references).mean(axis=1)),
        "references": mean_interval(scale.real),
    }
