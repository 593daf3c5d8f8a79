"""What the driver says of GPUs and their memory, and what a machine does with it.

The driver is played: its answers have the shape that NVML's documentation gives them.
"""

import os
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.machine import Machine
from lora_ci.execution.inventory import GIB, NO_DRIVER, NO_WORD, find_machine
from lora_ci.execution.this_machine import ThisMachine
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.runners import RunnerState
from tests.execution.test_placement import begun, machine, running, waiting
from tests.ledgers import new_ledger


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


@dataclass
class Device:
    """A GPU as NVML shows it: `parts` are its MIG slices, `processes` pairs of pid and bytes."""

    uuid: str
    name: str = "NVIDIA GeForce RTX 4090"
    total: int = 24564 * 2**20
    free: int = 24000 * 2**20
    capability: tuple[int, int] = (8, 9)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    parts: list["Device"] | None = None
    instance: int = 0
    lost: bool = False
    unified: bool = False
    silent: bool = False


class Driver:
    """The functions of `pynvml` that are asked."""

    NVMLError = NVMLError
    NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_DRIVER_NOT_LOADED = 12, 9
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_FOUND, NVML_DEVICE_MIG_ENABLE = 3, 6, 1

    def __init__(self, *devices: Device, broken: int | None = None) -> None:
        self.devices, self.broken = devices, broken

    def fail(self, value: int) -> None:
        raise NVMLError(value)

    def nvmlInit(self) -> None:
        if self.broken is not None:
            raise NVMLError(self.broken)

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        if self.devices[index].lost:
            raise NVMLError(15)
        return self.devices[index]

    def nvmlDeviceGetMigMode(self, device: Device) -> list[int]:
        if device.capability < (8, 0):
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return [int(device.parts is not None)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Device) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Device, index: int) -> Device:
        if index >= len(device.parts):
            raise NVMLError(self.NVML_ERROR_NOT_FOUND)
        return device.parts[index]

    def nvmlDeviceGetGpuInstanceId(self, part: Device) -> int:
        return part.instance

    def nvmlDeviceGetMemoryInfo(self, device: Device) -> SimpleNamespace:
        if device.unified:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(total=device.total, free=device.free)

    def nvmlDeviceGetCudaComputeCapability(self, device: Device) -> list[int]:
        return list(device.capability)

    def nvmlDeviceGetComputeRunningProcesses(self, device: Device) -> list[SimpleNamespace]:
        if device.silent:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in device.processes]

    def nvmlDeviceGetUUID(self, device: Device) -> str:
        return device.uuid

    def nvmlDeviceGetName(self, device: Device) -> bytes:
        return device.name.encode()


def found(driver: Driver, **more) -> Machine:
    return find_machine("m", nvml=driver, **more)


def uuids(driver: Driver, visible: str | None) -> list[str]:
    return [gpu.uuid for gpu in found(driver, visible=visible).gpus]


def test_a_gpu_is_told_with_its_memory():
    (gpu,) = found(Driver(Device("GPU-1"))).gpus
    assert (gpu.index, gpu.uuid, gpu.name) == (0, "GPU-1", "NVIDIA GeForce RTX 4090")
    assert (gpu.total_gib, gpu.capability) == (pytest.approx(23.988, abs=1e-3), "8.9")


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_machines_of_any_size(count):
    old = Device("GPU-0", "Tesla T4", 15360 * 2**20, 15000 * 2**20, (7, 5))
    driver = Driver(old, *(Device(f"GPU-{i}") for i in range(1, count)))
    assert [gpu.index for gpu in found(driver).gpus] == list(range(count))


def test_memory_that_attempts_hold_is_told_by_their_marks():
    marks = {10: "step-1.a", 11: "step-1.a", 12: ""}
    device = Device("GPU-1", processes=[(10, 3 * GIB), (11, GIB), (12, 2 * GIB), (13, None)])
    (gpu,) = found(Driver(device), mark_of=lambda pid: marks.get(pid, "")).gpus
    assert gpu.held_gib == {"step-1.a": 4.0}


