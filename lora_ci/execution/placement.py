"""Which waiting step goes to which GPU. The same machines and steps give the same places.

What a step asks for is a filter first. Of the GPUs that are left the one that is filled best is
taken; who comes first is a matter of fairness (`turns.in_turn`). docs/executors.md has the rules in
words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lora_ci.core.machine import Gpu, Machine
from lora_ci.execution.executor import Place
from lora_ci.execution.local import mark_of
from lora_ci.execution.turns import INTERACTIVE, SEARCH, Choice, in_turn
from lora_ci.ledger.queue import OpenAttempt, Waiting

# Of a GPU that several steps share so much stays free: contexts and fragments take more than asked.
MARGIN = 0.05
# Steps on one GPU, for they share its time too.
SHARING = 4
# What a desktop may take of a GPU that counts as idle.
DESKTOP = 0.25


@dataclass(frozen=True, slots=True)
class Need:
    """What a step asks for: GPUs, and the memory of each; 0 GiB is not known.

    One that was an error before is `alone` the next time: its memory may be more than was known.
    """

    gpus: int
    gib: float
    alone: bool = False

    @property
    def whole(self) -> bool:
        """True for a step that shares its GPUs with nobody."""
        return self.gpus > 1 or self.gib <= 0 or self.alone

    @property
    def size(self) -> tuple[int, float]:
        """Orders needs: more GPUs, then more memory, and what is not known may be all."""
        return self.gpus, float("inf") if self.gib <= 0 or self.alone else self.gib


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A step on a GPU. `age` grows with its start; it is `going` if it is to end soon."""

    key: str
    need: Need
    priority: int
    started_at: str
    age: int
    going: bool = False


@dataclass(slots=True)
class _Room:
    """A GPU and who is on it.

    `others_gib` is what is not known to be of a tenant; `rest_gib` is what will be left of that
    once tenants have gone, for in a container nobody knows who holds what.
    """

    gpu: Gpu
    node: str
    others_gib: float
    rest_gib: float
    tenants: list[_Tenant] = field(default_factory=list)

    @property
    def order(self) -> tuple[str, int, str]:
        return self.node, self.gpu.index, self.gpu.uuid

    def fits(self, need: Need, without: Collection[str] = ()) -> bool:
        """True if the step can be here now, were the tenants `without` gone."""
        stay = [t for t in self.tenants if t.key not in without]
        others = self.others_gib if len(stay) == len(self.tenants) else self.rest_gib
        if not _could_hold(self.gpu, need) or need.gib + others > self.gpu.total_gib:
            return False
        if need.gib <= 0 and others > DESKTOP * self.gpu.total_gib:
            return False
        if not stay:
            return True
        if need.whole or any(t.need.whole for t in stay) or len(stay) >= SHARING:
            return False
        taken = others + sum(t.need.gib for t in stay) + need.gib
        return taken <= self.gpu.total_gib * (1 - MARGIN)

    def part_with(self, gone: Collection[_Tenant]) -> None:
        """Looks as it will once those of the tenants that are here have gone."""
        stay = [t for t in self.tenants if t not in gone]
        if len(stay) < len(self.tenants):
            self.tenants, self.others_gib = stay, self.rest_gib

    def left_gib(self, need: Need) -> float:
        """What the step would leave over. One that may take anything does best on the largest."""
        if need.gib <= 0:
            return -self.gpu.total_gib
        taken = sum(t.need.gib for t in self.tenants)
        return self.gpu.total_gib - self.others_gib - taken - need.gib

    def leaving(self, need: Need, may_go: Callable[[_Tenant], bool]) -> list[_Tenant] | None:
        """The fewest tenants that must go for the step, those that go anyway first."""
        gone: list[_Tenant] = []
        can = [t for t in self.tenants if t.going or may_go(t)]
        for tenant in sorted(can, key=lambda t: (not t.going, -t.need.size[1], -t.age, t.key)):
            if self.fits(need, {t.key for t in gone}):
                break
            gone.append(tenant)
        return gone if self.fits(need, {t.key for t in gone}) else None


@dataclass(slots=True)
class _Node:
    """A machine: its GPUs, and how many more steps without one it does."""

    name: str
    rooms: list[_Room]
    slots: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """Whom a GPU is kept for: no other of this priority or a lower one takes it meanwhile."""

    step_ids: frozenset[int]
    priority: int


