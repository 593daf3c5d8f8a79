"""A run's view → what came of its matrices: scores, the best, and the change of the config."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from lora_ci.app.source import Source
from lora_ci.automl.choose import choose, ranked
from lora_ci.config.settle import Unsettled, suggest_variant
from lora_ci.core.errors import LoraCIError, UsageError
from lora_ci.core.event import Trust
from lora_ci.core.metrics import OVERALL, QA_METRICS, TEST
from lora_ci.core.plan import Action, Variant
from lora_ci.core.run import RunView, StepView
from lora_ci.core.shard import owner_of, parse_shard
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.core.sweep import Standing, Suggestion, Sweep
from lora_ci.report.details import metric as metric_of
from lora_ci.report.details import read_details
from lora_ci.report.reason import result_of

LOSS = "loss"
VALIDATION_LOSS, LAST_LOSS = "validation_loss", "loss_last"
# Of these less is better; of all others that QA knows, more.
LESS_IS_BETTER = frozenset(
    (
        *(VALIDATION_LOSS, LAST_LOSS, "loss.against-base", "loss.against-half", "loss.gap"),
        *("loss.against-released", "memorization", "memorization.recalled", "leakage", "spread"),
        *("base_look", "blank", "unsafe", "latency_ratio", "size_share"),
    )
)
DIFFERENT_RULERS = (
    "judged by {} different rulers, whose figures say nothing of each other; next: take what `qa` "
    "measures with out of the matrix, and judge all on machines of one kind"
)
More = Callable[[Sequence[Sweep]], frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How the best of a matrix is looked for: by which metric, and what else is to be done.

    `more` is asked once all that was wanted is done; it names LoRAs to go on with. `early` is true
    where it does not name all.
    """

    metric: str = OVERALL
    more: More = lambda _sweeps: frozenset()
    early: bool = False


EXHAUSTIVE = Search()


def last_stage(metric: str) -> Stage:
    """The stage that gives the metric.

    Raises UsageError for a name that nothing gives: before all is trained, not after.
    """
    known = sorted({LOSS, *QA_METRICS})
    if metric not in known:
        near = get_close_matches(metric, known, n=1)
        hint = f"next: did you mean `{near[0]}`?" if near else f"next: one of {', '.join(known)}"
        raise UsageError(f"--metric {metric[:100]!r}: nothing measures that", hint=hint)
    return Stage.TRAIN if metric == LOSS else Stage.QA


def with_sweeps(view: RunView, source: Source, search: Search) -> RunView:
    """The view of a run that ended, with what came of its matrices and what to make of it."""
    if view.outcome in (None, Outcome.INTERRUPTED):
        return view
    made = sweeps_of(view, search)
    return replace(view, sweeps=tuple(_suggested(sweep, view, source) for sweep in made))


def sweeps_of(view: RunView, search: Search) -> tuple[Sweep, ...]:
    """What came of each matrix of which something was trained.

    Of one that was done in part only, nobody knows the best, unless the search meant it so.
    """
    groups: dict[str, list[Variant]] = defaultdict(list)
    asked = Counter(variant.of for variant in view.plan.variants)
    whole = {
        found.of
        for found in view.plan.sharing
        if search.early or asked[found.of] == found.configurations
    }
    steps: dict[str, list[StepView]] = defaultdict(list)
    for step in view.steps:
        if not parse_shard(step.decision.lora):
            steps[step.decision.lora].append(step)
    for name, failed in _failed_shards(view).items():
        steps[name] = [
            replace(s, result=failed) if s.decision.stage is Stage.TRAIN else s for s in steps[name]
        ]
    took = _took_s(view)
    for variant in view.plan.variants:
        if variant.of in whole and result_of(tuple(steps[variant.lora]), Stage.TRAIN):
            groups[variant.of].append(variant)
    return tuple(_sweep(of, variants, steps, took, search) for of, variants in groups.items())


def _failed_shards(view: RunView) -> Mapping[str, StepResult]:
    """By LoRA, what came of a shard that did not pass: nothing else will come of its training."""
    return {
        owner_of(step.decision.lora): step.result
        for step in view.steps
        if parse_shard(step.decision.lora)
        and step.result
        and step.result.outcome is not Outcome.PASSED
    }


def _took_s(view: RunView) -> Mapping[str, float]:
    """What was done for each LoRA in this run, its shards included."""
    took: dict[str, float] = defaultdict(float)
    for step in view.steps:
        if step.result and step.decision.action is Action.RUN:
            seconds = step.result.timings_s.get("total", 0.0)
            took[owner_of(step.decision.lora)] += max(0.0, seconds)
    return took


