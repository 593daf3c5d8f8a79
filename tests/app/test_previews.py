"""Previews: what a page shows of pictures, within its bytes; the originals stay as they are."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from lora_ci.app import previews
from lora_ci.app.previews import LEAST_BYTES, PAGE_BYTES, page_previews, shrink
from lora_ci.app.report_files import write_report
from lora_ci.store.local import LocalStore
from tests.views import PICTURES, exhibits, make_view, nearest, qa_details, qa_step

SMALL = sorted((PICTURES / "mochi").glob("*.png"))[0].read_bytes()


def png(width=512, height=512, *, noise=20, mark=0):
    """A gradient with noise on it, which no encoder likes; `mark` makes it another file."""
    rows, columns = np.mgrid[0:height, 0:width]
    smooth = np.stack([rows, columns, rows + columns], -1) / (width + height) * 255
    grain = np.random.default_rng(0).normal(size=smooth.shape) * noise
    data = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype("u1")).save(data, "PNG")
    return data.getvalue() + mark.to_bytes(4, "big")


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "objects")


def judged(store, tmp_path, pictures, lora="mei"):
    """A step whose exhibits are the given files, of which the store has a copy."""
    labels = [
        {"kind": "adapter", "prompt": f"prompt {i}", "seed": 0, "artifact": f"adapter-{i:03}.png"}
        for i in range(len(pictures))
    ]
    files = {label["artifact"]: data for label, data in zip(labels, pictures, strict=True)}
    for data in files.values():
        (tmp_path / "kept.png").write_bytes(data)
        store.put(tmp_path / "kept.png")
    return qa_step(lora, qa_details(labels), files)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_large_picture_becomes_a_small_one_of_the_same_shape(store, tmp_path):
    wide = png(1000, 500)
    view = make_view(judged(store, tmp_path, [wide]))
    made = page_previews(view, store, notes := [])[digest(wide)]
    assert notes == []
    assert (made.kind, made.width, made.height, made.small) == ("jpeg", 320, 160, False)
    with Image.open(io.BytesIO(made.data)) as shown, Image.open(io.BytesIO(wide)) as original:
        assert shown.size == (320, 160)
        expected = np.asarray(original.convert("RGB"), float).mean((0, 1))
        assert np.asarray(shown, float).mean((0, 1)) == pytest.approx(expected, abs=2)


def test_a_small_picture_stays_as_it_is(store, tmp_path):
    view = make_view(judged(store, tmp_path, [SMALL]))
    made = page_previews(view, store, [])[digest(SMALL)]
    assert (made.kind, made.data, made.small) == ("png", SMALL, True)


def test_quality_then_size_fall_until_the_bytes_hold():
    picture = png(noise=60)
    sizes, widths = [], []
    for most in (60_000, 20_000, 8_000, 3_000):
        made = shrink(picture, most)
        assert len(made.data) <= most
        sizes.append(len(made.data))
        widths.append(made.width)
    assert sizes == sorted(sizes, reverse=True)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 320
    assert shrink(picture, 500) is None


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_pictures_of_any_kind_are_shown(mode):
    data = io.BytesIO()
    source = Image.fromarray(np.zeros((200, 200), "u2")) if mode == "I;16" else None
    (source or Image.new(mode, (200, 200))).save(data, "PNG")
    assert shrink(data.getvalue(), 10_000).width == 200


@pytest.mark.parametrize("broken", [b"", SMALL[:60], SMALL[:-40], png()[:20_000], b"GIF89a" * 9])
def test_what_is_broken_has_no_preview(broken):
    assert shrink(broken, 10_000) is None


def test_the_bytes_of_a_page_are_shared_fairly(store, tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "PAGE_BYTES", 60_000)
    pictures = [png(256, 256, noise=60, mark=i) for i in range(6)]
    view = make_view(judged(store, tmp_path, pictures))
    made = page_previews(view, store, notes := [])
    assert notes == []
    assert sum(len(preview.data) for preview in made.values()) <= 60_000
    assert len(made) == 6
    assert min(len(preview.data) for preview in made.values()) > LEAST_BYTES


def test_what_does_not_fit_is_left_out_from_the_end_and_told(store, tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "PAGE_BYTES", 3 * LEAST_BYTES)
    pictures = [png(256, 256, noise=60, mark=i) for i in range(8)]
    view = make_view(judged(store, tmp_path, pictures))
    made = page_previews(view, store, notes := [])
    shown = [digest(data) in made for data in pictures]
    assert 2 <= sum(shown) < 8
    assert shown == sorted(shown, reverse=True)
    assert f"{8 - sum(shown)} pictures of mei left out of the report" in notes[0].message


def test_a_picture_of_two_loras_counts_once(store, tmp_path, monkeypatch):
    picture = png(noise=60)
    alone = len(shrink(picture, 1 << 20).data)
    monkeypatch.setattr(previews, "PAGE_BYTES", alone)
    steps = [judged(store, tmp_path, [picture], lora) for lora in ("mei", "leo")]
    made = page_previews(make_view(*steps), store, notes := [])
    assert [len(preview.data) for preview in made.values()] == [alone]
    assert notes == []


def test_training_pictures_beside_generated_ones_are_shown(store, tmp_path):
    pictures = [SMALL + bytes([i]) for i in range(4)]
    pairs = [
        {"artifact": f"adapter-{i:03}.png", "twin": f"adapter-{i + 2:03}.png", "similarity": 0.9}
        for i in range(2)
    ]
    step = judged(store, tmp_path, pictures)
    step.result.details.update(pictures=[], pairs=pairs)
    made = page_previews(make_view(step), store, [])
    assert set(made) == set(map(digest, pictures))


def test_a_judgement_alone_is_written_as_page_json_and_junit(store, tmp_path):
    step = judged(store, tmp_path, [SMALL])
    view = make_view(step, head="", number=None)
    assert write_report(view, store, tmp_path / "out") == ()
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(found) == {"report.html", "report.json", "junit.xml"}
    assert '<testsuite name="mei"' in found["junit.xml"]
    assert '"commit": null' in found["report.json"]
    page = found["report.html"]
    assert "data:image/png;base64," in page
    assert "commit" not in page.partition("</header>")[0].partition("<header>")[2]
    assert "pull request" not in page


@pytest.mark.slow
def test_a_page_of_a_hundred_pictures_is_small(store, tmp_path):
    prompts = [f"prompt {i}" for i in range(8)]
    labels = [*exhibits(prompts, 4), *nearest(prompts)["pictures"]][:100]
    picture = png(noise=60)
    pictures = [picture + i.to_bytes(4, "big") for i in range(len(labels))]
    assert len(pictures) == 100
    step = judged(store, tmp_path, pictures)
    step.result.details["pictures"] = [
        {**label, "artifact": f"adapter-{i:03}.png"} for i, label in enumerate(labels)
    ]
    assert write_report(make_view(step), store, tmp_path / "out") == ()
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert page.count(b"data:image/jpeg") == 100
    assert PAGE_BYTES < len(page) < 3_000_000