@dataclass(slots=True)
class _Fleet:
    """The machines that take steps, as they are while places are given."""

    nodes: list[_Node]
    kept: dict[str, _Kept] = field(default_factory=dict)

    def rooms(self) -> Iterator[_Room]:
        for node in self.nodes:
            yield from node.rooms

    def slot(self) -> _Node | None:
        """The machine for a step without a GPU."""
        free = [node for node in self.nodes if node.slots > 0]
        return min(free, key=lambda n: (-n.slots, n.name), default=None)

    def best(self, one: Waiting, *, idle: bool = False) -> list[_Room] | None:
        """The GPUs that the step would fill best; None if there are not enough."""
        need = need_of(one)
        found = []
        for node in self.nodes:
            rooms = [
                room
                for room in node.rooms
                if room.fits(need) and self._may(room, one) and not (idle and room.tenants)
            ]
            if len(rooms) >= need.gpus:
                rooms = sorted(rooms, key=lambda r: (round(r.left_gib(need)), r.order))[: need.gpus]
                left = sum(round(room.left_gib(need)) for room in rooms)
                found.append((left, node.name, rooms))
        return min(found, key=lambda f: f[:2])[2] if found else None

    def soonest(
        self, need: Need, may_go: Callable[[_Tenant], bool], *, youngest: bool
    ) -> tuple[list[_Room], list[_Tenant]] | None:
        """The GPUs of one machine that the fewest must leave for the step, and who they are."""
        sign = -1 if youngest else 1
        found = []
        for node in self.nodes:
            rooms: list[_Room] = []
            gone: dict[str, _Tenant] = {}
            offers = {
                room.gpu.uuid: (room, leaving)
                for room in node.rooms
                if (leaving := room.leaving(need, may_go)) is not None
            }
            while len(rooms) < need.gpus and offers:
                costs = {
                    uuid: _cost((t for t in leaving if t.key not in gone), sign)
                    for uuid, (_, leaving) in offers.items()
                }
                uuid = min(offers, key=lambda u: (costs[u], offers[u][0].order))
                room, leaving = offers.pop(uuid)
                rooms.append(room)
                gone |= {t.key: t for t in leaving}
            if len(rooms) == need.gpus:
                found.append((_cost(gone.values(), sign), node.name, rooms, list(gone.values())))
        return min(found, key=lambda f: f[:2])[2:] if found else None

    def keep(self, rooms: Iterable[_Room], one: Waiting) -> None:
        """Keeps GPUs for a step; several small ones may wait for the same."""
        for room in rooms:
            before = self.kept.get(room.gpu.uuid, _Kept(frozenset(), one.priority))
            ids = before.step_ids | {one.step.id}
            self.kept[room.gpu.uuid] = _Kept(ids, max(before.priority, one.priority))

    def _may(self, room: _Room, one: Waiting) -> bool:
        kept = self.kept.get(room.gpu.uuid)
        return kept is None or one.step.id in kept.step_ids or one.priority > kept.priority


def _cost(gone: Iterable[_Tenant], sign: int) -> tuple[int, int]:
    """How many must be told to go, then how long the one that matters most has run."""
    told = [t.age for t in gone if not t.going]
    return len(told), max(sign * age for age in told) if told else 0


def _could_hold(gpu: Gpu, need: Need) -> bool:
    """True if the GPU is large enough. Of slices, CUDA shows one to a process."""
    return need.gib <= gpu.total_gib and not (gpu.mig and need.gpus > 1)


def need_of(step: Waiting | OpenAttempt) -> Need:
    """What a step asks for."""
    return Need(step.gpus, step.vram_gib, alone=step.step.failures > 0)


