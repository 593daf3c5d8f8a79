"""Validation finds planted faults, leaves good pictures alone and survives hostile files."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lora_ci.core.finding import Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.rules import RULES
from lora_ci.dataset.validate import Validation, validate_folder

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "examples" / "emoji" / "pictures"


def check(folder: Path, trigger: str = "fluent3d", **options) -> Validation:
    return validate_folder(folder, trigger, ValidateSettings(min_images=1), **options)


def errors(validation: Validation) -> set[tuple[str, str | None]]:
    return {(f.rule, f.file) for f in validation.findings if f.severity is not Severity.INFO}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten good pictures."""
    target = tmp_path / "set"
    target.mkdir()
    for path in sorted((PICTURES / "fluent3d").glob("*.png"))[:10]:
        shutil.copy(path, target)
        shutil.copy(path.with_suffix(".txt"), target)
    return target


@pytest.mark.parametrize("name", ["fluent3d", "mochi"])
def test_the_shipped_datasets_are_clean(name):
    validation = check(PICTURES / name, name, references=PICTURES / f"{name}-references")
    assert not validation.failed, validation.findings
    assert validation.metrics["images"] == validation.metrics["captions"]


def changed(path: Path, how: str) -> None:
    picture = Image.open(path).convert("RGB")
    match how:
        case "resized":
            picture = picture.resize((90, 90))
        case "recompressed":
            data = io.BytesIO()
            picture.save(data, "JPEG", quality=60)
            picture = Image.open(data)
        case "mirrored":
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case "cropped":
            picture = picture.crop((3, 3, 61, 61)).resize((64, 64))
        case "brighter":
            picture = picture.point(lambda v: min(255, int(v * 1.06)))
    copy = path.with_name(f"copy-{how}.png")
    picture.save(copy)
    copy.with_suffix(".txt").write_text("a fluent3d emoji of a copy")


@pytest.mark.parametrize("how", ["resized", "recompressed", "mirrored", "cropped", "brighter"])
@pytest.mark.parametrize("number", [0, 4, 8])
def test_near_duplicates_are_found(folder, how, number):
    changed(sorted(folder.glob("*.png"))[number], how)
    rules = {rule for rule, _ in errors(check(folder))}
    assert rules <= {"duplicate.near", "duplicate.exact"}
    assert rules


def test_a_training_picture_among_the_references_is_a_leak(folder, tmp_path):
    references = tmp_path / "references"
    references.mkdir()
    path = min(folder.glob("*.png"))
    Image.open(path).resize((80, 80)).save(references / "other.png")
    found = errors(check(folder, references=references))
    assert found == {("duplicate.leak", path.name)}


def test_a_blurred_picture_is_told_from_flat_art(folder):
    path = min(folder.glob("*.png"))
    Image.open(path).resize((256, 256)).filter(ImageFilter.GaussianBlur(6)).save(path)
    assert errors(check(folder)) == {("image.blurred", path.name)}


def good_png() -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, "PNG")
    return data.getvalue()


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.png", good_png())
    return data.getvalue()


