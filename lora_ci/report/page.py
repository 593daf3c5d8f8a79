"""The report of a run: one self-contained HTML page, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html

from lora_ci.core.finding import Finding
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Stage
from lora_ci.report.charts import bar_chart, line_chart
from lora_ci.report.comment import VERDICTS
from lora_ci.report.text import clean, outcome_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5b6675;--paper:#fff;--card:#f5f6f8;
--rule:#d9dde3;
--accent:#2f6fde;--error:#c2303b;--warning:#a86a00}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa5b4;--paper:#14171c;
--card:#1d2229;
--rule:#323a45;--accent:#7aa7ff;--error:#ff7b85;--warning:#e5b04c}
}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--paper);
color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1rem 0 .3rem}
.dim{color:var(--dim);font-size:.9rem}
section{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;
padding:.2rem 1rem 1rem;
margin-top:1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--rule)}
ul{padding-left:1.2rem}
li{margin:.3rem 0}
.error b{color:var(--error)}
.warning b{color:var(--warning)}
code{font-size:.88em}
svg{width:100%;max-width:40rem;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--dim)}
.axis{stroke:var(--rule)}
.line{fill:none;stroke:var(--accent);stroke-width:2}
.bar{fill:var(--accent)}
@media(max-width:40rem){thead{display:none}
tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
td{display:inline;border:0;padding:0 .5rem 0 0}
}
"""


def render_page(view: RunView) -> str:
    """The whole page."""
    title = f"lora-ci: {view.outcome}"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style>"
    )
    change = f"pull request {view.event.number}, " if view.event.number else ""
    intro = (
        f"<h1>{VERDICTS[view.outcome]}</h1>"
        f'<p class="dim">{change}commit {text(view.event.head[:7])}, {text(view.started_at)}, '
        f"{view.duration_s:.1f} s, run {text(view.run_id)}</p>"
    )
    body = [intro, _steps(view), _findings("Config and inputs", view.plan.findings)]
    body += [_lora(lora, view.of(lora)) for lora in view.loras()]
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'
    )


def text(value: object) -> str:
    """Foreign text, safe in HTML."""
    return html.escape(clean(str(value)))


def _steps(view: RunView) -> str:
    rows = []
    for step in view.steps:
        word, figures = outcome_text(step)
        cells = (step.decision.lora, step.decision.stage, word, figures)
        rows.append("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in cells) + "</tr>")
    head = "<thead><tr><th>LoRA<th>stage<th>result<th>why</tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _lora(name: str, steps: tuple[StepView, ...]) -> str:
    parts = [f"<h2>{text(name)}</h2>"]
    for step in steps:
        if step.result:
            parts.append(_step(step))
    return f"<section>{''.join(parts)}</section>"


def _step(step: StepView) -> str:
    result = step.result
    if result is None:
        return ""
    stage = step.decision.stage
    parts = [f"<h3>{stage}</h3>", _findings("", result.findings)]
    if stage is Stage.TRAIN:
        points = [(float(x), float(y)) for x, y in result.details.get("loss", [])]
        parts.append(line_chart(points, "training loss by step", "steps"))
    if stage is Stage.VALIDATE:
        words = result.details.get("statistics", {}).get("words", [])
        bars = [(clean(str(word)), float(times)) for word, times in words[:10]]
        parts.append("<p class='dim'>captions that hold a word</p>" if bars else "")
        parts.append(bar_chart(bars, "captions that hold a word"))
    rows = "".join(f"<tr><td>{text(k)}<td>{v:g}</tr>" for k, v in sorted(result.metrics.items()))
    fingerprint = step.decision.fingerprint
    if fingerprint:
        rows += "".join(
            f"<tr><td>{text(k)}<td><code>{text(v)}</code></tr>"
            for k, v in {"fingerprint": fingerprint.value, **fingerprint.parts}.items()
        )
    return f"{''.join(parts)}<details><summary>figures</summary><table>{rows}</table></details>"


def _findings(title: str, findings: tuple[Finding, ...]) -> str:
    if not findings:
        return ""
    items = []
    for finding in findings:
        where = f"<code>{text(finding.location())}</code> " if finding.file else ""
        hint = f'<br><span class="dim">→ {text(finding.hint)}</span>' if finding.hint else ""
        items.append(
            f'<li class="{finding.severity}"><b>{finding.severity}</b> {where}'
            f'{text(finding.message)} <span class="dim">{text(finding.rule)}</span>{hint}</li>'
        )
    head = f"<h2>{text(title)}</h2>" if title else ""
    return f"{head}<ul>{''.join(items)}</ul>"
