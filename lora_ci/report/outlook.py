"""What comes next: what an approval lets run, what a merge brings, what stops a release."""

from __future__ import annotations

from lora_ci.core.event import EventKind, Trust
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.figures import counted
from lora_ci.report.markdown import code, escape
from lora_ci.report.reason import details_of, lora_outcome, waits_for_approval

SHOWN_NAMES = 3


def render_outlook(view: RunView) -> list[str]:
    """Two or three sentences on a pull request, none elsewhere."""
    if view.event.number is None or view.event.kind is EventKind.TAG or not view.loras():
        return []
    waiting = [lora for lora in view.loras() if waits_for_approval(view, lora)]
    if waiting:
        return [_approval(view, waiting), ""]
    told = _next(view)
    return [told, ""] if told else []


def _next(view: RunView) -> str:
    match view.outcome:
        case None:
            return ""
        case Outcome.PASSED:
            return f"**On merge:** {_passed(view)}"
        case Outcome.INTERRUPTED:
            return "**Next:** `/lora-ci run` goes on where it stopped; what has ended stays known."
        case Outcome.ERROR:
            return "**Next:** `/lora-ci run` tries again what broke down; the rest stays known."
        case Outcome.FAILED | Outcome.INCONCLUSIVE:
            return f"**On merge:** {_not_passed(view)}"


def _approval(view: RunView, loras: list[str]) -> str:
    foreign = view.event.trust is Trust.UNTRUSTED
    how = "on your machines, with data and config from outside" if foreign else "at that cost"
    return (
        f"**Waits for approval.** A member with write access who is not the author may write "
        f"`/lora-ci approve {code(view.event.head)}`: then {_blocked(view, loras)} run {how}. "
        f"A new push asks again."
    )


def _blocked(view: RunView, loras: list[str]) -> str:
    """`train, qa and optimize of mei`."""
    stages = {
        s.decision.stage
        for lora in loras
        for s in view.whole(lora)
        if s.decision.action is Action.BLOCKED
    }
    return f"{_listed([str(stage) for stage in Stage if stage in stages])} of {_names(loras)}"


def _passed(view: RunView) -> str:
    told = "nothing trains again, unless the merge itself brings other data or config."
    ready = [
        lora
        for lora in view.loras()
        if lora in view.plan.releasable and details_of(view.of(lora))[Stage.QA].judged
    ]
    if len(view.loras()) > 1:
        # What was known before has its release, or somebody who did not want one.
        ready = [lora for lora in ready if _is_new(view.of(lora))]
    if not ready:
        return told
    example = f"`git tag {code(ready[0])}@v<version> && git push --tags`"
    released = details_of(view.of(ready[0]))[Stage.QA].comparison
    above = released.released_version if released else None
    than = f", with a version above {escape(above)}" if above else ""
    which = f" (the same for {_names(ready[1:])})" if len(ready) > 1 else ""
    return f"{told} To release: {example}{than}{which}."


def _is_new(steps: tuple[StepView, ...]) -> bool:
    return any(
        s.decision.stage is Stage.QA and s.decision.action is not Action.REUSE for s in steps
    )


def _not_passed(view: RunView) -> str:
    bad = [lora for lora in view.loras() if lora_outcome(view, lora) is not Outcome.PASSED]
    judged = [lora for lora in bad if _stopped_by(view.whole(lora))]
    blocked = [lora for lora in bad if lora not in judged]
    told = []
    if judged:
        stands = "it stands" if len(judged) == 1 else "they stand"
        why = _stopped_by(view.whole(judged[0]))
        told.append(
            f"{_names(judged)} cannot be released as {stands} ({why}); "
            "what is released stays as it is. Nothing is tried again until data or config change."
        )
    if blocked and view.event.trust is Trust.UNTRUSTED:
        told.append(f"{_blocked(view, blocked)} run, as the repository's own push.")
    elif blocked:
        told.append(f"what blocks {_names(blocked)} here blocks there too.")
    return " ".join(told)


def _stopped_by(steps: tuple[StepView, ...]) -> str:
    for step in steps:
        if step.result and step.result.outcome is not Outcome.PASSED:
            return f"{step.decision.stage} {_word(step.result.outcome)}"
    return ""


def _word(outcome: Outcome) -> str:
    return "failed" if outcome is Outcome.FAILED else f"is {outcome}"


def _names(loras: list[str]) -> str:
    shown = [escape(lora) for lora in loras[:SHOWN_NAMES]]
    rest = len(loras) - len(shown)
    return _listed([*shown, counted(rest, "more LoRA")] if rest else shown)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
