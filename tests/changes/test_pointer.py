"""DVC's pointer files and lock files: outputs with an md5, or a finding with its line."""

import pytest

from lora_ci.changes.outs import read_outs
from lora_ci.changes.pointer import parse_lock, parse_pointer
from lora_ci.core.errors import InputError

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
NUMBER = "123456789012345678901234567890e5"
USUAL = f"outs:\n- md5: {MD5}.dir\n  size: 12\n  nfiles: 3\n  hash: md5\n  path: mei\n"


def finding(text: str, file: str = "data/mei.dvc"):
    with pytest.raises(InputError) as caught:
        parse_pointer(text.encode(), file)
    (only,) = caught.value.findings
    assert only.file == file
    return only


@pytest.mark.parametrize(
    "text",
    [
        USUAL,
        USUAL.replace("\n", "\r\n"),
        USUAL.replace("mei\n", "'mei'\n"),
        USUAL.replace("  hash: md5\n", ""),
        "md5: a\nfrozen: true\n" + USUAL + "meta: {a: 1}\n",
        "# by hand\nouts: [{path: mei, md5: " + MD5 + ".dir}]\n",
        USUAL.replace("mei\n", "mei") + "\n",
    ],
)
def test_a_pointer_is_read_however_it_is_spelled(text):
    pointer = parse_pointer(text.encode(), "data/mei.dvc")
    assert (pointer.md5, pointer.target) == (f"{MD5}.dir", "data/mei")
    assert pointer.is_folder


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("md5", [NUMBER, "1" * 32, "0" * 32])
def test_an_md5_that_looks_like_a_number_stays_text(md5, quote):
    for path in ("mei", "'mei'"):
        text = f"outs:\n- md5: {quote}{md5}{quote}\n  path: {path}\n"
        assert parse_pointer(text.encode(), "mei.dvc").md5 == md5


def test_names_that_yaml_reads_as_something_else_are_not_taken_for_text():
    for word in ("true", "null", "12"):
        assert "no DVC pointer" in finding(f"outs:\n- md5: {MD5}\n  path: {word}\n").message
    assert parse_pointer(f"outs:\n- md5: {MD5}\n  path: no\n".encode(), "no.dvc").path == "no"


def test_a_working_folder_moves_the_output():
    text = f"wdir: ../other\n{USUAL}"
    assert parse_pointer(text.encode(), "data/x.dvc").target == "other/mei"


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("", "no DVC pointer", 1),
        ("outs: 5", "no DVC pointer", 1),
        ("- a", "no mapping", 1),
        (f"outs:\n- md5: {MD5[:-1]}\n  path: mei\n", "no DVC pointer", 2),
        (f"outs:\n- md5: {MD5}\n", "no DVC pointer", 2),
        (f"outs:\n- md5: {MD5}\n  path: a\n- md5: {MD5}\n  path: b\n", "2 outputs", 2),
        ("outs:\n- etag: '5'\n  path: mei\n", "`etag`", 2),
        ("outs:\n- path: mei\n  checksum: '5'\n", "`checksum`", 3),
        (f"outs:\n- md5: {MD5}\n  hash: sha256\n  path: mei\n", "`sha256`", 2),
        (f"outs:\n- md5: {MD5}\n  path: /etc/passwd\n", "outside", 2),
        (f"outs:\n- md5: {MD5}\n  path: s3://bucket/x\n", "outside", 2),
        (f"outs:\n- md5: {MD5}\n  path: a/../../../x\n", "outside", 2),
        (f"outs:\n- md5: {MD5}\n  path: ../../x\n", "outside", 2),
        (f"wdir: ../..\nouts:\n- md5: {MD5}\n  path: x\n", "outside", 3),
        (f"wdir: /tmp\nouts:\n- md5: {MD5}\n  path: x\n", "outside", 3),
        (f"outs:\n- md5: &a {MD5}\n  path: mei\n", "anchors", 2),
        (f"outs:\n<<<<<<< HEAD\n- md5: {MD5}\n=======\n", "merge conflict", 2),
        (f"outs:\n- md5: {MD5}\n  md5: {MD5}\n  path: mei\n", "twice", 3),
    ],
)
def test_what_is_no_pointer_is_told_with_its_line(text, said, line):
    found = finding(text)
    assert said in found.message
    assert found.line == line
    assert found.hint
    assert "lora-ci" not in found.hint
    assert "defaults" not in found.hint


def test_text_that_is_not_utf_8_is_told():
    with pytest.raises(InputError, match="UTF-16"):
        parse_pointer(USUAL.encode("utf-16"), "mei.dvc")
    with pytest.raises(InputError, match="UTF-8"):
        parse_pointer(USUAL.replace("mei", "müi").encode("latin-1"), "mei.dvc")


LOCK = f"""\
schema: '2.0'
stages:
  crop@mei:
    cmd: python crop.py mei
    deps:
    - path: raw/mei
      md5: {MD5}
    outs:
    - path: crops/mei
      hash: md5
      md5: {NUMBER}.dir
  crop@leo:
    cmd: python crop.py leo
    outs:
    - path: crops/leo
      md5: {NUMBER}
    - path: crops/log
  bare:
    cmd: 'true'
"""


def test_a_lock_names_the_outputs_of_its_stages():
    found = {p.target: p.md5 for p in parse_lock(LOCK.encode(), "prep/dvc.lock")}
    assert found == {"prep/crops/mei": f"{NUMBER}.dir", "prep/crops/leo": NUMBER}