PLAIN = Image.new("RGB", (64, 64), (200, 10, 10))
NOISE = Image.open(io.BytesIO(good_png()))
SOFT = NOISE.resize((7, 7)).resize((64, 64), Image.Resampling.NEAREST)
HOSTILE = {
    "empty": (b"", "image.format"),
    "garbage": (b"\x00\xff" * 500, "image.format"),
    "truncated": (good_png()[:3000], "image.unreadable"),
    "flipped-byte": (good_png()[:900] + b"\xaa\x55" + good_png()[902:], "image.unreadable"),
    "text": (b"hello", "image.format"),
    "zip": (zipped(), "image.format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image.format"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image.format"),
    "gif": (saved(PLAIN, "GIF"), "image.format"),
    "tiff": (saved(NOISE, "TIFF"), "image.format"),
    "jpeg-as-png": (saved(NOISE, "JPEG"), "image.wrong-extension"),
    "bomb": (saved(Image.new("1", (20000, 20000)), "PNG"), "image.too-large"),
    "one-color": (saved(PLAIN, "PNG"), "image.blank"),
    "tiny": (saved(NOISE.resize((9, 9)), "PNG"), "image.too-small"),
    "16-bit": (saved(Image.new("I;16", (64, 64), 999), "PNG"), "image.mode"),
    "animated": (
        saved(NOISE, "WEBP", save_all=True, append_images=[PLAIN], lossless=True),
        "image.animated",
    ),
    "cmyk": (saved(NOISE.convert("CMYK"), "JPEG"), "image.mode"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_costs_one_finding_and_not_the_run(folder, name):
    data, rule = HOSTILE[name]
    (folder / "x.png").write_bytes(data)
    (folder / "x.txt").write_text("a fluent3d emoji of x")
    found = errors(check(folder))
    assert (rule, "x.png") in found
    assert {file for _, file in found} == {"x.png"}


CAPTIONS = {
    "missing": (None, "caption.missing", "x.png"),
    "empty": (b" \n", "caption.empty", "x.txt"),
    "latin-1": ("fluent3d caf\xe9".encode("latin-1"), "caption.encoding", "x.txt"),
    "huge": (b"fluent3d " * 9000, "caption.too-large", "x.txt"),
    "no-trigger": (b"an emoji of x", "caption.trigger-missing", "x.txt"),
    "part-of-a-word": (b"a fluent3dish emoji", "caption.trigger-missing", "x.txt"),
    "twice": (b"fluent3d and fluent3d", "caption.trigger-repeated", "x.txt"),
    "orphan": (b"fluent3d", "caption.orphan", "y.txt"),
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_bad_caption_is_named(folder, name):
    data, rule, file = CAPTIONS[name]
    (folder / "x.png").write_bytes(saved(SOFT, "PNG"))
    if data is not None:
        (folder / file).write_bytes(data)
    if name == "orphan":
        (folder / "x.txt").write_text("a fluent3d emoji")
    assert errors(check(folder)) == {(rule, file)}


def listed(folder: Path) -> Path:
    """The captions of the folder, moved into a `metadata.jsonl`."""
    lines = []
    for path in sorted(folder.glob("*.txt")):
        row = {"file_name": path.with_suffix(".png").name, "text": path.read_text()}
        lines.append(json.dumps(row))
        path.unlink()
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder / "metadata.jsonl"


def test_captions_may_stand_in_one_file_and_faults_have_its_line(folder):
    metadata = listed(folder)
    validation = check(folder)
    assert errors(validation) == set()
    assert validation.metrics["captions"] == 10
    lines = metadata.read_text().split("\n")
    lines[1] = "{"
    lines[2] = lines[2].replace("fluent3d", "other")
    lines[3] = json.dumps({"file_name": json.loads(lines[3])["file_name"], "text": " "})
    lines.append('{"file_name": "nowhere.png", "text": "fluent3d"}')
    metadata.write_text("\n".join(lines))
    second = sorted(folder.glob("*.png"))[1].name
    found = check(folder, shown_as="data/set").findings
    shown = "data/set/metadata.jsonl"
    assert {(f.rule, f.file, f.line) for f in found if f.severity is not Severity.INFO} == {
        ("caption.metadata", shown, 2),
        ("caption.missing", f"data/set/{second}", None),
        ("caption.trigger-missing", shown, 3),
        ("caption.empty", shown, 4),
        ("caption.orphan", shown, 11),
    }


def test_a_text_file_beside_an_image_goes_before_the_list(folder):
    listed(folder)
    path = min(folder.glob("*.png")).with_suffix(".txt")
    path.write_text("an emoji")
    assert errors(check(folder)) == {("caption.trigger-missing", path.name)}


def test_a_list_that_could_not_be_fetched_is_no_missing_caption(folder):
    listed(folder).unlink()
    assert errors(check(folder, missing=["metadata.jsonl"])) == {
        ("dvc.object-missing", "metadata.jsonl")
    }


def test_a_dataset_of_several_sources_is_one_dataset(folder, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole / "datasets" / "mei")
    shutil.copytree(folder, whole / "datasets" / "extra")
    for path in (whole / "datasets" / "extra").glob("*.png"):
        if path.name != min(p.name for p in folder.glob("*.png")):
            path.unlink()
            path.with_suffix(".txt").unlink()
    twin = min((whole / "datasets" / "mei").glob("*.png")).name
    found = check(whole, shown_as="").findings
    (pair,) = [f for f in found if f.severity is Severity.ERROR]
    assert (pair.rule, pair.file) == ("duplicate.exact", f"datasets/mei/{twin}")
    assert f"datasets/extra/{twin}" in pair.message


def test_a_byte_order_mark_is_told_and_left_out(folder):
    path = min(folder.glob("*.txt"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert errors(check(folder)) == {("caption.bom", path.name)}


def test_links_are_not_followed(folder):
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "link.txt").write_text("a fluent3d emoji")
    assert errors(check(folder)) == {("image.link", "link.png")}


def test_unmeasured_caption_lengths_are_said_and_long_ones_found(folder):
    rules = {f.rule for f in check(folder).findings}
    assert "caption.length-not-measured" in rules
    path = min(folder.glob("*.txt"))
    path.write_text("a fluent3d emoji of " + "very " * 40 + "long words")
    validation = check(folder, base_model=ROOT / "examples" / "emoji" / "base")
    assert errors(validation) == {("caption.too-long", path.name)}
    assert validation.metrics["tokens_max"] > 40


def test_missing_files_are_named_once_and_nothing_else_is_said_of_them(folder):
    png, txt = min(folder.glob("*.png")), max(folder.glob("*.txt"))
    png.unlink()
    txt.unlink()
    found = errors(check(folder, missing=[png.name, txt.name], shown_as="data/set"))
    assert found == {
        ("dvc.object-missing", f"data/set/{png.name}"),
        ("dvc.object-missing", f"data/set/{txt.name}"),
    }


def test_every_rule_is_documented():
    page = (ROOT / "docs" / "dataset-checks.md").read_text()
    for rule, severity in RULES.items():
        assert f"| `{rule}` | {severity} |" in page
