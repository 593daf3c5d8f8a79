"""The page: pictures side by side, nothing from elsewhere, no sideways scrolling."""

import hashlib
import re
import shutil
import struct
from base64 import b64encode
from dataclasses import replace
from html import escape

import pytest

from lora_ci.core.run import VoteCount
from lora_ci.core.step import Stage
from lora_ci.report.charts import MOST_POINTS, Line, line_chart, thin
from lora_ci.report.gallery import SHOWN_PROMPTS
from lora_ci.report.page import render_page
from lora_ci.report.picture import as_it_is, png_size
from lora_ci.report.style import STYLE
from tests.browser import dump_dom
from tests.views import (
    PICTURES,
    WEIGHTS,
    blocked_step,
    deploy_step,
    exhibits,
    make_view,
    nearest,
    optimize_step,
    qa_details,
    qa_step,
    train_step,
    tried_weights,
    validate_step,
)

PROMPTS = ["mochi, cat face", "mochi in a watercolour"]


def picture_of(index: int) -> bytes:
    files = sorted((PICTURES / "mochi").glob("*.png"))
    # Bytes after the end of a PNG are ignored; they make every file another one.
    return files[index % len(files)].read_bytes() + bytes([index % 256, index // 256])


def judged(prompts=PROMPTS, seeds=2):
    tried, alike = tried_weights(prompts[:2]), nearest(prompts)
    labels = [*exhibits(prompts, seeds), *tried["pictures"], *alike["pictures"]]
    details = qa_details(labels) | tried | alike | {"pictures": labels}
    files = {label["artifact"]: picture_of(i) for i, label in enumerate(labels)}
    step = qa_step(details=details, files=files)
    return step, previews(files.values())


def previews(files):
    return {hashlib.sha256(data).hexdigest(): shown for data in files if (shown := as_it_is(data))}


def whole_page(prompts=PROMPTS, text="the caption does not contain the trigger", samples=0):
    qa, pictures = judged(prompts)
    made = {f"sample-{i:06d}-0.png": picture_of(1_000 + i) for i in range(samples)}
    pictures |= previews(made.values())
    train = train_step(files=made)
    train.result.details["prompts"] = list(prompts)
    steps = (validate_step("mei", text), train, qa, optimize_step(), deploy_step())
    bad = (validate_step("leo", text, errors=20), blocked_step("leo", Stage.TRAIN))
    return render_page(make_view(*steps, *bad, tag="mei@v1.1.0"), pictures)


def test_the_same_prompt_and_seed_stand_side_by_side():
    page = whole_page().partition("<script>")[0]
    cards = re.findall(
        r'<p class="said">(.*?)</p><div class="groups of3">(.*?)</div></div></div>', page
    )
    assert [card[0] for card in cards] == PROMPTS
    groups = re.findall(r'<span class="seed">seed (\d)</span>(.*?)(?=<div class="group">|$)', page)
    assert [seed for seed, _ in groups] == ["0", "1"] * len(PROMPTS)
    for _, group in groups:
        kinds = re.findall(r'<figure class="(base|adapter|released)">', group)
        assert kinds == ["base", "adapter", "released"]
    assert "new, weight 1" in page
    assert page.count('<figure class="reference">') == len(PROMPTS)


def test_every_picture_is_in_the_page_and_small_ones_are_enlarged_by_pixels():
    page = whole_page()
    shown = 2 * 3 * len(PROMPTS) + len(PROMPTS) + 2 * len(WEIGHTS) + 2 * len(PROMPTS)
    assert page.count('src="data:image/png;base64,') == shown
    assert page.count("<img") == page.count(' alt="')
    assert 'alt=""' not in page
    assert '<img class="small" width="64" height="64"' in page
    header = struct.pack(">II", 512, 512)
    large = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header
    step = qa_step(details=qa_details(exhibits(["x"], 1)[:1]), files={"base-000.png": large})
    page = render_page(make_view(step), previews([large]))
    assert '<img width="512" height="512"' in page


def test_more_prompts_than_a_screen_holds_wait_for_a_click():
    page = whole_page([f"prompt {i}" for i in range(SHOWN_PROMPTS + 3)])
    assert "<summary>3 more prompts</summary>" in page


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg onload='alert(1)'/>",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 90_000, 90_000),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 0, 8),
    ],
)
def test_bytes_that_are_no_picture_leave_a_gap(data):
    assert png_size(data) is None
    step = qa_step(details=qa_details(exhibits(["x"], 1)), files={"base-000.png": data})
    page = render_page(make_view(step), previews([data]))
    assert "<img" not in page
    assert page.count("not in this page") == 4


