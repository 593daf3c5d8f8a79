"""How a run or one LoRA of it stands, and why: one sentence, not escaped yet."""

from __future__ import annotations

from lora_ci.core.finding import Severity
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView, overall_outcome
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.details import Details, Gate, metric, read_details
from lora_ci.report.figures import NOT_MEASURED, between, counted, number, shorten, signed
from lora_ci.report.findings import findings_of
from lora_ci.report.progress import cost_to_go, is_guess, progress_text, sort_stages
from lora_ci.report.text import hours, stage_words

MOST = 240
VERDICTS: dict[Outcome, str] = {
    Outcome.PASSED: "✅ passed",
    Outcome.FAILED: "❌ failed",
    Outcome.INCONCLUSIVE: "❔ inconclusive",
    Outcome.INTERRUPTED: "⏸️ interrupted",
    Outcome.ERROR: "⚠️ could not be finished",
}
VERBS = {
    Outcome.FAILED: "failed",
    Outcome.INCONCLUSIVE: "is inconclusive in",
    Outcome.INTERRUPTED: "was interrupted in",
    Outcome.ERROR: "could not finish",
}
WORDS = {
    Action.WAIT: "waits for",
    Action.BLOCKED: "is blocked before",
}


def verdict(view: RunView) -> str:
    """An icon and a word: how the run ended, or whether it runs already."""
    if view.plan.skipped:
        return "⏭️ skipped"
    waits = any(waits_for_approval(view, lora) for lora in view.loras())
    if view.outcome is Outcome.INCONCLUSIVE and waits:
        return "✋ waits for approval"
    if view.outcome is not None:
        return VERDICTS[view.outcome]
    return "🔄 running" if _has_begun(view) else "⏳ queued"


def waits_for_approval(view: RunView, lora: str) -> bool:
    """True if an approval would let blocked stages run: no stage's own result stops them."""
    steps = view.whole(lora)
    blocked = any(s.decision.action is Action.BLOCKED for s in steps)
    return view.plan.awaits_approval and blocked and not any(map(_is_bad, steps))


def lora_outcome(view: RunView, lora: str) -> Outcome | None:
    """How a LoRA ended; None while the run goes on and something of it is still to come."""
    steps = view.whole(lora)
    stages = sort_stages(steps)
    bad = any(map(_is_bad, stages.done))
    if view.outcome is None and not bad and (stages.running or stages.to_come):
        return None
    found = overall_outcome(steps)
    # What a signal left out is no pass, however well all went before.
    cut_off = view.outcome is Outcome.INTERRUPTED and bool(stages.to_come)
    return Outcome.INTERRUPTED if found is Outcome.PASSED and cut_off else found


def reason(view: RunView) -> str:
    """What decided the run, or how far it is, and whom nobody asked for."""
    others = _listed(list(view.plan.left_out))
    return f"{_reason(view)}{f'; not asked for: {others}' if others else ''}"


def _reason(view: RunView) -> str:
    loras = view.loras()
    if view.plan.skipped:
        return f"nothing is looked at: {shorten(view.plan.skipped, MOST)}"
    if not loras:
        errors = [f for f in view.plan.findings if f.severity is Severity.ERROR]
        return shorten(errors[0].message, MOST) if errors else "nothing is to be done here"
    if view.outcome is None:
        return _going_on(view.steps, begun=_has_begun(view))
    if view.outcome is Outcome.PASSED and len(loras) > 1:
        return _all_passed(view, loras)
    alike = [lora for lora in loras if lora_outcome(view, lora) is view.outcome]
    first = alike[0] if alike else loras[0]
    more = f"; also {_listed(alike[1:])}" if len(alike) > 1 else ""
    return f"{first} {lora_reason(view, first)}{more}"


def lora_reason(view: RunView, lora: str) -> str:
    """What decided one LoRA, or how far it is, in words that follow its name."""
    steps, outcome = view.whole(lora), lora_outcome(view, lora)
    if outcome is None:
        return _lora_going_on(steps)
    if outcome is Outcome.PASSED:
        return _passed(view.of(lora))
    for step in steps:
        if step.result and step.result.outcome is outcome:
            told = _told(step)
            return f"{VERBS[outcome]} {stage_words(step.decision)}{f': {told}' if told else ''}"
    if outcome is Outcome.INTERRUPTED:
        return f"was interrupted before {stage_words(sort_stages(steps).to_come[0].decision)}"
    deploy = next((s.decision for s in steps if s.decision.stage is Stage.DEPLOY), None)
    if deploy and deploy.action is Action.BLOCKED:
        return f"is not released: {shorten(deploy.why, MOST)}"
    stuck = Action.RUN if outcome is Outcome.ERROR else Action.BLOCKED
    return _not_done(next(s for s in steps if s.result is None and s.decision.action is stuck))


def _has_begun(view: RunView) -> bool:
    """True if something was done for this run: what is reused was done before."""
    return any(
        s.progress or (s.result and s.decision.action is not Action.REUSE) for s in view.steps
    )


