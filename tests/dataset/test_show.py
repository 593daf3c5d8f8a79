"""The page of a dataset: what is wrong first, foreign text stays text, few bytes, no network."""

import json
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset import show
from lora_ci.dataset.page_parts import FILTER
from lora_ci.dataset.show import show_dataset
from lora_ci.dataset.validate import Validation, validate_folder
from lora_ci.dataset.worker import preview_files
from lora_ci.report.charts import histogram
from lora_ci.report.script import SCRIPT, source_of
from tests.browser import dump_dom
from tests.command import assert_one_message, lora_ci
from tests.dataset.faulty import HOSTILE_NAME, write_faulty

PICTURES = Path(__file__).parents[2] / "examples" / "emoji" / "pictures" / "mochi"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> tuple[Path, dict[str, str], Validation]:
    """A folder with each fault once, what was planted, and what validation says."""
    folder = tmp_path_factory.mktemp("faulty")
    planted = write_faulty(folder)
    found = validate_folder(
        folder / "set",
        "fluent3d",
        ValidateSettings(),
        references=folder / "references",
        cache=folder / "cache",
    )
    return folder, planted, found


@pytest.fixture(scope="module")
def page(faulty) -> str:
    return show_dataset("set", faulty[2], most=500).html


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of cards by their names."""

    def __init__(self, page):
        super().__init__()
        self.found, self.cards, self._card, self._in_name = [], {}, None, False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.found.append((tag, values))
        if tag == "figure":
            self._card = {"words": "", **values}
        self._in_name = values.get("class") == "name"

    def handle_endtag(self, tag):
        if tag == "figure":
            self._card = None

    def handle_data(self, data):
        if self._card is None:
            return
        if self._in_name:
            self.cards[data, self._card["class"]] = self._card
            self._in_name = False
        self._card["words"] += data


def card_of(page: str, name: str) -> dict[str, str]:
    (card,) = (c for (n, _), c in Elements(page).cards.items() if n == name and "id" in c)
    return card


def test_every_fault_is_told_at_its_picture(faulty, page):
    _, planted, found = faulty
    assert set(planted.values()) <= {f.rule for f in found.findings}
    for name, rule in planted.items():
        if name in found.seen.images:
            card = card_of(page, name)
            assert rule in card["data-rules"].split(), name
            assert rule in card["words"]
    assert "alone.txt" in page
    assert "notes.pdf" in page


def test_each_picture_stands_there_once_and_what_is_wrong_comes_first(faulty, page):
    cards = [c for c in Elements(page).cards.values() if "id" in c]
    assert len(cards) == len(faulty[2].seen.images)
    order = ["card error", "card warning", "card info", "card none"]
    rest = page.partition("<h2>Pictures</h2>")[2]
    classes = re.findall(r'<figure class="(.*?)"', rest)
    assert [order.index(c) for c in classes] == sorted(order.index(c) for c in classes)
    rules = re.findall(r'<li class="(\w+)" data-rule', page)
    assert rules == sorted(rules, key=["error", "warning", "info"].index)
    assert rules[0] == "error"
    assert re.search(r"<h1>.*?: \d+ errors</h1>", page)


def test_look_alikes_stand_side_by_side_and_the_reference_with_them(faulty, page):
    _, _, found = faulty
    groups = re.findall(
        r'<div class="sheet alike">(.*?)</div>(?=<div class="sheet|</section)', page
    )
    names = [re.findall(r'<b class="name">(.*?)</b>', group) for group in groups]
    for group in found.seen.groups:
        assert list(group) in [found_names[: len(group)] for found_names in names]
    assert [n[-1] for n in names if n[0] == found.seen.leaks[0][0]] == ["held-out.png"]


def test_foreign_text_stays_text_and_nothing_is_loaded(page):
    tags = Elements(page).found
    assert [tag for tag, _ in tags].count("script") == 2
    policy = next(a["content"] for t, a in tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    assert all(source_of(script) in policy for script in (SCRIPT, FILTER))
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), attributes
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "#"))
    assert card_of(page, HOSTILE_NAME)
    assert "<script>alert(2)</script> &" in card_of(page, "markup.png")["words"]
    assert "\u202e" not in page


def test_without_scripts_all_is_seen(page):
    hidden = [a for _, a in Elements(page).found if "hidden" in a]
    assert [a["class"] for a in hidden] == ["picks"]


def test_a_page_shows_the_worst_within_its_bytes(faulty, monkeypatch):
    asked = []

    def watched(files, most_bytes, progress):
        asked.extend(files)
        return preview_files(files, most_bytes, progress)

    monkeypatch.setattr(show, "preview_files", watched)
    monkeypatch.setattr(show, "PAGE_BYTES", 30_000)
    made = show_dataset("set", faulty[2], most=20)
    cards = [c for c in Elements(made.html).cards.values() if "id" in c]
    assert made.shown == len(cards) == 20
    assert len(asked) <= 20 + 1  # the reference
    assert f"of {len(faulty[2].seen.images)} pictures are shown" in made.html
    assert "card none" not in made.html.partition("<h2>Pictures</h2>")[2]
    assert sum(map(len, re.findall(r"base64,([^\"]+)", made.html))) * 3 / 4 <= 30_000


def test_previews_are_of_what_was_measured_alone(tmp_path):
    measured = validate_folder(PICTURES, "mochi", ValidateSettings()).seen.images
    path, digest = next((m.path, m.sha256) for m in measured.values())
    other = tmp_path / "other.png"
    Image.open(path).convert("RGB").rotate(90).save(other)
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:300])
    files = [(path, digest), (other, digest), (broken, digest), (tmp_path / "gone.png", digest)]
    made = preview_files(files, 50_000, lambda _: None)
    assert [one is not None for one in made] == [True, False, False, False]
    assert made[0] is not None
    assert made[0].data.startswith(b"\xff\xd8")


def test_columns_of_a_histogram_stand_for_as_many_whole_numbers_each():
    drawn = histogram([0, 1, 1, 75], "tokens", left=0)
    assert re.findall(r"<title>(.*?)</title>", drawn) == ["0 to 1: 3", "74 to 75: 1"]
    assert "<span>75</span>" in drawn
    assert histogram([], "tokens") == ""
    assert histogram([0.5, 0.5], "levels").count("<rect") == 1


def test_the_command_writes_the_page_and_says_where(tmp_path):
    told = lora_ci(tmp_path, "dataset", "show", str(PICTURES), "--quiet", "--json")
    value = json.loads(told.out)
    assert (told.code, value["shown"]) == (0, 6)
    made = tmp_path / "dataset-mochi.html"
    assert value["page"] == made.name
    assert value["size_bytes"] == made.stat().st_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "is no folder"),
        (["{pictures}", "--max", "0"], "--max 0: expected 1 to 2000"),
        (["{pictures}", "--out", "{pictures}/page.html"], "would become part of"),
        (["{pictures}", "--out", "{tmp}"], "is a folder"),
        (["{pictures}", "--out", "{tmp}/no/page.html"], "is no folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_looked_at(tmp_path, words, message):
    filled = [word.format(pictures=PICTURES, tmp=tmp_path) for word in words]
    assert_one_message(lora_ci(tmp_path, "dataset", "show", *filled), 2, message)


PROBE = """<script>onload=()=>{
const page=document.querySelector('iframe').contentDocument, told=[];
const picks=page.querySelector('.picks'), [kind,rule]=picks.querySelectorAll('select');
const words=picks.querySelector('input'), out=picks.querySelector('output');
const seen=()=>[...page.querySelectorAll('.card[id]')].filter(c=>!c.closest('[hidden]')).length;
const tell=()=>told.push(out.textContent+' '+seen());
const pick=(one,value,what='change')=>{one.value=value;one.dispatchEvent(new Event(what))};
told.push(picks.hidden); tell();
pick(kind,'error'); tell(); pick(rule,'image.format'); tell(); pick(kind,''); pick(rule,'');
pick(words,'MISSPELLED','input'); tell();
page.querySelector('.found li button').click(); told.push(rule.value); tell();
page.querySelector('.zoom').click(); told.push(page.querySelector('dialog').open);
const root=page.documentElement, images=[...page.images].filter(i=>i.src);
told.push(root.scrollWidth<=root.clientWidth, images.every(i=>i.naturalWidth));
document.title='T'+told.join('; ')}</script>"""


@pytest.mark.needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_filters_and_needs_no_sideways_scrolling(tmp_path, faulty, page, width):
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(page)}">'
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8">{PROBE}{frame}</iframe>')
    found = re.search(r"<title>T(.*?)</title>", dump_dom(tmp_path / "frame.html"))
    assert found
    total = len(faulty[2].seen.images)
    errors = sum("error" in kinds.split() for kinds in re.findall(r'data-kinds="(.*?)"', page))
    told = found[1].split("; ")
    assert told[:2] == ["false", f"{total} of {total} {total}"]
    assert told[2].startswith(f"{errors} of {total} ")
    assert told[3] == f"1 of {total} 1"
    assert told[4] == f"1 of {total} 1"
    first = re.search(r'<li class="error" data-rule="(.*?)"', page)
    assert first
    assert told[5] == first[1]
    assert told[7:] == ["true", "true", "true"]
