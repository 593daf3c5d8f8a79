"""What a scanner flags is an error, or a person's to look at; one that cannot tell is no pass."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.content import check_content
from lora_ci.dataset.known import KnownAnswers
from lora_ci.dataset.safety import ScannedWith, look_at_content
from tests import tiny_scanners as tiny
from tests.tiny_embedders import write_program

NAMES = [f"{number:02}.png" for number in range(40)]


class Guard:
    """Sure of red by how red the first pixel is; remembers how many pictures it was shown."""

    labels = ("red", "person")

    def __init__(self, error=None):
        self.shown, self.error = 0, error

    def scan(self, pictures):
        if self.error:
            raise self.error
        self.shown += len(pictures)
        colors = [(p[0, 0] / 255).tolist() for p in pictures]
        return [{"red": red, "person": green} for red, green, _ in colors]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "set"
    made.mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (32, 32), (number, 0, number)).save(made / name)
    Image.new("RGB", (32, 32), (204, 0, 0)).save(made / "07.png")
    Image.new("RGB", (32, 32), (0, 255, 0)).save(made / "09.png")
    return made


def looked(folder, guard=None, identity=None, **settings):
    known = KnownAnswers(cache=folder.parent / "cache", identity=identity)
    return check_content(
        folder, NAMES, guard or Guard(), known, ValidateSettings(content="onnx:m", **settings)
    )


def test_what_is_flagged_is_an_error_at_its_file(folder):
    (found,) = looked(folder).findings
    assert (found.rule, found.severity, found.file) == ("content.blocked", "error", "07.png")
    assert found.message == "the scanner sees `red` (0.80; limit 0.5)"


@pytest.mark.parametrize(("limits", "count"), [({"red": 0.81}, 0), ({"red": 0.0}, 40)])
def test_limits(folder, limits, count):
    assert len(looked(folder, content_limits=limits).findings) == count


def test_people_are_no_fault(folder):
    assert looked(folder, content_limits={"person": 0.9}).people == ("09.png",)
    assert looked(folder, content_limits={"person": 0.9}).findings == ()


def test_a_person_may_let_a_picture_stay_but_not_another_of_its_name(folder):
    (found,) = looked(folder, content_policy="review").findings
    assert (found.rule, found.severity) == ("content.review", "warning")
    digest = hashlib.sha256((folder / "07.png").read_bytes()).hexdigest()
    assert digest in found.hint
    assert looked(folder, content_policy="review", reviewed=(digest,)).findings == ()
    assert looked(folder, content_policy="block", reviewed=(digest,)).findings
    Image.new("RGB", (32, 32), (255, 0, 0)).save(folder / "07.png")
    assert looked(folder, content_policy="review", reviewed=(digest,)).findings


def test_only_changed_pictures_are_shown_again_and_limits_come_after(folder):
    looked(folder, identity="a")
    for name in NAMES[:3]:
        Image.new("RGB", (32, 32), (0, 0, 77)).save(folder / name)
    again = Guard()
    assert len(looked(folder, again, identity="a", content_limits={"red": 0.0}).findings) == 40
    assert again.shown == 1, "three alike"
    other = Guard()
    looked(folder, other, identity="b")
    assert other.shown == 38


@pytest.mark.parametrize("error", [InputError("no"), InfrastructureError("no")])
def test_one_that_fails_is_no_pass(folder, error):
    with pytest.raises(InfrastructureError, match="no"):
        looked(folder, Guard(error), identity="a")
    assert looked(folder, identity="a").findings


def test_a_label_that_it_cannot_say_is_no_pass(folder):
    with pytest.raises(InfrastructureError, match="has no label `read`"):
        looked(folder, content_limits={"read": 0.5})


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b"x"), lambda p: p.unlink()])
def test_a_picture_that_cannot_be_shown_is_no_pass(folder, change):
    change(folder / "03.png")
    with pytest.raises(InfrastructureError):
        looked(folder)


def test_a_large_picture_is_shown_small(folder):
    class Large(Guard):
        def scan(self, pictures):
            assert max(max(p.shape) for p in pictures) <= 1024
            return super().scan(pictures)

    Image.new("RGB", (5000, 300), (204, 0, 0)).save(folder / "07.png")
    assert len(looked(folder, Large()).findings) == 1


def opened(folder, spec, files=None, **settings):
    settings = ValidateSettings(content=spec, **settings)
    given, cache = ScannedWith(folder=files, content_id="1"), folder.parent / "cache"
    return look_at_content(folder, (), settings, given, cache=cache, progress=lambda *_: None)


def test_a_model_file_is_asked(folder):
    files = tiny.write_onnx_scanner(folder.parent / "model")
    for _ in range(2):
        found = opened(folder, "onnx:m.onnx", files, content_limits={"dark": 0.7}).findings
        assert [f.file for f in found] == ["07.png"]


def test_a_program_is_asked_each_time(folder):
    program = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    labels = [['gore'] for _ in json.loads(line)['pictures']]\n"
        "    print(json.dumps({'labels': labels}), flush=True)\n"
    )
    assert len(opened(folder, write_program(folder.parent / "p", program)).findings) == 40
    broken = write_program(folder.parent / "p", "raise SystemExit('no model')")
    with pytest.raises(InfrastructureError, match="no model"):
        opened(folder, broken)


@pytest.mark.parametrize("files", [None, "empty"])
def test_a_model_that_is_not_there_is_no_pass(folder, files):
    place = folder.parent / "empty" if files else None
    if place:
        place.mkdir()
    for spec in ("onnx:m.onnx", "path:m"):
        with pytest.raises(InfrastructureError):
            opened(folder, spec, place)


def test_off_asks_nobody(folder):
    assert opened(folder, "exec:/nowhere", content_policy="off").findings == ()
    assert opened(folder, None).findings == ()


def test_animations_and_turned_pictures_can_be_shown(folder):
    frames = [Image.fromarray(np.full((32, 32, 3), v, np.uint8)) for v in (10, 200)]
    frames[0].save(folder / "08.png", save_all=True, append_images=frames[1:])
    assert len(looked(folder).findings) == 1