def test_the_parts_of_the_report_are_there():
    page = whole_page()
    for part in (
        *("Five tests", "Gates", "Likeness to the references", "Against the released 1.0.0"),
        *("Pictures", "Adapter weight", "Release", "Training", "Words in captions", "Also found"),
        *("Further tests", "Strength", "Nearest training pictures", "How it was measured"),
        *("docs/qa/leakage.md", "Stopped after 2 of 4 seeds a prompt: sure enough", "previews"),
        *(
            "figures, config and fingerprints",
            "held-out references",
            "recommended: 0.8",
            "9f3c51a0d2b87e44",
        ),
    ):
        assert part in page


def test_a_row_of_weights_marks_the_good_ones_and_the_recommended_one():
    strip = whole_page().partition("<h3>Strength</h3>")[2].partition("<h3>")[0]
    assert "Good from <b>0.6</b> to <b>1</b>. Recommended: <b>0.8</b>." in strip
    heads = re.findall(r'<div class="(inside|outside)"><b>([\d.]+)</b> (.*?)<p', strip)
    assert [(kind, weight) for kind, weight, _ in heads] == [
        ("outside", "0.4"), ("inside", "0.6"), ("inside", "0.8"), ("inside", "1"),
        ("outside", "1.2"),
    ]  # fmt: skip
    assert ["recommended" in marks for _, _, marks in heads] == [False, False, True, False, False]
    assert strip.count("<circle") == len(WEIGHTS)
    assert "<summary>1 more row</summary>" in strip


def test_copies_stand_before_pairs_that_are_less_alike():
    prompts = [f"prompt {i}" for i in range(6)]
    found = nearest(prompts)
    found["pairs"] = [{**pair, "copied": i == 5} for i, pair in enumerate(found["pairs"])]
    page = render_page(make_view(qa_step(details=qa_details([]) | found)))
    section = page.partition("<h3>Nearest training pictures</h3>")[2]
    assert section.startswith("<p>1 of 6 pairs called a copy.")
    said = re.findall(r"similarity ([\d.]+)<br>(prompt \d)", section)
    assert said[:3] == [("0.47", "prompt 5"), ("0.97", "prompt 0"), ("0.87", "prompt 1")]
    assert "<summary>2 more pairs</summary>" in section


def test_what_is_wrong_stands_before_what_is_sound():
    page = render_page(make_view(qa_step(details=qa_details([], shift=-0.15))))
    further = page.partition("<h3>Further tests</h3>")[2].partition("<h3>")[0]
    assert re.findall(r"[✓✗?–] (sound|not sound|not measured|turned off)", further) == [
        *("not sound", "not measured", *["sound"] * 5, "turned off"),
    ]
    gates = page.partition("<h3>Gates</h3>")[2].partition("<h3>")[0]
    assert gates.index("fails") < gates.index("holds")


def test_what_would_settle_it_and_the_votes_of_people_are_told():
    details = qa_details([]) | {"settle": ["`qa.seeds: 16` would tell"]}
    votes = VoteCount(
        lora="mei", fingerprint="0" * 64, count=40, preferred_new=26, preferred_other=9, ties=5,
        kappa=0.61, kappa_low=0.42, kappa_high=0.8,
    )  # fmt: skip
    other = replace(votes, lora="leo", count=7, kappa=None)
    page = render_page(replace(make_view(qa_step(details=details)), votes=(votes, other)))
    assert "<li><code>qa.seeds: 16</code> would tell</li>" in page
    assert "26 new, 9 other, 5 no difference" in page
    assert "0.61 (0.42 to 0.80)" in page
    assert "7 votes" not in page


def test_without_a_repository_nothing_is_told_of_one():
    page = render_page(make_view(judged()[0], head="", number=None))
    header = page.partition("<header>")[2].partition("</header>")[0]
    assert "commit" not in header
    assert "<code></code>" not in page


def test_the_policy_names_the_script_and_no_other():
    page = whole_page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert "<script" not in render_page(make_view(qa_step()))


def colors(theme):
    return dict(re.findall(r"--(\w+):(#[0-9a-f]+)", theme))


