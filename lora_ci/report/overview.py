"""The table of LoRAs: an icon a stage, score, change against the released, time and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.estimate import GPU_STAGES
from lora_ci.report.details import metric
from lora_ci.report.figures import counted, duration, number, plain, shorten, signed
from lora_ci.report.markdown import escape, folded, meter, table
from lora_ci.report.progress import (
    cost_to_go,
    done_share,
    is_guess,
    percent,
    progress_text,
    sort_stages,
)
from lora_ci.report.reason import VERDICTS, details_of, lora_outcome
from lora_ci.report.text import hours

SHOWN_LORAS = 12
SHOWN_RUNNING = 4
SHOWN_SHARDS = 8
RUNNING, TO_COME, BLOCKED, REUSED, LOST = "🔄", "⏳", "⛔", "♻️", "⚠️"
# What the icons mean that do not speak for themselves.
LEGEND = {REUSED: "reused", RUNNING: "runs now", TO_COME: "to come", BLOCKED: "blocked"}
GUESS = "GPU-hours: a wide guess, as nothing of the kind ran before"

Cell = Callable[[str], str]


def render_overview(view: RunView) -> list[str]:
    """A row a LoRA; among many, what did not pass first, and what nothing happened to folded.

    Below it is a row for each of its shards, if one was to be trained. Configurations of a matrix
    that is told as a whole are folded too.
    """
    loras = view.loras()
    if not loras:
        return []
    tried = {standing.lora for sweep in view.sweeps for standing in sweep.standings}
    told = tuple(lora for lora in loras if lora not in tried)
    if len(told) > SHOWN_LORAS:
        news = [lora for lora in told if not _is_known(view, lora)]
        news.sort(key=lambda lora: lora_outcome(view, lora) in (None, Outcome.PASSED))
        told = tuple(news[:SHOWN_LORAS])
    rest = tuple(lora for lora in loras if lora not in told)
    lines = [*_table(view, told), ""] if told else []
    if rest:
        lines += folded(f"{counted(len(rest), 'more LoRA')}", _table(view, rest))
    return [*lines, *_legend(view, lines), *_running(view)]


def _is_known(view: RunView, lora: str) -> bool:
    """True if all of it passed before, so that nothing was to be done."""
    steps = view.whole(lora)
    reused = all(s.decision.action is Action.REUSE for s in steps)
    return reused and lora_outcome(view, lora) is Outcome.PASSED


def _table(view: RunView, loras: Sequence[str]) -> list[str]:
    """Columns that would be empty in every row are left out. A LoRA's row sums up its shards'."""
    stages = [s for s in Stage if any(step.decision.stage is s for step in view.steps)]
    columns: list[tuple[str, Cell]] = [
        ("LoRA", partial(_name, view)),
        ("score", lambda lora: _score(view.of(lora))),
        ("against released", lambda lora: _against_released(view.of(lora))),
        *((str(stage), _stage_cell(view, stage)) for stage in stages),
        ("time", lambda lora: _time(view.whole(lora) or view.of(lora))),
        ("GPU-hours", lambda lora: _cost(view.whole(lora) or view.of(lora))),
    ]
    names = [name for lora in loras for name in (lora, *_shown_shards(view, lora))]
    rows = [[cell(name).replace(" ", "\u00a0") for _, cell in columns] for name in names]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    heads = [columns[i][0].replace(" ", "\u00a0") for i in kept]
    return table(heads, [[row[i] for i in kept] for row in rows])


def _shown_shards(view: RunView, lora: str) -> list[str]:
    """Those to tell of: the first few, and all that did not pass."""
    steps = view.shards(lora)
    if all(step.decision.action is Action.REUSE for step in steps):
        return []
    return [
        step.decision.lora
        for i, step in enumerate(steps)
        if i < SHOWN_SHARDS or (step.result and step.result.outcome is not Outcome.PASSED)
    ]


def _name(view: RunView, lora: str) -> str:
    shard = parse_shard(lora)
    if shard is None:
        return f"{_lora_icon(view, lora)} {escape(shorten(lora, 60))}"
    last = _shown_shards(view, shard.of)[-1] == lora
    left = len(view.shards(shard.of)) - len(_shown_shards(view, shard.of)) if last else 0
    return f"↳ {shard.words}" + (f", and {left} more" if left else "")


def _lora_icon(view: RunView, lora: str) -> str:
    outcome = lora_outcome(view, lora)
    if outcome is not None:
        return VERDICTS[outcome].split()[0]
    return RUNNING if sort_stages(view.whole(lora)).running else TO_COME


def _stage_cell(view: RunView, stage: Stage) -> Cell:
    def cell(lora: str) -> str:
        step = next((s for s in view.of(lora) if s.decision.stage is stage), None)
        return f"{_icon(step, view.outcome)} {_fact(step)}".rstrip() if step else ""

    return cell


def _icon(step: StepView, outcome: Outcome | None) -> str:
    action, result = step.decision.action, step.result
    if result:
        known = action is Action.REUSE and result.outcome is Outcome.PASSED
        return REUSED if known else VERDICTS[result.outcome].split()[0]
    if action is Action.BLOCKED:
        return BLOCKED
    if step.progress:
        return RUNNING
    if outcome is None:
        return TO_COME
    return LOST if action is Action.RUN else "–"


def _fact(step: StepView) -> str:
    """What a stage has to say in a word."""
    if step.progress and step.result is None:
        return percent(step.progress)
    if step.decision.stage is Stage.OPTIMIZE:
        weight = metric(step.result, "recommended_weight")
        return "" if weight is None else plain(weight)
    release = details_of((step,))[Stage.DEPLOY].release
    return escape(release.version) if release else ""


def _score(steps: tuple[StepView, ...]) -> str:
    total = details_of(steps)[Stage.QA].overall
    return f"**{number(total.score)}**" if total and total.score is not None else ""


def _against_released(steps: tuple[StepView, ...]) -> str:
    found = details_of(steps)[Stage.QA].comparison
    return f"{escape(shorten(found.metric, 24))} {signed(found.difference)}" if found else ""


def _time(steps: tuple[StepView, ...]) -> str:
    took = sum(took_s(s) for s in steps)
    return duration(took) if took else ""


def took_s(step: StepView) -> float:
    """What a step took that was made for this run."""
    if step.result is None or step.decision.action is Action.REUSE:
        return 0.0
    seconds = step.result.timings_s.get("total", 0.0)
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _cost(steps: tuple[StepView, ...]) -> str:
    """`0.12` of what has ended, `0.3–0.5` of what is to come, `0.12 + 0.3–0.5` of both."""
    on_gpu = [s for s in steps if s.decision.stage in GPU_STAGES and s.decision.estimate]
    spent = sum(map(took_s, on_gpu)) / 3600
    to_come = cost_to_go(steps)
    parts = [f"{spent:.2f}" if spent >= 0.005 else "< 0.01"] if spent else []
    return " + ".join([*parts, *([hours(to_come)] if to_come else [])])


def _legend(view: RunView, lines: Sequence[str]) -> list[str]:
    drawn = "\n".join(lines)
    told = [f"{icon} {meaning}" for icon, meaning in LEGEND.items() if icon in drawn]
    cost = cost_to_go(view.steps)
    told += [GUESS] if cost and is_guess(cost) else []
    return [f"<small>{' · '.join(told)}</small>", ""] if told else []


def _running(view: RunView) -> list[str]:
    """A bar for each step that runs now."""
    running = sort_stages(view.steps).running
    lines = [_bar(step) for step in running[:SHOWN_RUNNING]]
    if len(running) > SHOWN_RUNNING:
        lines.append(f"- … and {counted(len(running) - SHOWN_RUNNING, 'step')} more")
    return [*lines, ""] if lines else []


def _bar(step: StepView) -> str:
    progress, decision = step.progress, step.decision
    name = f"- {RUNNING} {decision.stage} of **{escape(shorten(decision.lora, 60))}**"
    if progress is None:
        return name
    share = done_share(progress)
    drawn = "" if share is None else f" `{meter(share)}\u00a0{percent(progress)}`"
    return f"{name}{drawn} {escape(shorten(progress_text(progress), 120))}"
