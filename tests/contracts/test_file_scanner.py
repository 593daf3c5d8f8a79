"""What every scanner of files must hold."""

import pytest

from lora_ci.dataset.scanners.clamd import clamd_at
from lora_ci.dataset.scanners.yara import load_yara
from tests.clamav import EICAR, clamd, needs_clamd

RULE = "rule harmless_test { strings: $a = { %s } condition: $a }"


@pytest.fixture(scope="module", params=[pytest.param("clamd", marks=needs_clamd), "yara"])
def scanner(request, tmp_path_factory):
    if request.param == "yara":
        rules = tmp_path_factory.mktemp("rules") / "test.yar"
        rules.write_text(RULE % EICAR.hex())
        yield load_yara(rules)
    else:
        with clamd() as daemon:
            yield clamd_at(daemon.address)


@pytest.mark.parametrize("data", [b"", b"\0", b"a caption", bytes(1_500_000), EICAR[:-1]])
def test_a_clean_file_has_nothing_in_it(scanner, data):
    assert scanner.scan(data) == ()


@pytest.mark.parametrize(
    "data", [EICAR, b"\xff\xd8" * 9 + EICAR, EICAR + bytes(1_500_000), bytes(1_200_000) + EICAR]
)
def test_what_is_known_is_found_anywhere_and_named(scanner, data):
    (name,) = scanner.scan(data)
    assert name.isascii()
    assert name.isprintable()


def test_a_find_says_nothing_of_the_next_file(scanner):
    assert [bool(scanner.scan(data)) for data in (EICAR, b"x", EICAR, b"")] == [1, 0, 1, 0]


def test_who_it_is_stays_the_same(scanner):
    assert scanner.identity() == scanner.identity()
    assert scanner.name.isalpha()
