"""The pairs of pictures that people choose between: same prompt, same noise, another adapter."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.step import Stage, StepResult
from lora_ci.core.votes import Against, Choice, pair_id
from lora_ci.report.details import Details, Exhibit, read_details

KINDS = {"released": Against.RELEASED, "base": Against.BASE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two pictures (sha256) of one prompt and seed.

    `judged` is what the judge prefers: the one that it places nearer to the references. None where
    the result does not tell.
    """

    id: str
    prompt: str
    seed: int | None
    new: str
    other: str
    against: Against
    judged: Choice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """What of a judgement can be shown to people: pairs, and real pictures (sha256) beside them."""

    pairs: tuple[Pair, ...]
    references: tuple[str, ...]
    trigger: str | None


def blind_of(result: StepResult) -> Blind:
    """The pairs of a result of QA: against what is released, else against the base.

    Prompts without the trigger ask for nothing that the adapter is to show, so they are no pairs.
    """
    details = read_details(Stage.QA, result)
    digests = {artifact.name: artifact.sha256 for artifact in result.artifacts}
    kinds = {exhibit.kind for exhibit in details.pictures}
    other = "released" if "released" in kinds else "base"
    theirs = _by_pair(details, other)
    pairs = [
        Pair(
            id=key,
            prompt=new.prompt,
            seed=new.seed,
            new=digests[new.artifact],
            other=digests[theirs[key].artifact],
            against=KINDS[other],
            judged=_preference(new.likeness, theirs[key].likeness),
        )
        for key, new in _by_pair(details, "adapter").items()
        if (details.trigger or "") in new.prompt
        and key in theirs
        and new.artifact in digests
        and theirs[key].artifact in digests
    ]
    references = [
        digests[exhibit.artifact]
        for exhibit in details.pictures
        if exhibit.kind == "reference" and exhibit.artifact in digests
    ]
    return Blind(pairs=tuple(pairs), references=tuple(references), trigger=details.trigger)


def _by_pair(details: Details, kind: str) -> dict[str, Exhibit]:
    """The first picture of a kind by its pair."""
    found: dict[str, Exhibit] = {}
    for exhibit in details.pictures:
        if exhibit.kind == kind:
            found.setdefault(pair_id(exhibit.prompt, exhibit.seed), exhibit)
    return found


def _preference(new: float | None, other: float | None) -> Choice | None:
    if new is None or other is None:
        return None
    if new == other:
        return Choice.NONE
    return Choice.NEW if new > other else Choice.OTHER
