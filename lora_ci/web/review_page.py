"""The pages of a blind review, without a word on where a picture comes from. Pure."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass

from lora_ci.core.votes import Against, Choice, Side
from lora_ci.report.figures import counted
from lora_ci.report.markup import text
from lora_ci.web.desk import Card, State

# A picture below so many pixels is enlarged pixel by pixel.
SMALL_PIXELS = 128
OTHERS = {Against.RELEASED: "the released adapter's", Against.BASE: "the base model's"}

STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--dim:#5a6473;--paper:#f4f5f8;--card:#fff;
--rule:#d3d9e2;--accent:#2f5fc4;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9f0;--dim:#a3adbb;--paper:#0f1318;
--card:#181d24;--rule:#343c48;--accent:#7ba6ff;--on:#0f1318}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:60rem;min-height:100vh;padding:.9rem 1rem 2rem;
background:var(--paper);color:var(--ink);
font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
.top{display:flex;gap:.9rem;align-items:center;color:var(--dim);font-size:.9rem}
progress{flex:1;height:.5rem;accent-color:var(--accent)}
h1{font-size:1.35rem;line-height:1.25;margin:.9rem 0 .2rem}
p{margin:.3rem 0}
.dim{color:var(--dim)}
form{margin:0}
button{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--rule);
border-radius:.6rem;padding:.55rem .9rem;cursor:pointer}
button:hover,button:focus-visible{border-color:var(--accent)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
button:disabled{opacity:.45;cursor:default;border-color:var(--rule)}
kbd{font:600 .8rem ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--dim);
border:1px solid var(--rule);border-radius:.3rem;padding:.05rem .35rem;margin-right:.35rem}
.two{display:grid;grid-template-columns:1fr 1fr;gap:.8rem;margin:.8rem 0}
.two button{padding:.5rem;display:flex;flex-direction:column;gap:.5rem;align-items:center;
min-width:0}
.two img{width:100%;max-height:62vh;object-fit:contain;border-radius:.35rem;display:block}
img.small{image-rendering:pixelated}
.row{display:flex;flex-wrap:wrap;gap:.6rem;justify-content:center;margin-top:.7rem}
.row.end{justify-content:start;margin-top:1.2rem}
html:not([data-keys]) kbd{display:none}
.main{background:var(--accent);color:var(--on);border-color:var(--accent)}
.main kbd{color:inherit;border-color:currentColor}
.real{margin-top:1.4rem;border-top:1px solid var(--rule);padding-top:.6rem}
.real div{display:flex;gap:.5rem;overflow-x:auto;padding:.2rem 0}
.real img{width:6rem;height:6rem;object-fit:cover;border-radius:.35rem;flex:none}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:1rem 0}
dt{text-align:right;font-weight:600;font-variant-numeric:tabular-nums}
dd{margin:0}
@media(max-width:34rem){
body{padding:.7rem .6rem 1.5rem}
h1{font-size:1.15rem;margin-top:.6rem}
.two{gap:.5rem}
.two button{padding:.35rem}
.row form{flex:1 1 40%}
.row button{width:100%}
}
@media(pointer:coarse){
button{min-height:2.9rem}
kbd{display:none}
}
"""
SCRIPT = """
document.documentElement.dataset.keys = '1';
const sent = () => document.body.dataset.sent;
addEventListener('keydown', (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  for (const button of document.querySelectorAll('[data-key]'))
    if (button.dataset.key === event.key.toLowerCase() && !button.disabled && !sent())
      button.click();
});
addEventListener('submit', (event) => {
  if (sent()) event.preventDefault();
  document.body.dataset.sent = '1';
});
addEventListener('pageshow', () => delete document.body.dataset.sent);
"""