def _sweep(
    of: str,
    variants: Sequence[Variant],
    steps: Mapping[str, Sequence[StepView]],
    took: Mapping[str, float],
    search: Search,
) -> Sweep:
    results = [result_of(tuple(steps[v.lora]), Stage.TRAIN) for v in variants]
    name = search.metric
    if name == LOSS:
        known = all(metric_of(result, VALIDATION_LOSS) is not None for result in results)
        name = VALIDATION_LOSS if known else LAST_LOSS
    lower = name in LESS_IS_BETTER
    found = [_standing(v, steps[v.lora], name, took.get(v.lora, 0.0)) for v in variants]
    rulers = set() if _is_loss(name) else _rulers(found, steps)
    if len(rulers) > 1:
        found = [replace(standing, score=None, low=None, high=None) for standing in found]
    standings = ranked(found, lower_is_better=lower)
    best, why = choose(standings)
    if len(rulers) > 1:
        why = DIFFERENT_RULERS.format(len(rulers))
    elif best is None and (names := _measured(variants, steps)):
        why += f"; what was: {', '.join(names)}"
    return Sweep(
        of=of,
        metric=name,
        lower_is_better=lower,
        standings=standings,
        best=best.lora if best else None,
        why=why,
        early=search.early,
    )


def _measured(
    variants: Sequence[Variant], steps: Mapping[str, Sequence[StepView]]
) -> tuple[str, ...]:
    """The metrics that QA did measure: another name may have been meant."""
    results = (result_of(tuple(steps[v.lora]), Stage.QA) for v in variants)
    return tuple(sorted({name for result in results if result for name in result.metrics}))


def _rulers(
    standings: Sequence[Standing], steps: Mapping[str, Sequence[StepView]]
) -> set[str | None]:
    """The rulers by which the scores were measured; None is one that no result names."""
    results = (
        result_of(tuple(steps[standing.lora]), Stage.QA)
        for standing in standings
        if standing.score is not None
    )
    return {read_details(Stage.QA, result).ruler for result in results}


def _is_loss(metric: str) -> bool:
    """True for what a training measures itself."""
    return metric in (VALIDATION_LOSS, LAST_LOSS)


def _standing(variant: Variant, steps: Sequence[StepView], metric: str, took_s: float) -> Standing:
    whole = tuple(steps)
    train, qa = (result_of(whole, stage) for stage in (Stage.TRAIN, Stage.QA))
    by_loss = _is_loss(metric)
    judged = train if by_loss else qa or _unless_passed(train)
    score, low, high = _score(train if by_loss else qa, metric)
    return Standing(
        lora=variant.lora,
        values=variant.values,
        score=score,
        low=low,
        high=high,
        outcome=judged.outcome if judged else None,
        images_seen=metric_of(train, "images_seen"),
        took_s=took_s,
    )


def _unless_passed(result: StepResult | None) -> StepResult | None:
    return result if result and result.outcome is not Outcome.PASSED else None


def _score(
    result: StepResult | None, metric: str
) -> tuple[float | None, float | None, float | None]:
    """A metric of a result with the ends of its interval, as far as they are known.

    Metrics have the names that gates use: `identity`, and `score.identity` for the test's score.
    """
    if _is_loss(metric):
        return metric_of(result, metric), None, None
    found = read_details(Stage.QA, result)
    if metric == OVERALL:
        total = found.overall
        return (total.score, total.low, total.high) if total else (None, None, None)
    for test in found.tests:
        if f"{TEST}{test.name}" == metric:
            return test.score, test.low, test.high
    gate = next((gate for gate in found.gates if gate.metric == metric), None)
    ends = (gate.low, gate.high) if gate else (None, None)
    return metric_of(result, metric), *ends


def _suggested(sweep: Sweep, view: RunView, source: Source) -> Sweep:
    """The sweep with the change of the config that it asks for, or why there is none."""
    try:
        return replace(sweep, suggestion=_suggestion(sweep, view, source))
    except (Unsettled, LoraCIError) as reason:
        return replace(sweep, unsuggested=str(reason))


def _suggestion(sweep: Sweep, view: RunView, source: Source) -> Suggestion:
    if not sweep.passed or sweep.best is None:
        raise Unsettled("none passed" if sweep.best else "there is no best")
    if view.outcome is Outcome.ERROR:
        raise Unsettled("some configurations could not be done, and one of them may be better")
    if view.event.trust is not Trust.TRUSTED:
        raise Unsettled("a foreign push gets no suggestions")
    written = source.written(view.event)
    if written is None or sweep.best not in written.config.loras:
        raise Unsettled("the config is not that of a commit")
    return suggest_variant(written.config, written.config.loras[sweep.best], written.read)
