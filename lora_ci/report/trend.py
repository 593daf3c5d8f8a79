"""What a change did to datasets: recorded figures of before beside those of now.

For the comment a line a LoRA, for the page a table; which files moved is told beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.run import Earlier, RunView
from lora_ci.core.step import Stage, StepResult
from lora_ci.plan.why import describe_change
from lora_ci.report.details import metric, rules_of
from lora_ci.report.figures import counted, plain, shorten
from lora_ci.report.markdown import code, escape
from lora_ci.report.markup import folded, table, text
from lora_ci.report.reason import result_of

SHOWN_TRENDS = 5
SHOWN_RULES = 4
MOST_DATASETS = 50
MOST_RULES = 50
MOST_NAMES = 200
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of before and of now; None where it was not measured."""

    name: str
    then: float | None
    now: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What became of the dataset of a LoRA; `rules` are those found more or less often than before.

    `word` is `better` or `worse` where all speaks for it.
    """

    lora: str
    figures: tuple[Figure, ...]
    rules: tuple[Figure, ...]
    word: str


def trends_of(view: RunView) -> list[Trend]:
    """Of each LoRA whose dataset changed and is on record as it was before."""
    results = [(was, result_of(view.of(was.lora), Stage.VALIDATE)) for was in view.earlier]
    return [_trend(was, result) for was, result in results if result]


def _trend(was: Earlier, result: StepResult) -> Trend:
    before = StepResult(outcome=result.outcome, metrics=dict(was.metrics))

    def figure(name: str, key: str) -> Figure:
        return Figure(name=name, then=metric(before, key), now=metric(result, key))

    figures = [
        figure("images", "images"),
        figure("different ones", "effective_images"),
        figure("errors", "errors"),
        figure("warnings", "warnings"),
        figure("most tokens", "tokens_max"),
    ]
    now: Mapping[str, int] = rules_of(result)
    rules = [
        Figure(name=rule, then=was.rules.get(rule, 0), now=now.get(rule, 0))
        for rule in sorted(was.rules.keys() | now.keys())
        if was.rules.get(rule, 0) != now.get(rule, 0)
    ]
    rules.sort(key=lambda rule: -abs((rule.now or 0) - (rule.then or 0)))
    return Trend(
        lora=was.lora,
        figures=tuple(one for one in figures if one.then is not None or one.now is not None),
        rules=tuple(rules),
        word=_word(before, result),
    )


def _word(before: StepResult, now: StepResult) -> str:
    """`better` or `worse` by errors, warnings an image and different images; else nothing."""
    then, after = _health(before), _health(now)
    if then is None or after is None or then == after:
        return ""
    if all(map(float.__ge__, after, then)):
        return "better"
    return "worse" if all(map(float.__le__, after, then)) else ""


def _health(result: StepResult) -> tuple[float, ...] | None:
    """The more of each, the better; None where something was not measured."""
    images, different = metric(result, "images"), metric(result, "effective_images")
    errors, warnings = metric(result, "errors"), metric(result, "warnings")
    if not images or different is None or errors is None or warnings is None:
        return None
    return -errors, -warnings / images, different


def render_trends_markdown(view: RunView) -> list[str]:
    """A line a LoRA, for the comment; empty where nothing is on record."""
    trends = trends_of(view)
    lines = [_line(trend) for trend in trends[:SHOWN_TRENDS]]
    if len(trends) > SHOWN_TRENDS:
        lines.append(f"… and {counted(len(trends) - SHOWN_TRENDS, 'more dataset')} in the report")
    if len(lines) < 2:
        return [*lines, ""] if lines else []
    return ["**Datasets**, before → now", "", *(f"- {line}" for line in lines), ""]


def _line(trend: Trend) -> str:
    figures = [_moved(one, escape) for one in trend.figures]
    rules = [_moved(one, lambda name: f"`{code(name)}`") for one in trend.rules[:SHOWN_RULES]]
    more = len(trend.rules) - SHOWN_RULES
    rest = f" and {counted(more, 'more rule')}" if more > 0 else ""
    told = f"; {', '.join(rules)}{rest}" if rules else ""
    word = f" is {trend.word}" if trend.word else ""
    return f"Dataset of **{escape(shorten(trend.lora, 60))}**{word}: {', '.join(figures)}{told}"


def _moved(figure: Figure, name: Callable[[str], str]) -> str:
    """`images 80 → 83`, or `images 80` where nothing moved."""
    then, now = _number(figure.then), _number(figure.now)
    return f"{name(figure.name)} {now if then == now else f'{then} → {now}'}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return plain(value) if value == value // 1 else f"{value:.1f}"


def render_changes_page(view: RunView) -> str:
    """The section of what changed: the files, and the figures of before and now."""
    changes = view.plan.changes
    if changes.base is None or not changes.datasets:
        return ""
    since = text(changes.base[:7])
    datasets = "".join(_dataset(change) for change in changes.datasets[:MOST_DATASETS])
    trends = "".join(map(_table, trends_of(view)))
    return f"<section><h2>Data since {since}</h2>{_left_out(changes)}{datasets}{trends}</section>"


def _left_out(changes: ChangeSet) -> str:
    more = len(changes.datasets) - MOST_DATASETS
    return (
        f'<p class="dim">The first {MOST_DATASETS} are shown, {more} are not.</p>'
        if more > 0
        else ""
    )


def _dataset(change: DatasetChange) -> str:
    told = describe_change(change) if change else "the same files as before, under another path"
    renamed = [f"{old} → {new}" for old, new in change.renamed]
    kinds: dict[str, Sequence[str]] = {
        "added": change.added,
        "removed": change.removed,
        "edited": change.modified,
        "renamed": renamed,
    }
    lists = "".join(
        folded(f"{len(names):,} {kind}", _names(names)) for kind, names in kinds.items()
    )
    return f"<p><code>{text(change.dataset)}</code>: {text(told)}</p>{lists}"


def _names(names: Sequence[str]) -> str:
    shown = [f"<code>{text(shorten(name, LONGEST_NAME))}</code>" for name in names[:MOST_NAMES]]
    if len(names) > MOST_NAMES:
        shown.append(f"… and {len(names) - MOST_NAMES:,} more")
    return "<br>".join(shown)


def _table(trend: Trend) -> str:
    word = f" is {trend.word}" if trend.word else ""
    rows = [
        (name, _number(one.then), _number(one.now))
        for one, name in (
            *((figure, text(figure.name)) for figure in trend.figures),
            *((rule, f"<code>{text(rule.name)}</code>") for rule in trend.rules[:MOST_RULES]),
        )
    ]
    return f"<h3>Dataset of {text(trend.lora)}{word}</h3>{table(('', 'before', 'now'), rows)}"
