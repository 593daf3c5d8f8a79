"""All pictures of a build in one self-contained page: chosen, held out, left out, and why."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.dataset.build_plan import FOLDERS, BuildPlan, Fate, Picture
from lora_ci.report.figures import counted, shorten
from lora_ci.report.markup import document, text

# Of each kind, chosen or left out: the rest is in the datasheet.
MOST_CHOSEN, MOST_LEFT_OUT = 1000, 300
LONGEST_NAME = 80
LONGEST_REASON = 240
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--dim:#5d6878;--paper:#f4f5f8;--card:#fff;
--rule:#e0e4ea;--track:#e8ebf0;--good:#187048;--weak:#8f5500;--bad:#c2303b}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9f0;--dim:#98a3b3;--paper:#0f1318;
--card:#181d24;--rule:#2b323c;--track:#2a313b;--good:#4cc38a;--weak:#e5a84c;--bad:#ff7b85}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:84rem;padding:1.5rem 1.25rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .4rem}
h2{font-size:1.15rem;margin:2rem 0 .7rem}
p{margin:.3rem 0}
.dim{color:var(--dim);font-size:.9rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.8rem}
figure{margin:0;min-width:0;background:var(--card);border:1px solid var(--rule);
border-top:3px solid var(--dim);border-radius:.5rem;padding:.6rem}
figure.training{border-top-color:var(--good)}
figure.reference{border-top-color:var(--weak)}
figure.unfit{border-top-color:var(--bad)}
.frame{display:grid;place-items:center;height:10rem;background:var(--track);border-radius:.3rem}
img{display:block;max-width:100%;max-height:10rem}
figcaption{font-size:.8rem;line-height:1.35;margin-top:.4rem}
figcaption b,figcaption .dim{display:block;font-size:inherit}
"""
TITLES = {
    Fate.TRAINING: "To train on",
    Fate.REFERENCE: "Held out, to judge by",
    Fate.UNFIT: "Unfit",
    Fate.DUPLICATE: "Nearly the same as a better one",
    Fate.SURPLUS: "Others add more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small JPEG of `width` × `height` pixels."""

    jpeg: bytes
    width: int
    height: int


def shown_of(plan: BuildPlan, fate: Fate) -> list[Picture]:
    """The pictures that the page shows; chosen ones in the order of the choice."""
    pictures = list(plan.of(fate))
    if fate in FOLDERS:
        pictures.sort(key=lambda p: (not p.pinned, -(p.gain or 0), p.name))
        return pictures[:MOST_CHOSEN]
    return pictures[:MOST_LEFT_OUT]


def render_contact_sheet(plan: BuildPlan, thumbnails: Mapping[str, Thumbnail]) -> str:
    """The page; `thumbnails` are by the name of the picture."""
    title = f"contact sheet of {text(plan.source)}"
    counts = " · ".join(f"{plan.count(fate):,} {fate}" for fate in Fate if plan.count(fate))
    how = (
        f"{counted(len(plan.pictures), 'picture')} looked at; what could have been chosen is like "
        f"the chosen at {plan.coverage:.2f} on average, 1 being the same. "
        f"Written: {plan.settings.form.words}."
    )
    body = [f"<h1>{title}</h1><p>{counts}</p><p class='dim'>{text(how)}</p>"]
    body += [_section(plan, fate, thumbnails) for fate in Fate]
    return document(title, "".join(body), style=STYLE, policy=POLICY)


def _section(plan: BuildPlan, fate: Fate, thumbnails: Mapping[str, Thumbnail]) -> str:
    count, shown = plan.count(fate), shown_of(plan, fate)
    if not shown:
        return ""
    figures = "".join(_figure(picture, thumbnails.get(picture.name)) for picture in shown)
    rest = count - len(shown)
    more = f'<p class="dim">… and {rest:,} more, all in datasheet.json</p>' if rest else ""
    return f'<h2>{TITLES[fate]} ({count:,})</h2><div class="sheet">{figures}</div>{more}'


def _figure(picture: Picture, small: Thumbnail | None) -> str:
    name = text(shorten(picture.name, LONGEST_NAME))
    if small:
        source = f"data:image/jpeg;base64,{b64encode(small.jpeg).decode()}"
        image = f'<img width="{small.width}" height="{small.height}" alt="{name}" src="{source}">'
    else:
        image = '<span class="dim">not decoded</span>'
    known = [f"{picture.width} × {picture.height}"] if picture.width else []
    if picture.fate is not Fate.UNFIT:
        known.append(f"quality {picture.quality:.2f}")
    reason = text(shorten(picture.reason, LONGEST_REASON))
    return (
        f'<figure class="{picture.fate}"><div class="frame">{image}</div>'
        f'<figcaption><b>{name}</b><span class="dim">{", ".join(known)}</span>{reason}</figcaption>'
        "</figure>"
    )