def test_a_gpu_that_shares_the_machines_memory_has_that():
    (gpu,) = found(Driver(Device("GPU-1", "NVIDIA GB10", capability=(12, 1), unified=True))).gpus
    assert 0 < gpu.free_gib < gpu.total_gib
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    assert gpu.total_gib == pytest.approx(pages, rel=0.02)


def test_a_driver_that_does_not_tell_of_processes_tells_of_memory():
    (gpu,) = found(Driver(Device("GPU-1", silent=True))).gpus
    assert (gpu.held_gib, round(gpu.free_gib)) == ({}, 23)


def test_slices_are_gpus_and_the_whole_is_none():
    parts = [Device(f"MIG-{i}", "A100 MIG 3g.20gb", 20 * GIB, instance=i) for i in (1, 2)]
    whole = Device("GPU-0", "A100", 40 * GIB, capability=(8, 0), parts=parts)
    empty = Device("GPU-1", "A100", 40 * GIB, capability=(8, 0), parts=[])
    gpus = found(Driver(whole, empty)).gpus
    assert [(gpu.uuid, gpu.mig, gpu.total_gib) for gpu in gpus] == [
        ("MIG-1", "GPU-0", 20),
        ("MIG-2", "GPU-0", 20),
    ]


def test_of_slices_that_share_their_memory_one_is_used():
    parts = [Device(f"MIG-{i}", total=40 * GIB, instance=1) for i in range(3)]
    assert uuids(Driver(Device("GPU-0", capability=(9, 0), parts=parts)), None) == ["MIG-0"]


def test_no_driver_is_a_machine_without_gpus():
    for error in (Driver.NVML_ERROR_LIBRARY_NOT_FOUND, Driver.NVML_ERROR_DRIVER_NOT_LOADED):
        here = found(Driver(broken=error))
        assert (here.gpus, here.note, here.cpu_only) == ((), NO_DRIVER, True)


def test_a_driver_that_tells_too_little_gives_no_places():
    driver = Driver(Device("GPU-0"))
    driver.nvmlDeviceGetUUID = lambda device: driver.fail(driver.NVML_ERROR_NOT_SUPPORTED)
    here = found(driver)
    assert (here.gpus, here.note, here.cpu_only) == ((), NO_WORD, True)


def test_a_driver_that_does_not_answer_is_an_error():
    with pytest.raises(InfrastructureError, match="the NVIDIA driver: error 18"):
        found(Driver(broken=18))


def test_a_gpu_that_is_lost_takes_no_other_with_it():
    here = found(Driver(Device("GPU-0", lost=True), Device("GPU-1")))
    assert [gpu.uuid for gpu in here.gpus] == ["GPU-1"]
    assert here.note == "GPU 0: error 15"
    assert not found(Driver(Device("GPU-0", lost=True))).cpu_only


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, ["GPU-a0", "GPU-a1", "GPU-b2"]),
        ("", []),
        ("1", ["GPU-a1"]),
        ("2, 0", ["GPU-b2", "GPU-a0"]),
        ("GPU-b", ["GPU-b2"]),
        ("GPU-a", []),
        ("1,9,0", ["GPU-a1"]),
        ("-1", []),
    ],
)
def test_gpus_that_are_hidden_are_not_ours(visible, left):
    driver = Driver(Device("GPU-a0"), Device("GPU-a1"), Device("GPU-b2"))
    assert uuids(driver, visible) == left


def test_this_very_machine_can_be_looked_at():
    here = find_machine("here", slots=3)
    assert (here.name, here.slots) == ("here", 3)
    assert here.gpus or here.note


# What a machine does with it


