"""A dataset as one page that loads nothing from elsewhere: what is wrong first, then all of it.

All can be read without its scripts; they filter the pictures and enlarge them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.gallery import ORDER, Card, Gallery
from lora_ci.dataset.judge import BLUR_FLOOR
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.page_parts import FILTER, PAGE_STYLE, POLICY
from lora_ci.dataset.validate import Validation
from lora_ci.report.charts import histogram, word_bars
from lora_ci.report.figures import counted, shorten
from lora_ci.report.markup import document, facts, folded, prose, table, text
from lora_ci.report.picture import LARGE, Preview, picture
from lora_ci.report.script import SCRIPT
from lora_ci.report.style import STYLE

SHOWN_PLACES = 12
MOST_FOLDERS = 20
MOST_WORDS = 20
LONGEST_NAME = 80
LONGEST_CAPTION = 600
MOST_LINES = 6
LUMA = np.array([0.299, 0.587, 0.114])
NOUNS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """All findings of one rule: how many there were, those that are kept, and its severity."""

    name: str
    severity: Severity
    count: int
    findings: tuple[Finding, ...]


def render_dataset(
    name: str, validation: Validation, gallery: Gallery, previews: Mapping[str, Preview]
) -> str:
    """The page of a folder called `name`; previews are by the sha256 of the pictures."""
    rules = _rules(validation)
    rest = "".join(_figure(card, previews) for card in gallery.rest)
    groups = "".join(_group(group, previews) for group in gallery.groups)
    body = [
        _top(name, validation),
        _found(rules, gallery),
        _statistics(validation),
        _filter(rules, gallery, len(validation.seen.images)),
        f"<section><h2>Look-alikes</h2><p class='dim'>The first of each group is the one to keep; "
        f"references are held out.</p>{groups}</section>"
        if groups
        else "",
        f'<section><h2>Pictures</h2><div class="sheet">{rest}</div></section>' if rest else "",
        LARGE,
        f"<script>{SCRIPT}</script><script>{FILTER}</script>",
    ]
    title = f"lora-ci: dataset {text(name)}"
    return document(title, "".join(body), style=STYLE + PAGE_STYLE, policy=POLICY)


def _rules(validation: Validation) -> list[Rule]:
    """What was found by rule, the worst first, then the most."""
    counts: Mapping[str, int] = validation.statistics["rules"]
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in validation.findings:
        found[one.rule].append(one)
    rules = [
        Rule(
            name=rule,
            severity=min((one.severity for one in several), key=ORDER.index),
            count=counts[rule],
            findings=tuple(several),
        )
        for rule, several in found.items()
    ]
    return sorted(rules, key=lambda rule: (ORDER.index(rule.severity), -rule.count, rule.name))


def _top(name: str, validation: Validation) -> str:
    figures, seen = validation.metrics, validation.seen
    errors, warnings = int(figures["errors"]), int(figures["warnings"])
    kind, sign = ("failed", "✗") if errors else ("passed", "✓")
    told = counted(errors, "error") if errors else "no errors"
    lead = (
        "It is not trained on as it stands: errors come first below."
        if errors
        else "Nothing stands in the way of training."
    )
    if warnings:
        lead += f" {counted(warnings, 'warning')} to look at."
    alike = sum(len(group) - 1 for group in seen.groups)
    rows = [
        ("pictures", f"{len(seen.images):,}"),
        ("captions", f"{len(seen.captions):,}"),
        *([("held-out references", f"{len(seen.references):,}")] if seen.references else []),
        ("look-alikes of others", f"{alike:,}"),
    ]
    if "effective_images" in figures:
        rows.append(("worth as many different ones as", f"{figures['effective_images']:.1f}"))
    if "tokens_max" in figures:
        rows.append(("longest caption", f"{counted(int(figures['tokens_max']), 'token')}"))
    return (
        f'<header><p class="brand">lora-ci dataset</p><h1><span class="sign {kind}">{sign}</span> '
        f'{text(name)}: {told}</h1><p class="lead">{lead}</p>{facts(rows)}</header>'
    )


def _found(rules: Sequence[Rule], gallery: Gallery) -> str:
    """One line a rule, with the places where it was found: links to pictures that are shown."""
    if not rules:
        return "<section><h2>Found</h2><p>Nothing.</p></section>"
    numbers = {found: card.number for card in gallery.own for found in card.findings}
    lines = [_rule(rule, numbers) for rule in rules]
    return f'<section><h2>Found</h2><ul class="found">{"".join(lines)}</ul></section>'


def _rule(rule: Rule, numbers: Mapping[Finding, int | None]) -> str:
    first = rule.findings[0]
    such_as = "such as: " if len({one.message for one in rule.findings}) > 1 else ""
    hint = f'<p class="dim">→ {prose(first.hint)}</p>' if first.hint else ""
    message = prose(shorten(first.message, 300))
    places = [_place(one, numbers) for one in rule.findings if one.file]
    more = len(places) - SHOWN_PLACES
    rest = ", ".join(places[SHOWN_PLACES:])
    shown = f"<p>{', '.join(places[:SHOWN_PLACES])}</p>" if places else ""
    # Some findings of a rule are told without a place: of the whole set, or how many more.
    told = [one for one in rule.findings[1:] if not one.file]
    others = "".join(f'<p class="dim">{prose(one.message)}</p>' for one in told)
    return (
        f'<li class="{rule.severity}" data-rule="{text(rule.name)}"><b>{rule.count:,} × '
        f"{text(rule.name)}</b> {such_as}{message}{hint}{shown}"
        f"{folded(f'{more:,} more places', rest)}{others}</li>"
    )


def _place(found: Finding, numbers: Mapping[Finding, int | None]) -> str:
    """Where something was found; a link if that picture is shown."""
    place = text(shorten(found.location(), LONGEST_NAME))
    number = numbers.get(found)
    return f"<code>{place}</code>" if number is None else f'<a href="#p{number}">{place}</a>'


def _statistics(validation: Validation) -> str:
    good = [one for one in validation.seen.images.values() if one.figures]
    figures = [one.figures for one in good if one.figures]
    told = validation.statistics
    settings = ValidateSettings()
    tokens, words = _spread(told["caption_tokens"]), _spread(told["caption_words"])
    bars = [(shorten(str(word), 40), count) for word, count in told["words"][:MOST_WORDS]]
    sides = [min(one.width, one.height) for one in good]
    plots = [
        ("Sizes", word_bars(list(told["sizes"].items()))),
        (
            "Shorter side",
            histogram(
                sides, "pixels", at=(f"least allowed: {settings.min_side}", settings.min_side)
            ),
        ),
        (
            "Shapes",
            histogram(
                [one.width / one.height for one in good], "width / height", left=0.5, right=2
            ),
        ),
        (
            "Brightness",
            histogram([_brightness(one) for one in good], "mean level", left=0, right=255),
        ),
        ("Color", histogram([one.chroma for one in figures], "mean distance from gray", left=0)),
        (
            "Sharpness",
            histogram(
                [one.blur for one in figures],
                "edge strength lost to one more blur",
                left=0,
                right=1,
                at=(f"blurred below {BLUR_FLOOR}", BLUR_FLOOR),
            ),
        ),
        ("Tokens a caption", histogram(tokens, "tokens", left=0)),
        ("Words a caption", histogram(words, "words", left=0)),
        ("Words in most captions", word_bars(bars)),
    ]
    drawn = "".join(f"<div><h3>{name}</h3>{plot}</div>" for name, plot in plots if plot)
    folders = [
        (f"<code>{text(name or '.')}</code>", f"{images:,}", f"{captions:,}")
        for name, images, captions in told["folders"][:MOST_FOLDERS]
    ]
    listed = table(("folder", "pictures", "captions"), folders) if len(folders) > 1 else ""
    if not drawn:
        return ""
    return f'<section><h2>Statistics</h2><div class="plots">{drawn}</div>{listed}</section>'


def _spread(counts: Sequence[int]) -> list[float]:
    """How many captions have 0, 1, 2, … → the length of each."""
    return [float(length) for length, count in enumerate(counts) for _ in range(count)]


def _brightness(measured: Measured) -> float:
    """Mean luma, 0 to 255."""
    assert measured.thumbnails is not None  # it was decoded
    return float((measured.thumbnails[0] @ LUMA).mean())


def _filter(rules: Sequence[Rule], gallery: Gallery, total: int) -> str:
    """The choice of what is shown; a script brings it to light."""
    cards, shown = gallery.own, len(gallery.own)
    left_out = (
        f"<p>The {shown:,} worst of {counted(total, 'picture')} are shown (<code>--max</code>).</p>"
        if shown < total
        else ""
    )
    having = Counter(rule for card in cards for rule in {one.rule for one in card.findings})
    kinds = Counter(kind for card in cards for kind in {one.severity for one in card.findings})
    severities = [(str(kind), f"{NOUNS[kind]}s ({kinds[kind]:,})") for kind in ORDER if kinds[kind]]
    clean = sum(not card.findings for card in cards)
    if clean:
        severities.append(("none", f"nothing found ({clean:,})"))
    named = [(r.name, f"{r.name} ({having[r.name]:,})") for r in rules if having[r.name]]
    return (
        f'<section class="filter">{left_out}<div class="picks" hidden>'
        f"<label>with <select>{_options('all', severities)}</select></label>"
        f"<label>found <select>{_options('anything', named)}</select></label>"
        '<label>name or caption <input type="search"></label>'
        '<output class="dim"></output></div></section>'
    )


def _options(everything: str, options: Sequence[tuple[str, str]]) -> str:
    every = [("", everything), *options]
    return "".join(f'<option value="{text(v)}">{text(name)}</option>' for v, name in every)


def _group(group: Sequence[Card], previews: Mapping[str, Preview]) -> str:
    return f'<div class="sheet alike">{"".join(_figure(card, previews) for card in group)}</div>'


def _figure(card: Card, previews: Mapping[str, Preview]) -> str:
    measured = card.measured
    name = text(shorten(card.name, LONGEST_NAME))
    known = [f"{measured.width} × {measured.height}"] if measured.width else []
    known += [text(measured.kind)] if measured.kind else []
    if card.number is None:
        attributes, known = 'class="card reference"', ["reference", *known]
    else:
        worst = card.findings[0].severity if card.findings else "none"
        kinds = " ".join(dict.fromkeys(one.severity for one in card.findings)) or "none"
        rules = " ".join(dict.fromkeys(text(one.rule) for one in card.findings))
        attributes = (
            f'class="card {worst}" id="p{card.number}" data-kinds="{kinds}" data-rules="{rules}"'
        )
    found = "".join(_item(one) for one in card.findings)
    alt = f"{card.name}: {card.caption}" if card.caption else card.name
    frame = (
        picture(previews.get(measured.sha256), shorten(alt, 300))
        if measured.hashes is not None
        else '<span class="missing">not decoded</span>'
    )
    caption = _caption(card) if card.number is not None else ""
    return (
        f'<figure {attributes}><div class="frame">{frame}</div><figcaption>'
        f'<b class="name">{name}</b><span class="dim">{" · ".join(known)}</span>{caption}'
        f"{f'<ul>{found}</ul>' if found else ''}</figcaption></figure>"
    )


def _item(found: Finding) -> str:
    hint = f' title="{text(found.hint)}"' if found.hint else ""
    return (
        f'<li class="{found.severity}"{hint}><b>{found.severity}</b> '
        f'{prose(shorten(found.message, 300))} <span class="dim">{text(found.rule)}</span></li>'
    )


def _caption(card: Card) -> str:
    if card.caption is None:
        return '<p class="dim">no caption</p>'
    lines = shorten(card.caption, LONGEST_CAPTION).splitlines()
    return f'<p class="caption">{"<br>".join(text(line) for line in lines[:MOST_LINES])}</p>'
