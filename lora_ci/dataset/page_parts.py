"""What the page of a dataset has beside the report's style and script: a sheet, and a filter."""

from __future__ import annotations

from lora_ci.report.script import SCRIPT_SOURCE, source_of

PAGE_STYLE = """
body{max-width:84rem}
[hidden]{display:none!important}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));
gap:0 2.5rem}
.plots>*{min-width:0}
.plots .field{height:110px}
.plots .row{grid-template-columns:7.5rem minmax(0,1fr) 3rem}
.plots .row .ends{display:none}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,12rem),1fr));gap:.8rem;
margin-top:.8rem}
.alike{grid-template-columns:repeat(auto-fill,minmax(min(45%,12rem),1fr));padding:.7rem;
border:1px dashed var(--base);border-radius:.6rem}
.card{background:var(--paper);border:1px solid var(--rule);border-top:3px solid var(--good);
border-radius:.5rem;padding:.6rem;content-visibility:auto;contain-intrinsic-size:auto 19rem}
.card.error{border-top-color:var(--bad)}
.card.warning{border-top-color:var(--weak)}
.card.info{border-top-color:var(--base)}
.card.reference{border-top-color:var(--reference)}
.card:target{outline:3px solid var(--accent);outline-offset:2px}
.frame{display:grid;place-items:center;height:10rem}
.frame .zoom{width:auto;max-width:100%}
.frame img{width:auto;max-width:100%;max-height:10rem}
.frame img.small{height:8rem}
.frame .missing{width:100%;height:100%;aspect-ratio:auto;max-width:none}
.name,.card .dim{display:block;font-size:inherit}
.name{color:var(--ink)}
.card li .dim{display:inline}
.card p,.card ul,.card li{margin:.35rem 0 0}
.card .caption{color:var(--ink);font-style:italic}
.found li b{margin-right:.3rem}
.found button{font:inherit;font-size:.86rem;color:var(--accent);background:none;border:0;padding:0;
margin-left:.5rem;cursor:pointer}
.filter:not(:has(p)):has(.picks[hidden]){display:none}
.filter .picks{align-items:baseline}
input[type=search]{font:inherit;min-width:0;width:12rem;color:var(--ink);background:var(--card);
border:1px solid var(--dim);border-radius:.3rem;padding:.1rem .3rem}
"""
FILTER = """
(() => {
const all = (query, root = document) => [...root.querySelectorAll(query)];
const filter = document.querySelector('.filter'), picks = filter.querySelector('.picks');
const [kind, rule] = all('select', filter), words = filter.querySelector('input');
const told = filter.querySelector('output');
const cards = all('.card[id]'), texts = new Map(cards.map((card) =>
  [card, card.querySelector('figcaption').textContent.toLowerCase()]));
const fits = (card) => (!kind.value || card.dataset.kinds.split(' ').includes(kind.value))
  && (!rule.value || card.dataset.rules.split(' ').includes(rule.value))
  && texts.get(card).includes(words.value.trim().toLowerCase());

const apply = () => {
  for (const group of all('.alike')) group.hidden = !all('.card[id]', group).some(fits);
  for (const card of all('.sheet:not(.alike) > .card')) card.hidden = !fits(card);
  told.textContent = `${cards.filter(fits).length} of ${cards.length}`;
};
for (const pick of [kind, rule]) pick.addEventListener('change', apply);
words.addEventListener('input', apply);
// A link to a picture that is filtered away shows it.
document.addEventListener('click', (event) => {
  const link = event.target.closest('a[href^="#p"]');
  const card = link && document.querySelector(link.getAttribute('href'));
  if (card && card.closest('[hidden]')) {
    kind.value = rule.value = words.value = '';
    apply();
  }
});
for (const line of all('.found li')) {
  if (![...rule.options].some((option) => option.value === line.dataset.rule)) continue;
  const button = Object.assign(document.createElement('button'),
    {type: 'button', textContent: 'show only these'});
  button.addEventListener('click', () => {
    kind.value = words.value = '';
    rule.value = line.dataset.rule;
    apply();
    filter.scrollIntoView();
  });
  line.querySelector('b').after(button);
}
apply();
picks.hidden = false;
})();
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    f"script-src {SCRIPT_SOURCE} {source_of(FILTER)}"
)