class Hours(SystemClock):
    """A clock that goes on when it is told to."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Place:
    """A machine in a ledger."""

    ledger: Ledger
    clock: Hours
    here: Machine | Exception

    def look(self) -> Machine:
        self.clock.seconds += 100
        if isinstance(self.here, Exception):
            raise self.here
        return self.here


@pytest.fixture
def place(tmp_path):
    ledger = open_ledger(new_ledger(tmp_path), Hours())
    yield Place(ledger, Hours(), machine("4090", "4090"))
    ledger.close()


@pytest.fixture
def placement(place) -> ThisMachine:
    return ThisMachine(runners=place.ledger.runners, clock=place.clock, look=place.look)


def chosen(placement: ThisMachine, *steps, attempts=()) -> list[int]:
    return [c.waiting.step.id for c in placement.choose(steps, attempts, {})]


def test_the_ledger_is_told_what_is_there(place, placement):
    assert chosen(placement, waiting(1, gib=8)) == [1]
    (runner,) = place.ledger.runners.all()
    assert (runner.machine, runner.state) == (place.here, RunnerState.ACTIVE)


def test_a_cordoned_machine_takes_nothing_and_a_drained_one_gives_up_what_it_has(place, placement):
    busy = running(7, "GPU-m-0")
    assert chosen(placement, waiting(1), waiting(2, 0)) == [1, 2]
    place.ledger.runners.want("m", RunnerState.CORDONED, "a fan is broken")
    place.clock.seconds += 10
    assert chosen(placement, waiting(1), waiting(2, 0)) == []
    assert placement.preempt([], [busy], {}) == ()
    place.ledger.runners.want("m", RunnerState.DRAINED, "a fan is broken")
    place.clock.seconds += 10
    assert chosen(placement, waiting(1)) == []
    assert placement.preempt([], [busy], {}) == (busy.key,)
    place.clock.seconds += 100
    assert chosen(placement) == []
    assert place.ledger.runners.find("m").why == "a fan is broken"
    place.ledger.runners.want("m", RunnerState.ACTIVE, "")
    place.clock.seconds += 10
    assert chosen(placement, waiting(1)) == [1]


def test_gpus_whose_driver_went_away_are_waited_for(place, placement):
    assert chosen(placement, waiting(1)) == [1]
    for away in (
        InfrastructureError("the NVIDIA driver: gone"),
        Machine(name="m", slots=2, note=NO_DRIVER, cpu_only=True),
    ):
        place.here = away
        place.clock.seconds += 10
        assert chosen(placement, waiting(1), waiting(2, 0)) == [2]
    place.here = machine("4090")
    place.clock.seconds += 10
    assert chosen(placement, waiting(1)) == [1]


def test_where_there_never_was_a_gpu_steps_run_without(place, placement):
    place.here = Machine(name="m", note=NO_DRIVER, cpu_only=True)
    placement.without_gpu = 2
    steps = [waiting(1, work="w"), waiting(4, work="w"), waiting(2, 4, 80), waiting(3)]
    found = list(placement.choose(steps, [], {}))
    assert [(c.waiting.step.id, c.place.node) for c in found] == [(1, "m"), (2, "m")]
    place.ledger.runners.want("m", RunnerState.DRAINED, "no power")
    place.clock.seconds += 10
    assert chosen(placement, waiting(1)) == []
    assert placement.preempt([], [begun(found[0])], {}) == ("step-1-1",)


@pytest.mark.parametrize("here", [machine("4090"), Machine(name="m", note="", cpu_only=True)])
def test_what_a_cluster_does_or_never_began_holds_up_nothing_here(place, placement, here):
    place.here = here
    there = replace(running(7, work="w"), executor="ray", handle=None, place={"node": ""})
    assert chosen(placement, waiting(1, work="w"), attempts=[there]) == [1]


def test_memory_that_another_program_takes_counts_at_the_next_look(place, placement):
    assert chosen(placement, waiting(1, gib=20)) == [1]
    full = tuple(replace(gpu, free_gib=4.0) for gpu in place.here.gpus)
    place.here = replace(place.here, gpus=full)
    place.clock.seconds += 10
    assert chosen(placement, waiting(1, gib=20)) == []