@dataclass(slots=True, kw_only=True)
class GpuPlacement:
    """Places steps on machines. Those in `closed` take no new ones; from those in `leaving` all go.

    `promised` is the step that GPUs are kept for: all that one tick tells the next.
    """

    machines: tuple[Machine, ...]
    closed: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    promised: int | None = None

    def choose(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
    ) -> Iterator[Choice]:
        """What there is room for, in turn. A GPU that a larger step waits for stays free for it."""
        fleet, waiting = self._fleet(running), without_twins(waiting, running)
        for one, rooms, _ in self._urgent(waiting, running, used_gpu_s):
            fleet.keep(rooms, one)
        self.promised = _keep_for_overtaken(fleet, waiting, self.promised)
        placed: list[tuple[Waiting, list[_Room]]] = []
        chosen: list[Choice] = []
        full: set[tuple[Need, int]] = set()
        for one in in_turn(waiting, running, used_gpu_s):
            need = need_of(one)
            if need.gpus == 0:
                if node := fleet.slot():
                    node.slots -= 1
                    chosen.append(Choice(waiting=one, place=Place(node=node.name)))
                continue
            expected = any(one.step.id in kept.step_ids for kept in fleet.kept.values())
            if (need, one.priority) in full and not expected:
                continue
            found = fleet.best(one)
            if found is None:
                full.add((need, one.priority))
                continue
            _enter(found, one)
            placed.append((one, found))
            chosen.append(_choice(one, found))
        moved = {one.step.id: _choice(one, rooms) for one, rooms in _spread(fleet, placed)}
        yield from (moved.get(choice.waiting.step.id, choice) for choice in chosen)

    def preempt(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
        asked: Collection[str] = (),
    ) -> tuple[str, ...]:
        """The attempts that are to save and end, besides those that were asked already.

        Those on machines in `leaving`; and for each step that a person waits for and that does not
        fit, the fewest of searches that hold what it needs, of them the youngest.
        """
        told = {
            a.key for a in running if a.place.get("node") in self.leaving and a.stopping is None
        }
        for _, _, gone in self._urgent(waiting, running, used_gpu_s, {*asked, *told}):
            told |= {tenant.key for tenant in gone}
        return tuple(sorted(told - set(asked)))

    def _urgent(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
        going: Collection[str] = (),
    ) -> Iterator[tuple[Waiting, list[_Room], list[_Tenant]]]:
        """Steps that a person waits for and searches are in the way of: where, and which."""
        urgent = [
            w for w in without_twins(waiting, running) if w.priority >= INTERACTIVE and w.gpus
        ]
        if not urgent:
            return
        fleet = self._fleet(running, going)
        hopeless: set[Need] = set()
        for one in in_turn(urgent, running, used_gpu_s):
            need = need_of(one)
            if need in hopeless:
                continue
            if rooms := fleet.best(one):
                _enter(rooms, one)
            elif found := fleet.soonest(need, _is_search, youngest=True):
                rooms, gone = found
                for room in fleet.rooms():
                    room.part_with(gone)
                _enter(rooms, one)
                yield one, rooms, gone
            else:
                hopeless.add(need)

    def misfit(self, one: Waiting | OpenAttempt) -> str | None:
        """Why no machine could do a step, were all of them idle; None if one can."""
        need = need_of(one)
        gpus = [gpu for machine in self.machines for gpu in machine.gpus]
        if need.gpus == 0 or not gpus or any(machine.note for machine in self.machines):
            # What is missing today may be back tomorrow.
            return None
        if any(
            sum(_could_hold(gpu, need) for gpu in machine.gpus) >= need.gpus
            for machine in self.machines
        ):
            return None
        largest = max(gpu.total_gib for gpu in gpus)
        if need.gib > largest:
            return f"asks for {need.gib:g} GiB; the largest GPU has {_floor(largest)}"
        memory = f" of {need.gib:g} GiB" if need.gib > 0 else ""
        return f"asks for {need.gpus} GPUs{memory} on one machine; none has so many"

    def _fleet(self, running: Sequence[OpenAttempt], going: Collection[str] = ()) -> _Fleet:
        """The machines that take steps, with what is on them."""
        ages = {
            a.key: i for i, a in enumerate(sorted(running, key=lambda a: (a.started_at, a.key)))
        }
        nodes = []
        for machine in sorted(self.machines, key=lambda m: m.name):
            if machine.name in self.closed | self.leaving:
                continue
            here = [a for a in running if a.place.get("node", "") in ("", machine.name)]
            rooms = [
                _room(gpu, machine.name, here, ages, going)
                for gpu in sorted(machine.gpus, key=lambda g: (g.index, g.uuid))
            ]
            slots = machine.slots - sum(a.gpus == 0 for a in here)
            nodes.append(_Node(machine.name, rooms, slots))
        return _Fleet(nodes)


