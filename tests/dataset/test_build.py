"""A dataset is built of the best diverse pictures; twice the same bytes, whole or not at all."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageCms, ImageFilter

from lora_ci.core.errors import InputError, UsageError
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.build_choice import plan_build
from lora_ci.dataset.build_plan import BuildSettings, Fate
from lora_ci.dataset.builder import build_dataset
from lora_ci.dataset.normalise import Form, normalised
from lora_ci.dataset.validate import validate_folder
from lora_ci.ruler.opening import open_embedder

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "examples" / "emoji" / "pictures" / "fluent3d"
FIRST, SECOND = "banana.png", "baseball.png"
WANTED = BuildSettings(target=6, references=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """What was measured, so that a child that decodes is started once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def source(tmp_path) -> Path:
    """Fourteen emoji, three copies of them, a blurred one, a broken file and a tiny one."""
    folder = tmp_path / "source"
    (folder / "more").mkdir(parents=True)
    for at, path in enumerate(sorted(PICTURES.glob("*.png"))[:14]):
        target = folder / "more" if at % 3 == 0 else folder
        shutil.copy(path, target)
        shutil.copy(path.with_suffix(".txt"), target)
    first, second = folder / FIRST, folder / SECOND
    shutil.copy(first, folder / "the-same-again.png")
    Image.open(first).resize((96, 96)).save(folder / "larger.png")
    Image.open(second).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        folder / "mirrored.png"
    )
    (folder / "broken.png").write_bytes(first.read_bytes()[:500])
    Image.open(first).resize((20, 20)).save(folder / "tiny.png")
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    times = {name: (folder / name).stat().st_mtime_ns for name in bytes_of(folder)}
    return {name: (data, times[name]) for name, data in bytes_of(folder).items()}


def left_beside(folder: Path) -> list[Path]:
    return list(folder.glob(".lora-ci-build-*"))


def test_a_dataset_is_built_and_nothing_of_it_looks_like_its_references(source, tmp_path, cache):
    before, out = state_of(source), tmp_path / "out"
    plan = build_dataset(source, out, WANTED, cache=cache)
    assert state_of(source) == before
    assert not left_beside(tmp_path)
    files = sorted(bytes_of(out))
    assert sum(name.startswith("dataset/") and name.endswith(".png") for name in files) == 6
    assert sum(name.startswith("references/") and name.endswith(".png") for name in files) == 2
    found = validate_folder(
        out / "dataset",
        "fluent3d",
        ValidateSettings(min_images=6),
        references=out / "references",
        cache=cache,
    )
    assert not [f for f in found.findings if f.rule.startswith(("duplicate", "image", "dataset"))]
    by_name = {picture.name: picture for picture in plan.pictures}
    assert len(by_name) == 19
    assert by_name["broken.png"].fate is by_name["tiny.png"].fate is Fate.UNFIT
    assert "shorter side" in by_name["tiny.png"].reason
    kept = by_name["larger.png"]
    assert kept.fate is not Fate.DUPLICATE
    copies = [by_name["the-same-again.png"], by_name[FIRST]]
    assert {copy.fate for copy in copies} == {Fate.DUPLICATE}
    assert {copy.like for copy in copies} == {"larger.png"}
    for picture in plan.of(Fate.TRAINING):
        written = out / "dataset" / f"{picture.written_as}.txt"
        own = (source / picture.name).with_suffix(".txt")
        assert written.is_file() == own.is_file()
        if own.is_file():
            assert written.read_text().strip() == own.read_text().strip()


def test_the_same_bytes_twice_and_by_other_names(source, tmp_path, cache):
    plan = build_dataset(source, tmp_path / "one", WANTED, cache=cache)
    build_dataset(source, tmp_path / "two", WANTED, cache=cache)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for at, path in enumerate(sorted(source.rglob("*.png"), reverse=True)):
        shutil.copy(path, renamed / f"{at:02}.png")
        if path.with_suffix(".txt").is_file():
            shutil.copy(path.with_suffix(".txt"), renamed / f"{at:02}.txt")
    again = build_dataset(renamed, tmp_path / "three", WANTED, cache=cache)
    for fate in (Fate.TRAINING, Fate.REFERENCE):
        assert {p.sha256 for p in again.of(fate)} == {p.sha256 for p in plan.of(fate)}


