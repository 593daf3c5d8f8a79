"""Pictures of people need somebody's word that they agreed, where the config asks for it."""

import pytest

from lora_ci.core.settings import LoraType
from lora_ci.dataset.consent import consent_findings, read_datasheets

AGREED = "consent: Mei agreed on 2026-03-01\n"


def asked(folder, files, *, kind=LoraType.CHARACTER, people=()):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    sheets = read_datasheets(folder, files)
    images = [name for name in files if name.endswith(".png")]
    return [f.rule for f in (*sheets.findings, *consent_findings(sheets, images, kind, people))]


@pytest.mark.parametrize(
    ("text", "kind", "people", "rules"),
    [
        (None, "character", (), ["consent.missing"]),
        ("", "character", (), ["consent.missing"]),
        ("consent: '  '", "character", (), ["consent.missing"]),
        ("license: MIT", "character", (), ["consent.missing"]),
        (AGREED, "character", ("a.png",), []),
        (None, "style", (), []),
        (None, "style", ("a.png",), ["consent.missing"]),
        ("people: true", "style", (), ["consent.missing"]),
        ("people: false", "character", (), []),
        ("people: false", "character", ("a.png",), ["consent.missing"]),
        ("people: true\n" + AGREED, "style", ("a.png",), []),
        ("purpose: research\n" + AGREED, "character", (), []),
    ],
)
def test_who_is_asked_for_consent(tmp_path, text, kind, people, rules):
    files = {"a.png": ""} | ({} if text is None else {"datasheet.yml": text})
    assert asked(tmp_path, files, kind=LoraType(kind), people=people) == rules


@pytest.mark.parametrize(
    "text", ["- consent", "consent: [yes]", "consent: true", "a: b: c", "consent: !!python/name:x"]
)
def test_what_is_no_datasheet_is_no_consent(tmp_path, text):
    rules = asked(tmp_path, {"a.png": "", "datasheet.yml": text})
    assert rules == ["datasheet.unreadable", "consent.missing"]


def test_the_nearest_datasheet_counts(tmp_path):
    files = {"mei/a.png": "", "mei/more/b.png": "", "mei/datasheet.yaml": AGREED}
    assert asked(tmp_path, files) == []
    files |= {"mei/more/datasheet.yml": "license: MIT"}
    assert asked(tmp_path, files) == ["consent.missing"]
