"""The one script of the page: enlarges pictures, and slides one over another.

Without it every picture is still seen, side by side. It makes no request, and puts no text into
the page but by `textContent`; the page's policy lets it run by its digest, and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

SCRIPT = """
(() => {
const all = (query, root = document) => [...root.querySelectorAll(query)];
const make = (tag, values) => Object.assign(document.createElement(tag), values);

const box = document.querySelector('dialog');
if (box && box.showModal) {
  document.documentElement.classList.add('zooms');
  const zooms = all('.zoom'), large = box.querySelector('.large'), words = box.querySelector('p');
  let at = 0;
  const show = (index) => {
    at = (index + zooms.length) % zooms.length;
    const shown = zooms[at].querySelector('img');
    const {src, alt, className} = shown;
    large.replaceChildren(make('img', {src, alt, className}));
    words.textContent = shown.alt;
  };
  zooms.forEach((zoom, index) => zoom.addEventListener('click', () => {
    show(index);
    box.showModal();
  }));
  box.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step) show(at + step);
  });
  box.addEventListener('click', (event) => {
    if (event.target === box || event.target.closest('.close')) box.close();
  });
  box.addEventListener('close', () => zooms[at].focus());
}

for (const slider of all('.slider')) {
  const [prompts, seeds, kinds] = all('select', slider);
  const range = slider.querySelector('input'), pane = slider.querySelector('.pane');
  const pairs = (card) =>
    card.querySelector('.adapter img') && card.querySelector('.base img, .released img');
  const cards = all('.prompt', slider.closest('section')).filter(pairs);
  const fill = (select, words) => {
    const before = select.value;
    select.replaceChildren(
      ...words.map((textContent, value) => make('option', {value, textContent})));
    select.value = words[before] === undefined ? '0' : before;
  };
  const groups = () => all('.group', cards[prompts.value]).filter(pairs);
  const others = () => ['released', 'base'].filter(
    (kind) => groups()[seeds.value].querySelector(`.${kind} img`));
  const slide = () => {
    pane.style.setProperty('--at', `${range.value}%`);
    range.setAttribute('aria-valuetext', `${100 - range.value} % of it the new adapter's`);
  };
  const draw = () => {
    const group = groups()[seeds.value];
    const pair = [others()[kinds.value], 'adapter'].map(
      (kind) => group.querySelector(`.${kind} img`));
    pane.replaceChildren(...pair.map(({src, alt, className}, i) =>
      make('img', {src, alt, className: `${className} ${i ? 'over' : 'under'}`})));
    slide();
  };
  const pickSeed = () => { fill(kinds, others()); draw(); };
  const pickPrompt = () => {
    fill(seeds, groups().map((group, i) => {
      const name = group.querySelector('.seed');
      return name ? name.textContent : `${i + 1}`;
    }));
    pickSeed();
  };
  if (!cards.length) continue;
  fill(prompts, cards.map((card) => card.querySelector('.said').textContent));
  prompts.addEventListener('change', pickPrompt);
  seeds.addEventListener('change', pickSeed);
  kinds.addEventListener('change', draw);
  range.addEventListener('input', slide);
  pickPrompt();
  slider.hidden = false;
}
})();
"""


def source_of(script: str) -> str:
    """A script as a policy names it: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


SCRIPT_SOURCE = source_of(SCRIPT)