KILLED = """
import os, signal, sys
from pathlib import Path
from lora_ci.dataset.build_choice import plan_build
from lora_ci.dataset.build_plan import BuildSettings
from lora_ci.dataset.builder import build_dataset

def progress(what, done, total):
    if (what, done) == (sys.argv[4], int(sys.argv[5])):
        os.kill(os.getpid(), signal.SIGKILL)

build_dataset(
    Path(sys.argv[1]), Path(sys.argv[2]), BuildSettings(target=6, references=2),
    cache=Path(sys.argv[3]), progress=progress,
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [("write", 5, 5), ("contact sheet", 3, 8)])
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(source, tmp_path, cache, moment):
    what, done, there = moment
    build_dataset(source, tmp_path / "whole", WANTED, cache=cache)
    out = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, source, out, cache, what, done]
    killed = subprocess.run([str(word) for word in words], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    (aside,) = left_beside(tmp_path)
    begun = {path: path.stat().st_ino for path in aside.rglob("*.png")}
    assert len(begun) == there
    (aside / "dataset" / ".half.png.123").write_bytes(b"half")
    build_dataset(source, out, WANTED, cache=cache)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert {out / p.relative_to(aside): inode for p, inode in begun.items()}.items() <= {
        path: path.stat().st_ino for path in out.rglob("*.png")
    }.items()
    assert not left_beside(tmp_path)


def test_what_was_begun_with_other_settings_is_removed(source, tmp_path, cache):
    def stop(what: str, done: int, total: int) -> None:
        if what == "write":
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build_dataset(source, out, BuildSettings(target=3), cache=cache, progress=stop)
    (begun,) = left_beside(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_dataset(source, out, BuildSettings(target=4), cache=cache, progress=stop)
    (other,) = left_beside(tmp_path)
    assert begun != other
    assert not out.exists()


def test_pinned_pictures_are_taken_even_if_they_are_much_alike(source, tmp_path, cache):
    pins = ("mirrored.png", FIRST, SECOND)
    settings = BuildSettings(target=4, references=1, pinned=pins)
    plan = build_dataset(source, tmp_path / "out", settings, cache=cache)
    chosen = {p.name for p in plan.of(Fate.TRAINING)}
    assert chosen > set(pins)
    assert not chosen & {"larger.png", "the-same-again.png"}


def test_a_blurred_picture_is_left_out_unless_it_is_allowed_or_pinned(source, tmp_path, cache):
    soft = Image.open(source / SECOND).convert("RGB").resize((256, 256))
    soft.filter(ImageFilter.GaussianBlur(8)).save(source / "soft.png")
    fates = {}
    for name, changes in (
        ("as it is", {}),
        ("allowed", {"allowed": ("image.blurred", "image.unreadable")}),
        ("pinned", {"pinned": ("soft.png",)}),
    ):
        settings = BuildSettings(target=6, **changes)
        found = {p.name: p for p in plan_build(source, settings, cache=cache).plan.pictures}
        fates[name] = found["soft.png"].fate
        assert "blurred" in found["soft.png"].reason
        assert found["broken.png"].fate is Fate.UNFIT
    assert fates["as it is"] is Fate.UNFIT
    assert fates["allowed"] is not Fate.UNFIT
    assert fates["pinned"] is Fate.TRAINING


SHEET = 'license: CC-BY-4.0\nconsent: "Mei N. agreed"\npeople: true\n'


def test_what_people_told_is_kept_and_what_they_did_not_is_asked(source, tmp_path, cache):
    build_dataset(source, tmp_path / "asked", WANTED, cache=cache)
    asked = (tmp_path / "asked" / "dataset" / "datasheet.yml").read_text()
    assert all(value is None for value in yaml.safe_load(asked).values())
    (source / "datasheet.yml").write_text(SHEET)
    build_dataset(source, tmp_path / "told", WANTED, cache=cache)
    told = yaml.safe_load((tmp_path / "told" / "dataset" / "datasheet.yml").read_text())
    assert told["consent"] == "Mei N. agreed"
    assert told["people"] is True
    assert told["purpose"] is None
    assert "Mei N. agreed" in (tmp_path / "told" / "datasheet.md").read_text()
    (source / "more" / "datasheet.yml").write_text("license: MIT\n")
    plan = build_dataset(source, tmp_path / "several", WANTED, cache=cache)
    assert plan.notes == ("the chosen pictures have several datasheets: none was kept",)
    assert (tmp_path / "several" / "dataset" / "datasheet.yml").read_text() == asked


@pytest.mark.slow
def test_a_burst_is_never_on_both_sides(tmp_path):
    """Pictures that a chain of look-alikes joins, the two ends of which are unlike."""
    folder = tmp_path / "burst"
    folder.mkdir()
    paths = sorted(PICTURES.glob("*.png"))
    for at in (4, 9):
        picture = Image.open(paths[at]).convert("RGB").resize((320, 320))
        for step in range(14):
            cut = 4 * step
            part = picture.crop((cut, cut // 2, 320, 320 - cut // 2)).resize((160, 160))
            part.save(folder / f"burst{at}-{step:02}.png")
    for path in paths[20:24]:
        shutil.copy(path, folder)
    plan = plan_build(folder, BuildSettings(target=3, references=2)).plan
    sides = {fate: {p.name[:6] for p in plan.of(fate)} for fate in (Fate.TRAINING, Fate.REFERENCE)}
    bursts = [p for p in plan.pictures if p.name.startswith("burst")]
    assert sum(p.fate is not Fate.DUPLICATE for p in bursts) > 2
    assert not {s for s in sides[Fate.TRAINING] & sides[Fate.REFERENCE] if s.startswith("burst")}


def test_an_embedder_compares(source, tmp_path, cache):
    embedder = open_embedder("classic:", None)
    plan = build_dataset(source, tmp_path / "out", WANTED, embedder=embedder, cache=cache)
    assert plan.features.startswith("classic:")
    assert plan.count(Fate.TRAINING) == 6


def test_a_picture_that_changes_meanwhile_is_told(source, tmp_path, cache):
    def change(what: str, done: int, total: int) -> None:
        if what == "write" and done == 1:
            for path in source.rglob("*.png"):
                path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(InputError, match="changed while the dataset was built"):
        build_dataset(source, tmp_path / "out", WANTED, cache=cache, progress=change)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target": 40}, (InputError, "40 to train on are wanted, 14 of 19 pictures can be used")),
        ({"target": 12, "references": 5}, (InputError, "12 to train on and 5 to hold out")),
        ({"pinned": ("no.png",)}, (UsageError, r"no\.png is pinned; there is no such picture")),
        ({"pinned": ("broken.png",)}, (InputError, "pinned, and cannot be used")),
        ({"target": 1, "pinned": ("larger.png", "mirrored.png")}, (UsageError, "2 pictures are")),
    ],
)
def test_what_cannot_be_built_is_told(source, tmp_path, cache, changes, expected):
    error, told = expected
    settings = BuildSettings(**{"target": 6, **changes})
    with pytest.raises(error, match=told):
        build_dataset(source, tmp_path / "out", settings, cache=cache)
    assert not (tmp_path / "out").exists()


def test_why_too_few_can_be_used_is_told(source, tmp_path, cache):
    with pytest.raises(InputError) as told:
        build_dataset(source, tmp_path / "out", BuildSettings(target=40), cache=cache)
    message = str(told.value)
    for reason in ("1 image.unreadable", "1 image.too-small", "3 nearly the same"):
        assert reason in message
    assert told.value.findings[0].hint == "next: add pictures, or --target 14"


def test_a_place_in_use_or_in_the_source_is_refused(source, tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for out in (used, used / "mine.txt", link, source / "out", source, tmp_path):
        with pytest.raises(UsageError):
            build_dataset(source, out, WANTED)
    assert bytes_of(used) == {"mine.txt": b"mine"}


def test_names_of_any_kind_are_told_and_written_plainly(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["<script>alert(1).png", "a\nb.png", "é" * 60 + ".png", "| x | y |.png"]
    for name, path in zip(names, sorted(PICTURES.glob("*.png")), strict=False):
        shutil.copy(path, folder / name)
    os.symlink("/etc/passwd", folder / "link.png")
    os.mkfifo(folder / "pipe.png")
    out = tmp_path / "out"
    plan = build_dataset(folder, out, BuildSettings(target=4))
    assert plan.count(Fate.UNFIT) == 2
    for name in bytes_of(out):
        assert name.isascii()
        assert name.isprintable()
    page = (out / "contact-sheet.html").read_text()
    assert "<script" not in page
    assert page.count("<img ") == 4
    assert "| x | y |" not in (out / "datasheet.md").read_text()
    assert json.loads((out / "datasheet.json").read_text())["counts"]["training"] == 4


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_picture_is_written_upright_and_without_what_is_not_pixels():
    levels = np.zeros((40, 60, 3), np.uint8)
    levels[:20, :30] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8825] = {1: "N", 2: (48.0, 1.0, 2.0)}
    given = saved(Image.fromarray(levels), exif=exif, icc_profile=b"no profile")
    for kind in ("png", "jpeg"):
        written = opened(normalised(given, Form(kind=kind)))
        assert written.size == (40, 60)
        assert written.mode == "RGB"
        assert not written.getexif()
        assert not {"icc_profile", "exif", "xmp", "comment"} & written.info.keys()
        red = np.asarray(written)[5, 35]
        assert red[0] > 230
        assert red[1] < 30


def test_transparency_is_put_on_white_and_sixteen_bits_are_scaled():
    clear = Image.new("RGBA", (64, 64), (10, 20, 30, 0))
    assert np.asarray(opened(normalised(saved(clear), Form()))).min() == 255
    keyed = Image.new("RGB", (64, 64), (10, 20, 30))
    given = saved(keyed, transparency=(10, 20, 30), icc_profile=SRGB)
    assert np.asarray(opened(normalised(given, Form()))).min() >= 254
    deep = Image.fromarray(np.full((64, 64), 32896, np.uint16))
    assert np.unique(np.asarray(opened(normalised(saved(deep), Form())))).tolist() == [128]


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((2048, 2048), 512, (512, 512)),
        ((3000, 2000), 512, (640, 427)),
        ((640, 427), 512, (640, 427)),
        ((300, 200), 512, (300, 200)),
        ((2000, 1000), None, (2000, 1000)),
    ],
)
def test_a_picture_is_reduced_until_it_fills_its_bucket(size, side, expected):
    given = saved(Image.new("RGB", size, "teal"))
    assert opened(normalised(given, Form(size=side))).size == expected
