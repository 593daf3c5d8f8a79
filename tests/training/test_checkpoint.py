"""Only whole checkpoints of this very training, in this format, are gone on from."""

import json
import os
import resource
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from lora_ci.core.errors import machine_error
from lora_ci.training import continued
from lora_ci.training.checkpoint import (
    Checkpoint,
    Found,
    load_checkpoint,
    newest_state,
    save_checkpoint,
)
from lora_ci.training.continued import Ends


def checkpoint(step: int, numbers: int = 2) -> Checkpoint:
    tensors = {
        "weight/a": torch.full((numbers,), float(step)),
        "host/step/a": torch.tensor(float(step)),
        "device/state1/a": torch.tensor([step], dtype=torch.uint8),
    }
    return Checkpoint(step=step, tensors=tensors, notes={"groups": [{"d": 1e-6, "k": 3}]})


@pytest.fixture
def folder(tmp_path):
    for step in (5, 10, 20):
        save_checkpoint(tmp_path, "f1", checkpoint(step))
    return tmp_path


def test_the_newest_of_two_is_taken(folder):
    assert len(list(folder.iterdir())) == 2
    found = load_checkpoint(folder, "f1").checkpoint
    assert (found.step, found.tensors["weight/a"].tolist()) == (20, [20, 20])
    assert found.notes == {"groups": [{"d": 1e-6, "k": 3}]}
    assert {name: value.dtype for name, value in found.tensors.items()} == {
        "weight/a": torch.float32,
        "host/step/a": torch.float32,
        "device/state1/a": torch.uint8,
    }
    assert load_checkpoint(folder, "f2").checkpoint is None


@pytest.mark.parametrize("other", ["2", "4", None])
def test_one_of_another_format_is_passed_over(folder, other):
    path = max(folder.iterdir())
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "format": other, "notes": json.dumps("of another shape")}
    known = {name: value for name, value in metadata.items() if value is not None}
    save_file({"moved": torch.zeros(1)}, path, known)
    found = load_checkpoint(folder, "f1")
    assert (found.checkpoint.step, found.damaged) == (10, ())


@settings(max_examples=25)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen_wherever_it_is(tmp_path_factory, where, bit):
    folder = tmp_path_factory.mktemp("flipped")
    for step in (10, 20):
        save_checkpoint(folder, "f1", checkpoint(step))
    path = max(folder.iterdir())
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    found = load_checkpoint(folder, "f1").checkpoint
    # Space between the parts of the header is no content.
    assert found.step == 10 or found.tensors["weight/a"].tolist() == [20, 20]
    assert found.notes == {"groups": [{"d": 1e-6, "k": 3}]}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_one_is_passed_over_and_told(folder, share):
    path = max(folder.iterdir())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = load_checkpoint(folder, "f1")
    assert found.checkpoint.step == 10
    (finding,) = found.findings()
    assert path.name in finding.message
    assert "from step 10" in finding.message


def test_what_was_passed_over_does_not_push_out_what_is_saved_next(folder):
    assert load_checkpoint(folder, "f2").checkpoint is None
    for step in (1, 2, 3):
        save_checkpoint(folder, "f2", checkpoint(step))
    assert load_checkpoint(folder, "f2").checkpoint.step == 3
    assert len(list(folder.iterdir())) == 2


def test_with_none_left_it_begins_anew(folder):
    for path in folder.iterdir():
        path.write_bytes(b"")
    found = load_checkpoint(folder, "f1")
    assert found.checkpoint is None
    assert "from the beginning" in found.findings()[0].message


def test_a_full_disk_keeps_the_old_one_and_says_so(folder):
    """A limit on the size of files stands for the disk's end: the kernel refuses the same way."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            save_checkpoint(folder, "f1", checkpoint(30, numbers=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert machine_error(caught.value).findings[0].rule == "machine.disk-full"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_killed_attempt_left_half_written_goes(folder):
    torn = folder / ".step-00000030.safetensors.17"
    torn.write_bytes(b"half")
    load_checkpoint(folder, "f1", tidy=False)
    assert torn.exists()
    load_checkpoint(folder, "f1")
    assert not torn.exists()


def test_the_furthest_end_within_the_budget_is_continued(tmp_path):
    ends = Ends(cache=tmp_path, prefix="p1")
    assert ends.furthest(100) is None
    for step in (10, 20, 40):
        ends.keep(checkpoint(step))
    assert [ends.furthest(total).step for total in (10, 15, 39, 40, 99)] == [10, 10, 20, 40, 40]
    assert ends.furthest(9) is None
    assert Ends(cache=tmp_path, prefix="p2").furthest(100) is None
    (tmp_path / "states" / "p1" / "step-00000040.safetensors").write_bytes(b"torn")
    assert ends.furthest(99).step == 20


def test_a_state_under_another_number_of_steps_is_no_state(tmp_path):
    ends = Ends(cache=tmp_path, prefix="p1")
    ends.keep(checkpoint(10))
    path = tmp_path / "states" / "p1" / "step-00000010.safetensors"
    path.rename(path.with_name("step-00000020.safetensors"))
    assert ends.furthest(20) is None


def test_an_end_that_is_dropped_while_it_is_read_leaves_nothing_in_its_place(tmp_path, monkeypatch):
    ends = Ends(cache=tmp_path, prefix="p1")
    ends.keep(checkpoint(10))
    (path,) = (tmp_path / "states" / "p1").iterdir()
    found = newest_state(path.parent, "p1")

    def dropped(*_: object, **__: object) -> Found:
        path.unlink()
        return found

    monkeypatch.setattr(continued, "newest_state", dropped)
    assert ends.furthest(10).step == 10
    assert not path.exists()


def test_processes_that_end_at_the_same_step_write_over_each_other_unharmed(tmp_path):
    def write_and_read() -> None:
        ends = Ends(cache=tmp_path, prefix="p1")
        for _ in range(8):
            ends.keep(checkpoint(10, numbers=20_000))
            assert ends.furthest(10).step == 10

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write_and_read()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0]
    assert [p.name for p in (tmp_path / "states" / "p1").iterdir()] == ["step-00000010.safetensors"]


def test_the_least_recently_used_end_goes_first(tmp_path):
    for number, prefix in enumerate(("p1", "p2", "p3")):
        Ends(cache=tmp_path, prefix=prefix).keep(checkpoint(10, numbers=1000))
        os.utime(tmp_path / "states" / prefix / "step-00000010.safetensors", (number, number))
    assert Ends(cache=tmp_path, prefix="p1").furthest(10)
    Ends(cache=tmp_path, prefix="p4", limit_bytes=3 * 5000).keep(checkpoint(10, numbers=1000))
    left = [p for p in ("p1", "p2", "p3", "p4") if Ends(cache=tmp_path, prefix=p).furthest(10)]
    assert left == ["p1", "p3", "p4"]