def _digest(source: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


# What the pages may do: show our pictures, send our forms, run this script; nothing else.
POLICY = (
    f"default-src 'none'; img-src 'self' data:; style-src {_digest(STYLE)}; "
    f"script-src {_digest(SCRIPT)}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how many real pictures stand below; `small` ones are enlarged."""

    trigger: str
    references: int
    small: bool


def render_card(card: Card, state: State, question: Question) -> str:
    """Two pictures to choose from."""
    asked = f"Which picture shows “{text(question.trigger)}” better?"
    pictures = "".join(
        f'<button name="choice" value="{side}" data-key="{key}" '
        f'aria-label="the {side} picture is better">'
        f'<img {_small(question)}src="picture/{card.number}/{side}" alt="{side} picture">'
        f"<span><kbd>{key}</kbd>{side}</span></button>"
        for side, key in ((Side.LEFT, 1), (Side.RIGHT, 2))
    )
    body = (
        f"{_top(state)}<h1>{asked}</h1>"
        f'<p class="dim">Asked for: {text(card.pair.prompt)}</p>'
        f'<form method="post" action="vote">{_number(card)}'
        f'<div class="two">{pictures}</div>'
        '<div class="row"><button name="choice" value="none" data-key="3">'
        "<kbd>3</kbd>no difference</button></div></form>"
        f'<div class="row">{_skip(card)}{_undo(state)}</div>{_real(question)}'
    )
    return _page(f"{state.voted + state.skipped + 1} of {state.total}: which is better?", body)


def render_end(state: State) -> str:
    """Nothing is left to ask, and the last answers can still be changed."""
    said = f"You looked at all {state.total} pairs."
    again = ""
    if state.skipped:
        said += f" You skipped {counted(state.skipped, 'pair')}."
        again = _form("again", "look at them again", key="a")
    body = (
        f"{_top(state)}<h1>{said}</h1>"
        "<p>Every answer is kept. Once you have seen the result you can give no more: "
        "you would know too much.</p>"
        f'<div class="row end">{_form("close", "show the result", key="r", main=True)}'
        f"{again}{_undo(state)}</div>"
    )
    return _page("all pairs seen", body)


def render_result(said: Counter[Choice], against: Against | None) -> str:
    """How the person chose; told last, as it says which pictures were whose in sum."""
    if against is None:
        return _page("nothing to compare", "<h1>There is no pair of pictures to compare.</h1>")
    rows = (
        (said[Choice.NEW], "the new adapter's picture is better"),
        (said[Choice.OTHER], f"{OTHERS[against]} picture is better"),
        (said[Choice.NONE], "no difference"),
    )
    table = "".join(f"<dt>{count}</dt><dd>{words}</dd>" for count, words in rows)
    body = (
        f"<h1>Thank you. You chose on {counted(said.total(), 'pair')}.</h1><dl>{table}</dl>"
        '<p class="dim">You can close this page; Ctrl-C in the terminal ends the server.</p>'
    )
    return _page("thank you", body)


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{text(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body>{body}<script>{SCRIPT}</script></body></html>\n"
    )


def _top(state: State) -> str:
    seen = state.voted + state.skipped
    return (
        f'<div class="top"><progress max="{state.total}" value="{seen}" '
        f'aria-label="pairs seen"></progress><span>{seen} of {state.total}</span></div>'
    )


def _skip(card: Card) -> str:
    return (
        f'<form method="post" action="skip">{_number(card)}'
        '<button data-key="s"><kbd>s</kbd>skip</button></form>'
    )


def _undo(state: State) -> str:
    return _form("undo", "undo", key="u", usable=state.may_undo)


def _form(action: str, words: str, *, key: str, main: bool = False, usable: bool = True) -> str:
    look = ' class="main"' if main else ""
    state = "" if usable else " disabled"
    return (
        f'<form method="post" action="{action}">'
        f'<button data-key="{key}"{look}{state}><kbd>{key}</kbd>{words}</button></form>'
    )


def _number(card: Card) -> str:
    return f'<input type="hidden" name="card" value="{card.number}">'


def _real(question: Question) -> str:
    if not question.references:
        return ""
    pictures = "".join(
        f'<img {_small(question)}src="reference/{i}" alt="real picture {i + 1}">'
        for i in range(question.references)
    )
    return (
        f'<div class="real"><p class="dim">Real pictures of “{text(question.trigger)}”, to compare '
        f"with:</p><div>{pictures}</div></div>"
    )


def _small(question: Question) -> str:
    return 'class="small" ' if question.small else ""
