"""The report of a run: one self-contained HTML page that loads nothing from elsewhere.

At a glance first, then one section a LoRA: errors, what QA measured, its pictures, the weight to
use, the release, the training, what else was found, and every figure and fingerprint. One script,
known by its digest, enlarges pictures and slides one over another; all is seen without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.charts import Line, line_chart, score_bar, word_bars
from lora_ci.report.details import Details, Release, ReleaseTarget, Strength, read_details
from lora_ci.report.figures import counted, duration, number, plain, shorten, size
from lora_ci.report.findings import Fault, faults, findings_of
from lora_ci.report.gallery import gallery
from lora_ci.report.judgement import how_it_was_measured, judgement
from lora_ci.report.markup import document, folded, pairs, prose, table, text
from lora_ci.report.picture import LARGE, Preview
from lora_ci.report.progress import percent
from lora_ci.report.reason import (
    details_of,
    lora_outcome,
    lora_reason,
    reason,
    recommended_weight,
    result_of,
    verdict,
)
from lora_ci.report.script import SCRIPT, SCRIPT_SOURCE
from lora_ci.report.strip import strength_strip
from lora_ci.report.style import STYLE
from lora_ci.report.sweep_page import sweep_section
from lora_ci.report.text import SIGNS, outcome_text, stage_words
from lora_ci.report.training import training_section
from lora_ci.report.trend import render_changes_page
from lora_ci.report.twins import twins

POLICY = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {SCRIPT_SOURCE}"
PREVIEWS = (
    "Pictures are previews of few pixels, so that all fit into one page; the originals are "
    "artifacts of the run, kept by sha256."
)
MOST_FAULTS = 500
MOST_PLACES = 500
SHOWN_PLACES = 6
MOST_FILES = 100
MOST_STRENGTHS = 50
MOST_WORDS = 12


def render_page(view: RunView, pictures: Mapping[str, Preview] | None = None) -> str:
    """The whole page; `pictures` gives previews by sha256."""
    sweeps = [sweep_section(sweep, view.plan) for sweep in view.sweeps]
    body = [_top(view), *sweeps, _glance(view), render_changes_page(view)]
    if view.plan.findings:
        found = _findings(view.plan.findings)
        body.append(f"<section><h2>Config and inputs</h2>{found}</section>")
    for i in range(len(view.loras())):
        body.append(_lora(view, i, pictures or {}))
    if pictures:
        body += [f'<p class="dim">{PREVIEWS}</p>', LARGE, f"<script>{SCRIPT}</script>"]
    return document(f"lora-ci: {_word(view)}", "".join(body), style=STYLE, policy=POLICY)


def _top(view: RunView) -> str:
    change = f"pull request {view.event.number} · " if view.event.number else ""
    tag = f"tag {text(view.event.tag)} · " if view.event.tag else ""
    commit = f"commit <code>{text(view.event.head[:7])}</code> · " if view.event.head else ""
    when = text(view.started_at.replace("T", " ").replace("+00:00", " UTC"))
    return (
        f'<header><p class="brand">lora-ci</p>'
        f'<h1><span class="sign {view.outcome or "running"}">{SIGNS[view.outcome]}</span> '
        f"{_word(view)}</h1>"
        f'<p class="lead">{prose(reason(view))}</p>'
        f'<p class="dim">{change}{tag}{commit}{when} · '
        f"{duration(view.duration_s)} · run <code>{text(view.run_id)}</code></p></header>"
    )


def _word(view: RunView) -> str:
    """The verdict without its icon."""
    return verdict(view).split(" ", 1)[1]


def _glance(view: RunView) -> str:
    """A line a LoRA: score and stages; below, what ran and why."""
    rows = []
    for i, lora in enumerate(view.loras()):
        steps = view.of(lora)
        total = details_of(steps)[Stage.QA].overall
        score = total.score if total else None
        chips = "".join(_stage_chip(step) for step in view.whole(lora))
        rows.append(
            f'<a href="#lora-{i}"><b>{text(lora)}</b></a>'
            f'<span class="value"><b>{"" if score is None else number(score)}</b></span>'
            f'<span class="meter">{score_bar(total) if total and score is not None else ""}</span>'
            f'<span class="chips">{chips}</span>'
        )
    why = [
        (text(s.decision.lora), str(s.decision.stage), *(prose(t) for t in outcome_text(s)))
        for s in view.steps
    ]
    table_of_stages = table(("LoRA", "stage", "result", "why"), why)
    judged = any(details_of(view.of(lora))[Stage.QA].judged for lora in view.loras())
    return (
        f'<section><div class="glance">{"".join(rows)}</div>'
        f"{folded('what ran and why', table_of_stages, is_open=not judged)}</section>"
    )


def _stage_chip(step: StepView) -> str:
    decision, result = step.decision, step.result
    shard = parse_shard(decision.lora)
    name = shard.words if shard else decision.stage
    if result is None:
        state = f"running {percent(step.progress)}" if step.progress else decision.action
        return f'<span class="chip idle">{name} {state}</span>'
    reused = " ↺" if decision.action is Action.REUSE else ""
    sign = outcome_text(step)[0].split()[0]
    return f'<span class="chip {result.outcome}">{sign} {name}{reused}</span>'


def _lora(view: RunView, index: int, pictures: Mapping[str, Preview]) -> str:
    name = view.loras()[index]
    steps, outcome = view.of(name), lora_outcome(view, name)
    found = details_of(steps)
    whole = view.whole(name)
    findings = findings_of(whole)
    errors = [f for f in findings if f.severity is Severity.ERROR]
    rest = [f for f in findings if f.severity is not Severity.ERROR]
    qa, judged = result_of(steps, Stage.QA), found[Stage.QA]
    votes = [vote for vote in view.votes if vote.lora == name]
    missing = [f"{stage}: {name}" for stage in Stage for name in found[stage].unreadable]
    parts = [
        f"<h2>{text(name)} {_chip(outcome)}</h2>",
        "" if errors else f"<p>{prose(lora_reason(view, name))}</p>",
        f"<p><b>Not readable in the results:</b> {text(', '.join(missing))}</p>" if missing else "",
        _findings(errors),
        judgement(judged, qa.outcome, votes) if qa else "",
    ]
    if qa and judged.pictures:
        parts.append(f"<h3>Pictures</h3>{gallery(judged.pictures, qa, pictures)}")
    parts += [
        strength_strip(judged, qa, pictures, recommended_weight(steps)),
        twins(judged, qa, pictures),
        how_it_was_measured(judged),
        _strengths(found[Stage.OPTIMIZE].curve, recommended_weight(steps)),
        _release(found[Stage.DEPLOY].release),
        training_section(found[Stage.TRAIN], result_of(steps, Stage.TRAIN), pictures),
        *(_shard(step, pictures) for step in view.shards(name)),
        _dataset(found[Stage.VALIDATE]),
        f"<h3>Also found</h3>{_findings(rest)}" if rest else "",
        *(_traceback(step) for step in whole),
        folded("figures, config and fingerprints", "".join(_figures(step) for step in whole)),
    ]
    return f'<section id="lora-{index}">{"".join(parts)}</section>'


def _chip(outcome: Outcome | None) -> str:
    return f'<span class="chip {outcome or "idle"}">{outcome or "goes on"}</span>'


def _strengths(curve: tuple[Strength, ...], recommended: float | None) -> str:
    points = sorted(curve[:MOST_STRENGTHS], key=lambda s: s.weight)
    lines = [
        Line("sound pictures", "clean", [(p.weight, p.clean) for p in points], dots=True),
        Line(
            "identity",
            "identity",
            [(p.weight, p.identity) for p in points if p.identity is not None],
            dots=True,
        ),
        Line(
            "identity in sound pictures",
            "score",
            [(p.weight, p.score) for p in points if p.score is not None],
            dots=True,
        ),
    ]
    at = None if recommended is None else (f"recommended: {plain(recommended)}", recommended)
    chart = line_chart(lines, "adapter weight", bottom=0.0, top=1.0, at=at)
    if not chart and recommended is None:
        return ""
    told = f"<p>Recommended: <b>{plain(recommended)}</b></p>" if recommended is not None else ""
    return f"<h3>Adapter weight</h3>{told}{chart}"


def _release(release: Release | None) -> str:
    if not release:
        return ""
    facts = [
        ("version", f"<b>{text(release.version)}</b>"),
        *(("target", _target(target)) for target in release.targets),
        ("signed by", f"<code>{text(release.key_id)}</code>" if release.key_id else "not signed"),
    ]
    files = [
        (f"<b>{text(file.name)}</b>", size(file.size), f"<code>{file.sha256}</code>")
        for file in release.files[:MOST_FILES]
    ]
    listed = table(("file", "size", "sha256"), files) if files else ""
    return f"<h3>Release</h3>{pairs((n, v) for n, v in facts if v)}{listed}"


def _target(target: ReleaseTarget) -> str:
    """A store, and where its channels stand: `releases: latest → 1.1.0 (move 4)`."""
    channels = (f"{c.name} → {c.version} (move {c.sequence})" for c in target.channels)
    return f"<code>{text(target.name)}</code> {text(', '.join(channels))}"


def _dataset(found: Details) -> str:
    words = found.statistics.words[:MOST_WORDS] if found.statistics else ()
    bars = word_bars([(shorten(word, 40), times) for word, times in words])
    return f"<h3>Words in captions</h3>{bars}" if bars else ""


def _findings(findings: Sequence[Finding]) -> str:
    found = faults(findings)
    items = []
    for fault in found[:MOST_FAULTS]:
        hint = f'<p class="dim">→ {prose(fault.hint)}</p>' if fault.hint else ""
        items.append(
            f'<li class="{fault.severity}"><b>{fault.severity}</b> {prose(fault.message)} '
            f'<span class="dim">{text(fault.rule)}</span>{hint}{_places(fault)}</li>'
        )
    if len(found) > MOST_FAULTS:
        items.append(f"<li>… and {counted(len(found) - MOST_FAULTS, 'more finding')}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _places(fault: Fault) -> str:
    places = [f"<code>{text(place)}</code>" for place in fault.places[:MOST_PLACES]]
    more = len(fault.places) - MOST_PLACES
    rest = places[SHOWN_PLACES:] + ([f"… and {more} more"] if more > 0 else [])
    counted_rest = f"{len(fault.places) - SHOWN_PLACES:,} more places"
    shown = "<br>".join(places[:SHOWN_PLACES])
    return (f"<p>{shown}</p>" if shown else "") + folded(counted_rest, "<br>".join(rest))


def _shard(step: StepView, pictures: Mapping[str, Preview]) -> str:
    found = read_details(Stage.TRAIN, step.result)
    told = outcome_text(step)[1] if step.result else ""
    body = training_section(found, step.result, pictures)
    return folded(f"{stage_words(step.decision)}: {prose(told)}", body)


def _traceback(step: StepView) -> str:
    trace = read_details(step.decision.stage, step.result).traceback
    body = f"<pre>{_lines(trace)}</pre>" if trace else ""
    return folded(f"traceback of {stage_words(step.decision)}", body)


def _lines(trace: str) -> str:
    return "\n".join(text(line) for line in trace[-20_000:].expandtabs().split("\n"))


def _figures(step: StepView) -> str:
    """Metrics, times and the parts of the fingerprint."""
    result, fingerprint = step.result, step.decision.fingerprint
    rows = []
    if result:
        rows += [(text(name), plain(value)) for name, value in sorted(result.metrics.items())]
        rows += [
            (f"time: {text(name)}", duration(value))
            for name, value in sorted(result.timings_s.items())
        ]
    if fingerprint:
        parts = {"fingerprint": fingerprint.value, **fingerprint.parts}
        rows += [(text(name), f"<code>{text(value)}</code>") for name, value in parts.items()]
    body = pairs(rows)
    return f"<h3>{stage_words(step.decision)}</h3>{body}" if body else ""
