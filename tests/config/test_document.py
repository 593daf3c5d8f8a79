"""YAML and TOML as documents: what plain text means, and what is refused."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config import document
from lora_ci.config.document import Node, parse_yaml
from lora_ci.config.toml_document import parse_toml
from lora_ci.core.errors import UsageError
from tests.config.told import SMALL, errors

LAUGHS = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None), ("~", None), ("Null", None), ("", None),
        ("true", True), ("TRUE", True), ("False", False),
        ("no", "no"), ("on", "on"), ("y", "y"), ("tRUE", "tRUE"),
        ("12", 12), ("-3", -3), ("+4", 4), ("010", 10), ("0o10", 8), ("0x1F", 31),
        ("1_000", "1_000"), ("0b11", "0b11"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("1e-4", 1e-4), ("1.5", 1.5), (".5", 0.5), ("2.", 2.0), ("1E3", 1000.0), ("1.2.3", "1.2.3"),
        (".inf", float("inf")), ("-.INF", float("-inf")), (".Infinity", ".Infinity"),
        ("-", "-"), (".", "."), ("'12'", "12"), ('"true"', "true"), ("|-\n  12", "12"),
        ('"\\u00e4"', "ä"), ("=", "="), ("<", "<"),
    ],
)  # fmt: skip
def test_plain_text_means_what_yaml_1_2_says(text, value):
    if text == "-":
        text = "'-'"
    node = parse_yaml(f"a: {text}\n".encode(), "f").value["a"]
    assert node.value == value
    assert type(node.value) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: &x 1\nb: *x\n", "1:4 `&x`: anchors and aliases"),
        (LAUGHS, "anchors and aliases"),
        (b"a: 1\na: 2\n", "2:1 `a` stands twice (first in line 1)"),
        (b"".join(b"a: %d\n" % i for i in range(10_000)), "2:1 `a` stands twice"),
        (b"a: !!python/object/apply:os.system [ls]\n", "1:4 tag `tag:yaml.org,2002:python"),
        (b"a: !x 1\n", "1:4 tag `!x`"),
        (b"a: !!str 1\n", "1:4 tag"),
        (b"<<: {b: 1}\n", "1:1 merge keys"),
        (b"[" * 5000, "nested deeper"),
        (b"a: " + b"[" * 40 + b"]" * 40, "1:36 nested deeper"),
        (b"".join(b" " * i + b"a:\n" for i in range(200)), "nested deeper"),
        (b"a: a: 1\n", "1:5 not YAML"),
        (b"a: [1\n", "not YAML"),
        (b"a:\n\t- 1\n", "not YAML"),
        (b"a: 1\n---\nb: 1\n", "2:1 a second document"),
        (b"\xff\xfea\x00", "1:1 the file is UTF-16, not UTF-8"),
        ("a: 1".encode("utf-16-le"), "the file is UTF-16"),
        ("a: 1".encode("utf-32"), "the file is UTF-32"),
        ("a: 1\nb: ä".encode("latin-1"), "2:4 not UTF-8"),
        (b"a: 1\nb: \x00\n", "2:4 control character U+0000"),
        (b"a: \x1b[31m\n", "1:4 control character U+001B"),
        (b"x" * 1_000_001, "larger than the 1000000 bytes"),
        (b"? [a, b]\n: 1\n", "1:3 a key must be plain text"),
        (b"1: a\n", "1:1 a key must be plain text"),
        (b"true: a\n", "a key must be plain text"),
        (b"? \n: a\n", "a key must be plain text"),
        (b"a: 99999999999999999999\n", "1:4 `99999999999999999999` has more than 64 bits"),
        (b"a: " + b"9" * 900_000 + b"\n", "more than 64 bits"),
        (b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "2:1 `<<<<<<<`: a merge"),
        (b"a: 1\r\n=======\r\n", "2:1 `=======`: a merge conflict"),
        (b"- 1\n- [\n", "not YAML"),
    ],
)  # fmt: skip
def test_hostile_and_broken_documents_are_refused_at_their_place(text, told):
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "f")
    found = caught.value.findings
    assert len(found) <= 101
    assert told in f"{found[0].location().removeprefix('f:')} {found[0].message}"


def test_the_pure_parser_gives_the_same(monkeypatch):
    text = b"a: [1, {b: 'c'}]\nd: |\n  x\ne:\n"
    fast = parse_yaml(text, "f")
    monkeypatch.setattr(document, "LOADER", yaml.Loader)
    assert parse_yaml(text, "f") == fast
    with pytest.raises(UsageError):
        parse_yaml(b"a: *b\n", "f")


def test_a_byte_order_mark_and_windows_lines_are_fine():
    node = parse_yaml(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "f")
    assert node.plain() == {"a": 1, "b": 2}
    assert node.value["b"].where.column == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a = [1,\n", "f:2:1 not TOML"),
        (b"a = 1\nb = = 2\n", "f:2:5 not TOML"),
        (b"a = 1\na = 2\n", "f:2:"),
        (b".".join([b"a"] * 400_000) + b" = 1\n", "nested deeper"),
        (b"a = " + b"[" * 5000, "nested deeper"),
        (b"a = " + b"{b = " * 500 + b"1" + b"}" * 500, "nested deeper"),
        (b"[" + b".".join([b'"a"'] * 200_000) + b"]\n", "nested deeper"),
        (b"a = 1\n=======\n", "f:2:1 `=======`: a merge conflict"),
        (b"a = '\x00'", "control character"),
        (b"a = 9" * 300_000, "larger than"),
    ],
)
def test_wrong_toml_is_refused_at_its_place(text, told):
    with pytest.raises(UsageError) as caught:
        parse_toml(text, "f")
    (found,) = caught.value.findings
    assert told in f"{found.location()} {found.message}"


def test_toml_values_know_their_places():
    text = b"""\
[a."b.c"]   # [x]
k = ['''
x = 1
''', "]"]
[[d]]
e.f = 1
[[d]]
e = {f = 2, g = [3,
  4]}
[d.h]
i = "\\"="
"""

    def place(node: Node, *path):
        for part in path:
            node = node.value[part]
        return node.plain(), node.where.line, node.where.column

    node = parse_toml(text, "f")
    assert place(node, "a", "b.c", "k", 0) == ("x = 1\n", 2, 6)
    assert place(node, "a", "b.c", "k", 1) == ("]", 4, 6)
    assert place(node, "d", 0, "e", "f") == (1, 6, 7)
    assert place(node, "d", 1, "e", "f") == (2, 8, 10)
    assert place(node, "d", 1, "e", "g", 1) == (4, 9, 3)
    assert place(node, "d", 1, "h", "i") == ('"=', 11, 5)


@given(st.text(max_size=30).filter(lambda text: not document.CONTROL.search(text)))
def test_quoted_text_is_read_as_it_is(text):
    written = yaml.safe_dump({"a": text}, default_style='"', allow_unicode=True)
    assert parse_yaml(written.encode(), "f").plain() == {"a": text}


def test_a_whole_config_is_refused_as_its_document_is():
    assert errors(b"<<<<<<< HEAD\n" + SMALL)[0].startswith(".lora-ci.yml:1:1 `<<<<<<<`")
