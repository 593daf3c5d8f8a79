"""What metadata tells of a person is told; what merely describes a picture is not."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from lora_ci.dataset.decode import measure
from lora_ci.dataset.normalise import Form, normalised

DETAILS, PLACE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s/></x:xmpmeta>'


def written(path, tags=None, xmp=None):
    exif = Image.Exif()
    for where, tag, value in tags or []:
        (exif if where is None else exif.get_ifd(where))[tag] = value
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    given = {"xmp": xmp} if xmp else {}
    Image.fromarray(picture).save(path, exif=exif.tobytes() if tags else b"", **given)
    return path


def personal(path):
    return dict(measure(path, 10**6).problems).get("privacy.metadata", "").partition(": ")[2]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ([(PLACE, 2, (52.0, 31.0, 12.0)), (PLACE, 4, (13.0, 24.0, 18.0))], "place"),
        ([(DETAILS, 0xA431, "0042")], "serial number of the camera"),
        ([(DETAILS, 0xA430, "Mei"), (DETAILS, 0xA435, "7")], "owner of the camera, serial number"),
        ([(None, 0x013B, "Mei")], "artist"),
        ([(None, 0x0112, 6), (None, 0x010F, "Maker"), (None, 0x013B, "  ")], ""),
        ([(PLACE, 0, b"\2\3\0\0")], ""),
        ([(DETAILS, 0xA431, "")], ""),
    ],
)
def test_exif(tmp_path, name, tags, told):
    found = personal(written(tmp_path / name, tags))
    assert found.startswith(told) if told else found == ""


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'exif:GPSLatitude="52,31N"', "place"),
        (b'aux:SerialNumber="42"', "serial number of the camera"),
        (b'aux:OwnerName="Mei"', "owner of the camera"),
        (b'dc:title="a crab"', ""),
    ],
)
def test_xmp(tmp_path, name, text, told):
    assert personal(written(tmp_path / name, xmp=XMP % text)) == told


@pytest.mark.parametrize("damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 60000])
def test_broken_metadata_tells_nothing(tmp_path, damage):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64), (9, 99, 200)).save(path, exif=damage)
    assert personal(path) == ""


def test_what_is_built_has_none(tmp_path):
    path = written(tmp_path / "a.jpg", [(PLACE, 2, (52.0, 31.0, 12.0)), (DETAILS, 0xA431, "42")])
    assert personal(path)
    (tmp_path / "built.png").write_bytes(normalised(path.read_bytes(), Form()))
    assert personal(tmp_path / "built.png") == ""
