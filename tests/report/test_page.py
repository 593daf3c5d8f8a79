"""The page: pictures side by side, nothing from elsewhere, no sideways scrolling."""

import hashlib
import re
import shutil
import struct
from html import escape

import pytest

from lora_ci.core.step import Stage
from lora_ci.report.charts import MOST_POINTS, Line, line_chart, thin
from lora_ci.report.gallery import SHOWN_PROMPTS
from lora_ci.report.page import render_page
from lora_ci.report.picture import as_it_is, png_size
from tests.browser import dump_dom
from tests.views import (
    PICTURES,
    blocked_step,
    deploy_step,
    exhibits,
    make_view,
    optimize_step,
    qa_details,
    qa_step,
    train_step,
    validate_step,
)

PROMPTS = ["mochi, cat face", "mochi in a watercolour"]


def picture_of(index: int) -> bytes:
    files = sorted((PICTURES / "mochi").glob("*.png"))
    # Bytes after the end of a PNG are ignored; they make every file another one.
    return files[index % len(files)].read_bytes() + bytes([index % 256, index // 256])


def judged(prompts=PROMPTS, seeds=2):
    labels = exhibits(prompts, seeds)
    files = {label["artifact"]: picture_of(i) for i, label in enumerate(labels)}
    step = qa_step(details=qa_details(labels), files=files)
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
    assert page.count('src="data:image/png;base64,') == 2 * 3 * len(PROMPTS) + len(PROMPTS)
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
        *(
            "figures, config and fingerprints",
            "held-out references",
            "recommended: 0.8",
            "9f3c51a0d2b87e44",
        ),
    ):
        assert part in page


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
    assert int(found[2]) == page.count("<img")