def test_paths_in_a_lock_start_in_the_working_folder_of_the_stage():
    stages = b"stages:\n  crop:\n    foreach: [mei, leo]\n    do: {wdir: sub, cmd: x}\n"
    found = {p.target for p in parse_lock(LOCK.encode(), "prep/dvc.lock", stages)}
    assert found == {"prep/sub/crops/mei", "prep/sub/crops/leo"}
    templated = b"stages:\n  crop:\n    wdir: ${item}\n"
    found = parse_lock(LOCK.encode(), "prep/dvc.lock", templated)
    assert [p.target for p in found] == [
        "prep/dvc.lock:crop@mei/crops/mei",
        "prep/dvc.lock:crop@leo/crops/leo",
    ]
    assert all("has a wdir with ${…}" in p.unplaced for p in found)


@pytest.mark.parametrize(
    "stages",
    [
        "base: &b\n  wdir: sub\nstages:\n  crop:\n    <<: *b\n    cmd: x\n",
        "base: &b {wdir: sub}\nother: &c {wdir: no}\nstages: {crop: {<<: [*b, *c]}}\n",
        "base: &b sub\nstages:\n  crop:\n    foreach: [mei]\n    do: {wdir: *b}\n",
        "base: &b {crop: {wdir: sub}}\nstages: {<<: *b, crop@: {wdir: no}}\n",
        "stages: {crop: {<<: {wdir: no}, wdir: sub}}\n",
    ],
)
def test_anchors_and_merge_keys_of_stages_are_read(stages):
    found = {p.target for p in parse_lock(LOCK.encode(), "dvc.lock", stages.encode())}
    assert found == {"sub/crops/mei", "sub/crops/leo"}


def test_stages_that_cannot_be_read_are_told_and_none_blows_up():
    levels = "".join(f"  a{i + 1}: &a{i + 1} {{<<: [{f'*a{i}, ' * 9}]}}\n" for i in range(40))
    bomb = f"vars:\n  a0: &a0 {{x: 1}}\n{levels}stages: {{crop: {{<<: *a40, wdir: sub}}}}\n"
    assert len(parse_lock(LOCK.encode(), "dvc.lock", bomb.encode())) == 2
    loop = b"stages: &s {crop: {<<: *s}, x: {wdir: y}}\n"
    assert len(parse_lock(LOCK.encode(), "dvc.lock", loop)) == 2
    for text, line in ((b"wdir: x\n<<<<<<< HEAD\n", 2), (b"wdir: [\n", 2), (b"wdir: *x", 1)):
        with pytest.raises(InputError) as caught:
            parse_lock(LOCK.encode(), "prep/dvc.lock", text)
        (only,) = caught.value.findings
        assert (only.file, only.line) == ("prep/dvc.yaml", line)
        assert "config" not in f"{only.rule} {only.hint}"
    deep = b"wdir: " + b"[" * 100_000
    with pytest.raises(InputError):
        parse_lock(LOCK.encode(), "dvc.lock", deep)


def test_outputs_outside_the_repository_are_left_out_of_a_lock():
    outs = "".join(
        f"    - path: {path}\n      md5: {MD5}\n"
        for path in ("/abs", "s3://b/x", "../../up", "../beside", "a/../..", "in")
    )
    text = f"schema: '2.0'\nstages:\n  a:\n    outs:\n{outs}"
    found = {p.target for p in parse_lock(text.encode(), "prep/dvc.lock")}
    assert found == {"beside", ".", "prep/in"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LOCK.replace("2.0", "3.0"), "schema '3.0'"),
        ("crop:\n  outs: []\n", "schema None"),
        (LOCK.replace(f"{NUMBER}.dir", "zz"), "no DVC pointer"),
        ("schema: '2.0'\nstages:\n  a: &x {}\n", "anchors"),
    ],
)
def test_a_lock_that_cannot_be_read_says_why(text, said):
    with pytest.raises(InputError, match=said) as caught:
        parse_lock(text.encode(), "dvc.lock")
    assert caught.value.findings[0].file == "dvc.lock"
    assert caught.value.findings[0].hint == "next: dvc repro, or dvc commit"


def test_an_output_is_found_by_what_lies_in_it_and_a_broken_file_only_hurts_its_own():
    texts = {"data/mei.dvc": USUAL.encode(), "data/leo.dvc": b"?", "dvc.lock": LOCK.encode()}
    outs = read_outs(texts, {})
    assert outs.above("data/mei/sub/a.png").target == "data/mei"
    assert outs.above("crops/mei").target == "crops/mei"
    assert outs.above("data/new") is None
    assert outs.above("crops/leo/a.png") is None
    with pytest.raises(InputError, match=r"leo\.dvc"):
        outs.above("data/leo/sub")


def test_a_broken_lock_hurts_its_own_folder_alone_and_so_does_one_with_templates():
    broken = read_outs({"prep/dvc.lock": b"- x"}, {})
    stages = b"stages: {crop: {wdir: '${item}'}}\n"
    templated = read_outs({"prep/dvc.lock": LOCK.encode(), "prep/dvc.yaml": stages}, {})
    for outs, said in ((broken, r"prep/dvc\.lock: no mapping"), (templated, "stage crop@mei has")):
        with pytest.raises(InputError, match=said) as caught:
            outs.above("prep/mei/crops/mei")
        assert caught.value.findings[0].line
        assert outs.above("prepared/mei") is None
