"""Whatever a manifest, a pointer, a lock or a DVC config holds: a value, or one of our errors."""

import hashlib
import json
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.changes.dvc_config import parse_dvc_config
from lora_ci.changes.manifest import parse_manifest
from lora_ci.changes.outs import read_outs
from lora_ci.changes.paths import is_hostile
from lora_ci.changes.pointer import parse_lock, parse_pointer
from lora_ci.core.errors import LoraCIError

MUTANTS = 400
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SEEDS = [
    json.dumps([{"md5": MD5, "relpath": f"sub/ü {i}.png"} for i in range(4)]).encode(),
    json.dumps([{"md5": MD5, "relpath": "a", "size": 3}], ensure_ascii=False).encode(),
    f"outs:\n- md5: {MD5}.dir\n  size: 1\n  nfiles: 2\n  hash: md5\n  path: mei\n".encode(),
    f"wdir: ..\nouts:\n- {{path: 'mei', md5: \"{MD5}\"}}\nmeta: [1, 2.5e3, ~]\n".encode(),
    f"schema: '2.0'\nstages:\n  a@1:\n    outs:\n    - path: b\n      md5: {MD5}\n".encode(),
    b"[core]\n    remote = s\n['remote \"s\"']\n    url = ../x\n[cache]\ndir = y\n",
]
PIECES = [
    *(b"\0", b"\xff", b"../", b"\n", b"\r", b"&a", b"*a", b"!!python/object", b"<<: ", b"\xf0\x9f"),
    *(b'"', b"'", b"{", b"]", b"\\ud800", b"\\u0000", b"9" * 400, b"\xef\xbb\xbf", b"? ", b"--- "),
    *(b"|\n", b"%YAML 1.1\n", b"\xc2\x85", b"\xe2\x80\xa8", b"-", b"1e999", b"[" * 2000, b"//"),
]
READERS = [
    lambda data: parse_manifest(data, "x.dvc"),
    lambda data: parse_manifest(data, "x.dvc", past=True),
    lambda data: parse_pointer(data, "data/x.dvc"),
    lambda data: parse_lock(data, "dvc.lock", data),
    lambda data: read_outs({"x.dvc": data, "dvc.lock": data, "dvc.yaml": data}, {}),
    lambda data: parse_dvc_config([(".dvc/config", data)]).url(),
]


def check(data: bytes) -> None:
    for read in READERS:
        with suppress(LoraCIError):
            read(data)


def mutant(seed: int) -> bytes:
    chance = random.Random(seed)
    data = chance.choice(SEEDS)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data = data[:at] + chance.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[at + chance.randint(1, 9) :]
            case 2:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 3:
                data = data[:at] + chance.choice(SEEDS)[chance.randrange(20) :] + data[at:]
            case _:
                data = data[:at] + data[: chance.randrange(60)] + data[at:]
    return data


@pytest.mark.parametrize("part", range(4))
def test_mutants_of_good_files_give_no_other_error(part):
    made = {mutant(seed) for seed in range(part, MUTANTS, 4)}
    assert len(made) > MUTANTS / 5
    for data in made:
        check(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_no_other_error(data):
    check(data)


NAMES = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["..", "con", "a/B"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=5))
def test_what_a_manifest_lets_in_stays_inside_and_apart(tmp_path_factory, paths):
    data = json.dumps([{"md5": hashlib.md5(b"").hexdigest(), "relpath": p} for p in paths])
    try:
        entries = parse_manifest(data.encode(), "x.dvc")
    except LoraCIError:
        return
    assert not any(is_hostile(path) for path in paths)
    root = tmp_path_factory.mktemp("out")
    for entry in entries:
        target = root / entry.path
        assert target.resolve().is_relative_to(root.resolve())
        assert not target.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
    assert sum(path.is_file() for path in root.rglob("*")) == len(paths)
