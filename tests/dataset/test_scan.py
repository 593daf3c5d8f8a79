"""Every file is shown to the scanners once, and a scanner that cannot tell stops the step."""

import os
from dataclasses import dataclass, field

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.dataset import scan
from lora_ci.dataset.known import LIMIT_BYTES, KnownAnswers
from lora_ci.dataset.scan import scan_files
from lora_ci.dataset.scanners.yara import load_yara


@dataclass
class Guard:
    """Finds bytes that say `bad`, and remembers what it was asked."""

    version: str | None = "1"
    asked: list[bytes] = field(default_factory=list)
    name: str = "Guard"

    def identity(self):
        return self.version

    def scan(self, data):
        self.asked.append(data)
        if data == b"odd":
            raise InfrastructureError("it cannot tell")
        return ("Bad.Thing",) if b"bad" in data else ()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "set"
    (made / "deeper").mkdir(parents=True)
    for number in range(20):
        (made / f"{number:02}.txt").write_bytes(b"file %d" % number)
    return made


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def test_a_find_is_an_error_at_its_file(folder, tmp_path):
    (folder / "deeper" / "x.png").write_bytes(b"is bad")
    (found,) = scan_files(folder, names(folder), [Guard()], tmp_path / "cache")
    assert (found.rule, found.severity, found.file) == ("scan.found", "error", "deeper/x.png")
    assert found.message == "Guard finds Bad.Thing in it"


def test_of_a_push_with_three_changed_files_three_are_scanned(folder, tmp_path):
    cache = tmp_path / "cache"
    scan_files(folder, names(folder), [Guard()], cache)
    for name in ("03.txt", "07.txt", "new.txt"):
        (folder / name).write_bytes(b"changed " + name.encode())
    (folder / "00.txt").rename(folder / "moved.txt")
    again = Guard()
    assert scan_files(folder, names(folder), [again], cache) == []
    assert len(again.asked) == 3


@pytest.mark.parametrize("version", ["2", None])
def test_other_signatures_or_unknown_ones_scan_all(folder, tmp_path, version):
    cache = tmp_path / "cache"
    for _ in range(2):
        guard = Guard("1" if version else None)
        scan_files(folder, names(folder), [guard], cache)
    other = Guard(version)
    scan_files(folder, names(folder), [other], cache)
    assert len(other.asked) == 20


def test_what_was_found_is_found_again(folder, tmp_path):
    (folder / "x.txt").write_bytes(b"bad")
    for _ in range(2):
        assert scan_files(folder, names(folder), [Guard()], tmp_path / "cache")


def test_one_that_cannot_tell_stops_it_and_leaves_nothing_behind(folder, tmp_path):
    (folder / "10.txt").write_bytes(b"odd")
    for _ in range(2):
        with pytest.raises(InfrastructureError, match="cannot tell"):
            scan_files(folder, names(folder), [Guard()], tmp_path / "cache")


def test_links_and_special_files_are_not_opened(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"bad")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe.txt")
    guard = Guard()
    assert scan_files(folder, names(folder), [guard], tmp_path / "cache") == []
    assert len(guard.asked) == 20


def test_a_file_that_is_too_large_is_not_clean(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "MAX_FILE_BYTES", 100)
    (folder / "x.txt").write_bytes(bytes(101))
    with pytest.raises(InfrastructureError, match=r"x\.txt has more than"):
        scan_files(folder, names(folder), [Guard()], tmp_path / "cache")


def test_a_damaged_cache_costs_what_is_damaged(tmp_path):
    known = KnownAnswers(cache=tmp_path, identity="a")
    for digest in ("aa", "bb", "cc"):
        known.put(digest, {"x": 0.5})
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"bb"', b'"b\xff') + b'["dd", {"x"')
    again = KnownAnswers(cache=tmp_path, identity="a")
    assert [again.get(d) for d in ("aa", "bb", "cc", "dd")] == [{"x": 0.5}, None, {"x": 0.5}, None]
    again.put("dd", {})
    assert KnownAnswers(cache=tmp_path, identity="a").get("dd") == {}
    assert KnownAnswers(cache=tmp_path, identity="b").get("aa") is None
    with path.open("ab") as file:
        file.truncate(LIMIT_BYTES + 1)
    assert KnownAnswers(cache=tmp_path, identity="a").get("aa") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule x {", r"bad\.yar: error"),
        ('include "/etc/passwd"', "include"),
        (b"\xff\xfe", "codec"),
    ],
)
def test_rules_that_are_none_are_told(tmp_path, text, words):
    file = tmp_path / "bad.yar"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InfrastructureError, match=words) as caught:
        load_yara(tmp_path)
    assert "root:" not in str(caught.value)


def test_no_rules_are_no_scan(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InfrastructureError, match="no YARA rules"):
            load_yara(place)


def test_rules_are_known_by_their_content(tmp_path):
    def digest(text):
        (tmp_path / "a.yar").write_text(text)
        return load_yara(tmp_path).identity()

    one = digest("rule a { condition: true }")
    assert one == digest("rule a { condition: true }")
    assert one != digest("rule a { condition: false }")
