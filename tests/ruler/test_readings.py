"""What was measured is found again whole, or not at all."""

from dataclasses import dataclass

import pytest

from lora_ci.ruler.readings import Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A reading of several numbers."""

    attach_s: float
    size_bytes: int


COST = Cost(attach_s=0.25, size_bytes=7)
KEY = ["losses", ("base", "cpu"), {"weight": 1.0}]


def test_a_reading_is_found_by_its_whole_key(tmp_path):
    readings = Readings(tmp_path)
    assert readings.get(KEY, Cost) is None
    readings.put(KEY, COST)
    assert Readings(tmp_path).get(["losses", ["base", "cpu"], {"weight": 1.0}], Cost) == COST
    assert readings.get(["losses", ("base", "cpu"), {"weight": 0.5}], Cost) is None
    readings.put(KEY, [0.1, 1 / 3])
    assert readings.get(KEY, list[float]) == [0.1, 1 / 3]


def test_another_kind_or_a_damaged_file_is_none(tmp_path):
    readings = Readings(tmp_path)
    readings.put(KEY, COST)
    assert readings.get(KEY, list[float]) is None
    (path,) = tmp_path.rglob("*.reading")
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert readings.get(KEY, Cost) is None
    path.write_bytes(whole[:-1])
    assert readings.get(KEY, Cost) is None


def test_numbers_that_are_none_are_no_reading(tmp_path):
    readings = Readings(tmp_path)
    readings.put(KEY, [float("nan")])
    assert readings.get(KEY, list[float]) is None


def test_a_disk_that_takes_nothing_costs_measuring_again(tmp_path, monkeypatch):
    def fail(number):
        def write(*_):
            raise OSError(number, "no", str(tmp_path))

        monkeypatch.setattr("lora_ci.ruler.readings.write_cached", write)

    fail(28)
    Readings(tmp_path).put(KEY, COST)
    assert Readings(tmp_path).get(KEY, Cost) is None
    fail(2)
    with pytest.raises(OSError, match="no"):
        Readings(tmp_path).put(KEY, COST)