def _going_on(steps: tuple[StepView, ...], *, begun: bool) -> str:
    stages = sort_stages(steps)
    left = (*stages.running, *stages.to_come)
    bad = {owner_of(s.decision.lora): None for s in stages.done if _is_bad(s)}
    facts = [f"{_listed(list(bad))} did not pass"] if bad else []
    if stages.running:
        names = [f"{s.decision.stage} of {s.decision.lora}" for s in stages.running]
        facts.append(f"{_listed(names)} {'run' if len(names) > 1 else 'runs'}")
    elif stages.to_come:
        soon = stages.to_come[0].decision
        facts.append(f"{soon.stage} of {soon.lora} is next")
    if not left and not begun:
        facts.append("nothing is to run, the report comes next")
    elif begun:
        facts.append(f"{len(stages.done)} of {counted(len(stages.done) + len(left), 'stage')} done")
    else:
        facts.append(f"{counted(len(left), 'stage')} to run")
    cost = cost_to_go(left)
    if cost and not is_guess(cost):
        facts.append(f"{hours(cost)} GPU-hours to go, going by past steps")
    return "; ".join(facts)


def _lora_going_on(steps: tuple[StepView, ...]) -> str:
    stages = sort_stages(steps)
    for step in stages.running:
        if step.progress:
            return f"runs {stage_words(step.decision)}: {progress_text(step.progress)}"
    return f"is to run {stage_words(stages.to_come[0].decision)}"


def _is_bad(step: StepView) -> bool:
    return step.result is not None and step.result.outcome is not Outcome.PASSED


def _passed(steps: tuple[StepView, ...]) -> str:
    """The furthest that a LoRA without faults has come."""
    found = details_of(steps)
    facts = []
    if release := found[Stage.DEPLOY].release:
        to = f" to {', '.join(release.channels)}" if release.channels else ""
        facts.append(f"is released as {release.version}{to}")
    total = found[Stage.QA].overall
    if total and total.score is not None:
        facts.append(f"scores {number(total.score)} (pass mark {number(total.pass_mark)})")
    done = [s for s in steps if s.result]
    if not done:
        return _not_done(steps[0])
    if not facts:
        facts.append(f"passed {done[-1].decision.stage}")
    if all(s.decision.action is Action.REUSE for s in steps):
        facts.append("nothing had to run again")
    return "; ".join(facts)


def _not_done(step: StepView) -> str:
    if step.decision.action is Action.RUN:
        return f"has no result of {stage_words(step.decision)}: what was to make one left none"
    action = WORDS.get(step.decision.action, step.decision.action)
    return f"{action} {stage_words(step.decision)}: {shorten(step.decision.why, MOST)}"


def details_of(steps: tuple[StepView, ...]) -> dict[Stage, Details]:
    """The details of every stage; empty ones for stages that have no result."""
    results = {step.decision.stage: step.result for step in steps}
    return {stage: read_details(stage, results.get(stage)) for stage in Stage}


def result_of(steps: tuple[StepView, ...], stage: Stage) -> StepResult | None:
    """The result of a stage, if there is one."""
    return next((s.result for s in steps if s.decision.stage is stage), None)


def change(details: Details) -> str:
    """What is gained against the released adapter: `identity +0.04 (−0.01 to +0.09) …`."""
    found = details.comparison
    if not found:
        return ""
    ends = between(found.low, found.high)
    pairs = f", {counted(found.pairs, 'pair')}" if found.pairs is not None else ""
    return f"{found.metric} {signed(found.difference)}" + (f" ({ends}{pairs})" if ends else "")


def recommended_weight(steps: tuple[StepView, ...]) -> float | None:
    """What `optimize` recommends, else QA, if the adapter passed, after the weights it tried."""
    found = metric(result_of(steps, Stage.OPTIMIZE), "recommended_weight")
    qa = result_of(steps, Stage.QA)
    window = read_details(Stage.QA, qa).window
    if found is not None or qa is None or qa.outcome is not Outcome.PASSED or window is None:
        return found
    return window.recommended


def _told(step: StepView) -> str:
    if step.result and step.decision.stage is Stage.QA:
        details = read_details(Stage.QA, step.result)
        decisive = [g for g in details.gates if g.outcome is step.result.outcome]
        if decisive:
            more = f" (and {counted(len(decisive) - 1, 'more gate')})" if len(decisive) > 1 else ""
            return shorten(_gate(decisive[0], details), MOST) + more
    findings = findings_of((step,))
    if not findings:
        return ""
    errors = [f for f in findings if f.severity is Severity.ERROR]
    more = f" (and {counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
    return shorten(findings[0].message, MOST - 30) + more


def _gate(gate: Gate, details: Details) -> str:
    """`overall 0.74 (0.71 to 0.77), needs >= 0.8; weakest: …`."""
    ends = between(gate.low, gate.high)
    value = NOT_MEASURED if gate.value is None else number(gate.value)
    told = f"{gate.metric} {value}{f' ({ends})' if ends else ''}, needs `{gate.condition}`"
    weakest = details.weakest
    if gate.metric != "overall" or weakest is None:
        return told
    if weakest.score is None:
        return f"{told}; {weakest.name} {weakest.why or NOT_MEASURED}"
    return f"{told}; weakest: {weakest.name} {number(weakest.score)}"


def _all_passed(view: RunView, loras: tuple[str, ...]) -> str:
    scores = []
    for lora in loras:
        total = details_of(view.of(lora))[Stage.QA].overall
        if total and total.score is not None:
            scores.append(f"{lora} scores {number(total.score)}")
    told = _listed(scores) if scores else f"all is well with {_listed(list(loras))}"
    known = all(s.decision.action is Action.REUSE for s in view.steps)
    return f"{told}; nothing had to run again" if known else told


def _listed(names: list[str]) -> str:
    """The first few, and how many more."""
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