def _room(
    gpu: Gpu,
    node: str,
    here: Sequence[OpenAttempt],
    ages: Mapping[str, int],
    going: Collection[str],
) -> _Room:
    on_it = [a for a in here if gpu.uuid in a.place.get("gpus", ())]
    tenants = [
        _Tenant(
            key=a.key,
            need=need_of(a),
            priority=a.priority,
            started_at=a.started_at,
            age=ages[a.key],
            going=a.key in going or a.stopping is not None,
        )
        for a in on_it
    ]
    # What our tenants hold is counted as what they asked for, or more where they took more.
    held = {a.key: gpu.held_gib.get(mark_of(a.handle), 0.0) for a in on_it}
    over = sum(max(0.0, held[t.key] - t.need.gib) for t in tenants if not t.need.whole)
    used = gpu.total_gib - gpu.free_gib
    others = max(0.0, used - sum(held.values()))
    likely = sum(max(held[t.key], used if t.need.whole else t.need.gib) for t in tenants)
    return _Room(gpu, node, others + over, max(0.0, used - likely), tenants)


def without_twins(waiting: Sequence[Waiting], running: Sequence[OpenAttempt]) -> list[Waiting]:
    """The steps without those whose work is under way, or asked for by one before them."""
    seen = {a.step.fingerprint for a in running}
    found = []
    for one in sorted(waiting, key=lambda w: (-w.priority, w.queued_at, w.step.id)):
        if one.step.fingerprint not in seen:
            seen.add(one.step.fingerprint)
            found.append(one)
    return found


def _is_search(tenant: _Tenant) -> bool:
    return tenant.priority <= SEARCH


def _anybody(_: _Tenant) -> bool:
    return True


def _keep_for_overtaken(
    fleet: _Fleet, waiting: Sequence[Waiting], promised: int | None
) -> int | None:
    """Keeps the GPUs that are free soonest for the first step that smaller ones have overtaken.

    Nothing begins on them until it has them, so it waits for what runs there now and no longer.
    Returns its id. One that had the promise before has it still, though those that overtook it
    have ended; else they would be first again.
    """
    looked_at: set[tuple[Need, int]] = set()
    for one in sorted(
        waiting, key=lambda w: (-w.priority, w.step.id != promised, w.queued_at, w.step.id)
    ):
        # Of the same need the oldest tells of all.
        like = need_of(one), one.priority
        if one.gpus == 0 or like in looked_at:
            continue
        rooms = fleet.best(one)
        if one.step.id != promised and (rooms or not _is_overtaken(fleet, one)):
            looked_at.add(like)
            continue
        found = (rooms, []) if rooms else fleet.soonest(need_of(one), _anybody, youngest=False)
        if found:
            fleet.keep(found[0], one)
            return one.step.id
    return None


def _is_overtaken(fleet: _Fleet, one: Waiting) -> bool:
    """True if a smaller step began after this one was queued, on a GPU that it could have."""
    need = need_of(one)
    return any(
        tenant.started_at > one.queued_at and tenant.need.size < need.size
        for room in fleet.rooms()
        if room.leaving(need, _anybody) is not None
        for tenant in room.tenants
    )


def _enter(rooms: Iterable[_Room], one: Waiting) -> None:
    for room in rooms:
        room.tenants.append(
            _Tenant(
                key=f"waiting-{one.step.id}",
                need=need_of(one),
                priority=one.priority,
                started_at="",
                age=-1,
            )
        )


def _spread(
    fleet: _Fleet, placed: Sequence[tuple[Waiting, list[_Room]]]
) -> Iterator[tuple[Waiting, list[_Room]]]:
    """Moves steps that would share a GPU to one that nobody wants now."""
    for one, rooms in placed:
        if need_of(one).whole or len(rooms[0].tenants) == 1:
            continue
        if idle := fleet.best(one, idle=True):
            key = f"waiting-{one.step.id}"
            rooms[0].tenants = [t for t in rooms[0].tenants if t.key != key]
            _enter(idle, one)
            yield one, idle


def _choice(one: Waiting, rooms: Sequence[_Room]) -> Choice:
    gpus = tuple(room.gpu.uuid for room in rooms)
    return Choice(waiting=one, place=Place(node=rooms[0].node, gpus=gpus))


def _floor(gib: float) -> str:
    """`23.988` → `23.98`: what is shown is never more than there is."""
    return f"{int(gib * 100) / 100:g}"