def luminance(color):
    """Source: WCAG 2.2, definition of relative luminance."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_and_lines_have_the_contrast_that_wcag_aa_asks_for(theme):
    light, dark = (colors(part) for part in STYLE.split("@media(prefers-color-scheme:dark)")[:2])
    found = light if theme == "light" else light | dark
    for name in ("ink", "dim", "accent", "good", "weak", "bad"):
        for ground in ("card", "paper"):
            assert contrast(found[name], found[ground]) >= 4.5, (name, ground)
    for name in ("base", "reference"):
        assert contrast(found[name], found["card"]) >= 3, name


def test_a_fault_in_many_files_is_told_once():
    page = render_page(make_view(validate_step(errors=20)))
    assert page.count("→ write <code>mei</code> into it") == 1
    assert "<summary>14 more places</summary>" in page


def test_charts_bear_any_finite_numbers():
    assert line_chart([], "step") == ""
    assert line_chart([Line("loss", "loss", [])], "step") == ""
    for points in ([(1.0, 1.0)], [(0.0, 0.0)] * 3, [(-1e12, 1e12), (1e12, -1e12)]):
        chart = line_chart([Line("loss", "loss", points)], "step")
        assert "nan" not in chart
        assert "inf" not in chart
    many = [(float(i), 1.0) for i in range(10_001)]
    assert len(thin(many)) <= MOST_POINTS + 1
    assert thin(many)[-1] == many[-1]


@pytest.mark.needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_pictures_can_be_enlarged_and_slid_over_one_another(tmp_path):
    page = whole_page()
    probe = """<script>onload=()=>{
    const page=document.querySelector('iframe').contentDocument, told=[];
    const slider=page.querySelector('.slider'), pane=slider.querySelector('.pane');
    const [prompts,seeds,kinds]=slider.querySelectorAll('select');
    const tell=()=>told.push([...pane.querySelectorAll('img')].map(i=>i.alt).join(' | '));
    const pick=(select,value)=>{select.value=value;select.dispatchEvent(new Event('change'))};
    told.push(slider.hidden,prompts.length,seeds.length,kinds.length); tell();
    pick(prompts,'1'); pick(seeds,'1'); pick(kinds,'1'); tell();
    const range=slider.querySelector('input'); range.value=20;
    range.dispatchEvent(new Event('input'));
    told.push(getComputedStyle(pane.querySelector('.over')).clipPath);
    const box=page.querySelector('dialog'), zooms=page.querySelectorAll('.zoom');
    const at=()=>told.push(box.open+' '+(box.querySelector('img')||{}).alt);
    zooms[0].click(); at();
    box.dispatchEvent(new KeyboardEvent('keydown',{key:'ArrowRight'})); at();
    box.dispatchEvent(new KeyboardEvent('keydown',{key:'ArrowLeft'}));
    box.dispatchEvent(new KeyboardEvent('keydown',{key:'ArrowLeft'}));
    told.push(box.querySelector('img').alt===zooms[zooms.length-1].querySelector('img').alt);
    box.querySelector('.close').click(); told.push(box.open);
    document.title='T'+told.join('; ')}</script>"""
    frame = f'<iframe style="width:1200px;height:900px" srcdoc="{escape(page)}"></iframe>'
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8">{probe}{frame}')
    found = re.search(r"<title>T(.*?)</title>", dump_dom(tmp_path / "frame.html"))
    first, second = PROMPTS
    assert found
    assert found[1].split("; ") == [
        *("false", "2", "2", "2"),
        f"released: {first}, seed 0 | new: {first}, seed 0",
        f"base: {second}, seed 1 | new: {second}, seed 1",
        "inset(0px 0px 0px 20%)",
        f"true base: {first}, seed 0",
        f"true new: {first}, seed 0",
        *("true", "false"),
    ]


@pytest.mark.needs_chromium
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
@pytest.mark.parametrize("width", [1280, 360])
def test_a_browser_shows_the_page_without_sideways_scrolling(tmp_path, width):
    page = whole_page(["a_long_prompt_" * 30, *PROMPTS], text="a_long_name_" * 30, samples=9)
    assert page.count('<div class="steps">') == 1
    page = page.replace("<details>", "<details open>")
    # Windows are never as narrow as a phone; a frame is, and it has the page's own policy.
    probe = (
        "<script>onload=()=>{const e=document.querySelector('iframe').contentDocument;"
        "const i=[...e.images];document.title='W'+e.documentElement.scrollWidth+"
        "' of '+i.filter(x=>x.complete&&x.naturalWidth).length}</script>"
    )
    frame = (
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(page)}"></iframe>'
    )
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8">{probe}{frame}')
    found = re.search(r"<title>W(\d+) of (\d+)</title>", dump_dom(tmp_path / "frame.html"))
    assert found
    assert int(found[1]) <= width
    # The slider shows two of them again.
    assert int(found[2]) == page.count("<img") + 2
