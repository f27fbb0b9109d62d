"""How much of the machine our tasks may hold now, told to the core as capacities, and what those ask that do not say.

    free = limit - outside load - max(reserved, measured) of our own        (per resource, and per GPU for its memory)

The arithmetic is in `penstock.admit`; this is where it meets the probes, the core and the clock. Outside load is what the
machine does that is not our process tree's; what is unknown limits nothing, and then what tasks reserve is all that
counts. For the CPU, allowances keep a quiet machine's background noise from costing whole tasks: load below NOISE of the
machine counts as none. Where the user gave no CPU limit himself, so does load below half a core, tasks always keep one core,
and a task that asks for more cores than others leave gets its turn beside them when it has waited for TURN_S.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

from penstock import _core
from penstock.admit.cores import Cores
from penstock.admit.follow import Follower
from penstock.admit.room import burden, capacity, outside_load
from penstock.errors import OptionError
from penstock.guesses import Family, Guesses
from penstock.measured import Key, Measured
from penstock.observe.events import EventKind
from penstock.probes.machine import Machine
from penstock.probes.plugins import plugin_probes
from penstock.probes.sample import Collector, Sample, Use
from penstock.probes.sampler import Sampler
from penstock.resources import RESOURCES, Limits

if TYPE_CHECKING:
    from penstock.executors import Report
    from penstock.options import TaskSpec

__all__ = ["Admission", "check_overcommit"]

NOISE = 0.1
"""Share of the machine's CPU that others, and our tasks beyond what they reserved, may use without counting."""

HALF_A_CORE = 500
"""The same where the user gave no CPU limit, when it is more: on few cores a tenth is soon used by what starts our tasks."""

QUIETER = 2 / 3
"""Load that counts does so until it falls below this share of what is noise, or it would come and go on a steady load."""

TURN_S = 2.0
"""How long the task that is next waits when it asks for more cores than others leave, where the user gave no CPU limit. Then it
may start beside them: cores can be shared, and a load that does not end would keep it waiting for ever."""

DEFAULTS = {"memory": 0.9}
"""Limits, as shares of the machine, where the user gives none."""

BANDS = {"cpu": 0.02, "memory": 0.02, "disk": 0.1, "network": 0.1, "gpu_memory": 0.02}
"""A capacity changes in the core only when it moved by more than this share of the limit: less is noise. Custom resources
are counted, and every unit tells."""

CPU_BAND = 500
"""What the CPU's band is at most widened to, in thousandths of a core, to a tenth of the machine: a few clock ticks more
or less in a window must not come and go as a core."""

_SLOW = ("cpu", "disk", "network")
"""What is a rate falls with the second sample that says so. An amount that is used up is used up: it falls at once."""

SETTLE = 4
"""Samples after which what a task has reserved counts as in use, where its own use cannot be told apart."""

PERIOD_S = 0.5
"""Seconds between two samples while a task waits for room."""

QUIET_PERIOD_S = 2.0
"""Seconds between two samples while none does."""

FRESH_S = 3.0
"""Seconds for which a sample is of now: longer than the slowest period."""

LOOK_S = 1.0
"""Seconds for which a sample is waited for at most: what cannot be known holds nothing back."""

_SCALARS = RESOURCES[:4]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@lru_cache(maxsize=1)
def _this_machine() -> Machine:
    return Machine.detect()


def check_overcommit(value: object) -> float | None:
    """Return what was given as `overcommit=`.

    Raises:
        OptionError: it is no number from 0.5 to 1, and not None.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.5 <= value <= 1:
        raise OptionError(
            f"overcommit={value!r}: allowed is None, nothing is lent, or a number from 0.5 to 1: the share of its measured "
            "use that what a task is left with must cover, such as 0.95."
        )
    return float(value)


@dataclass(slots=True)
class _Track:
    """What is remembered of one capacity from sample to sample."""

    follower: Follower
    told: int | None = None
    outside: int | None = None
    beyond: int = 0
    held: int = 0
    settling: int = 0
    counts: bool = False  # what others use is more than noise
    leaves: int = 0  # of the limit, when none of ours runs
    why_unknown: str = ""

    def step(
        self,
        use: Use,
        limit: int | None,
        held: int,
        *,
        claims: int = 0,
        noise: int = 0,
        least: int = 0,
    ) -> int | None:
        """Return what to tell the core after one more sample, or None: no limit, or no change."""
        self.settling = SETTLE if held > self.held else max(0, self.settling - 1)
        self.held = held
        own = use.own.value
        self.why_unknown = use.total.why
        self.outside = outside_load(
            use.total.value, own, stands_in=held, before=self.outside, settling=self.settling > 0
        )
        self.beyond = max(0, claims if own is None else max(claims, own - held))
        if limit is None:
            return None
        known = use.total.value is not None or own is not None
        taken = burden(outside=self.outside, own=own, held=held, claims=claims)
        self.counts = taken >= noise * (QUIETER if self.counts else 1)
        self.leaves = max(0, limit - taken) if self.counts else limit
        ignored = 0 if self.counts else noise
        value = capacity(limit, outside=self.outside, own=own, held=held, claims=claims, noise=ignored, least=least)
        told = self.follower.step(value if known else None, limit)
        if told == self.told:
            return None
        self.told = told
        return told


class Admission:
    """Keeps the core's capacities in step with the limits and the probes, and learned demands with what was measured.

    Args:
        limits: as `Limits.parse` takes them; None for the whole machine, less a tenth of its memory.
        broken: called when sampling fails: nobody would see any more that there is room.
        overcommit: what tasks in processes and commands declare and do not use is lent to others. The share of an
            attempt's measured use, in [0.5, 1], that what it is left with must cover. None: nothing is lent.
        roots: gives the process of each attempt that runs in one, by task and attempt.
    """

    def __init__(
        self,
        limits: Mapping[str, object] | None,
        broken: Callable[[BaseException], None] | None = None,
        *,
        overcommit: float | None = None,
        roots: Callable[[], Mapping[Key, int]] = dict,
    ) -> None:
        self.machine = _this_machine()
        self._broken = broken
        self._overcommit = check_overcommit(overcommit)
        self._given = Limits.given(limits)
        self.limits = self.parsed(self._given)
        self.gpus = len(self.machine.gpus) or ceil(self.limits.amounts.get("gpu", 0) / 1000)
        self.guesses = Guesses()
        self._attempts = Measured(roots)
        self._custom: dict[str, int] = {}
        self._cores: Cores | None = None
        self._tracks: dict[str, _Track] = {}
        self._devices: dict[int, _Track] = {}
        self._telling = threading.Condition()  # the sampler, and whoever changes the limits, looks or ends an attempt
        self._scheduler: _core.Scheduler | None = None
        self._sampler: Sampler | None = None  # changed with `_pace` held
        self._last: Sample | None = None
        self._wide: tuple[int, int] | None = None  # a task that asks for more cores than others leave, and since when
        self._pace = threading.Lock()  # for the three below and which sampler there is
        self._closed = False
        self._resting = True
        self._quiet = False
        self.standing_still: Callable[[], Sequence[int]] = tuple
        """The tasks that are paused for others, the most urgent first; a run with preemption puts its own here."""

    # ------------------------------------------------------------------------------------------------ life

    def attach(self, scheduler: _core.Scheduler) -> None:
        """Set the core's capacities for the first time."""
        self._scheduler = scheduler
        for number, name in enumerate(_SCALARS):
            scheduler.set_capacity(number, self.limits.amounts.get(name))
        self._set_devices()

    def look(self) -> None:
        """Return when there is a sample of now: what is to start needs what others may hold, memory of the machine or of a GPU.

        Waits for one when sampling rested, at most LOOK_S. Rates, as of CPU and disks, a first sample does not know.
        """
        with self._telling:
            last = self._last
            if last is not None and time.monotonic_ns() - last.at < FRESH_S * 1e9:
                return
            self.wake()
            self._telling.wait_for(lambda: self._last is not last, LOOK_S)

    def wake(self) -> None:
        """Sample from now on: somebody waits for room. Called after the core knows of what waits."""
        if not self._resting and not self._quiet:
            return  # who lets it rest meanwhile looks for unfinished tasks after that
        with self._pace:
            if not self._resting:
                if self._quiet and self._sampler is not None:
                    self._quiet = False
                    self._sampler.hurry(PERIOD_S)
                return
            if self._closed:
                return
            self._resting = False
            if self._sampler is None:
                collector = Collector(self.machine, plugin_probes)
                self._sampler = Sampler(
                    collector, self._sampled, on_error=self._broken, period_s=PERIOD_S, roots=self._attempts.roots
                )
                self._sampler.start()
            else:
                self._sampler.resume()

    def rest(self) -> None:
        """Stop sampling: nothing waits. Whoever calls this looks whether that is still so after it, and wakes it if not."""
        with self._pace:
            if not self._resting and self._sampler is not None:
                self._resting = True
                self._sampler.pause()

    def close(self) -> None:
        with self._pace:
            self._closed = True
        if self._sampler is not None:
            self._sampler.stop()

    # ---------------------------------------------------------------------------------------------- limits

    def set_limits(self, limits: Limits, given: Mapping[str, object]) -> None:
        """Keep to other limits from now on."""
        with self._telling:
            self._given = dict(given)
            self.limits = limits
            self._tracks.clear()
            self._devices.clear()
            for number, name in enumerate(_SCALARS):
                self._door.set_capacity(number, limits.amounts.get(name))
            for name, number in self._custom.items():
                self._door.set_capacity(number, limits.amounts.get(name, 0))
            self._set_devices()
            if self._last is not None:
                self._tell(self._last)

    def parsed(self, limits: Mapping[str, object]) -> Limits:
        """Return limits as `set_limits` wants them.

        Raises:
            ResourceError, OptionError: as `Limits.parse`.
        """
        return Limits.parse(limits, self.machine.capacity, defaults=DEFAULTS)

    def add_custom(self, name: str, position: int) -> None:
        """Give a custom resource its number in the core."""
        number = len(RESOURCES) + position
        self._door.set_capacity(number, self.limits.amounts.get(name, 0))
        with self._telling:
            self._custom[name] = number

    def _set_devices(self) -> None:
        for device in range(self.gpus):
            self._door.set_device_capacity(
                device, self.limits.on_device("gpu", 1000), self.limits.on_device("gpu_memory", self._has(device))
            )

    def _has(self, device: int) -> int:
        """Return the memory of a device in bytes, or more than any has where that is unknown."""
        has = self.machine.gpus[device].memory.value if device < len(self.machine.gpus) else None
        return self.limits.amounts.get("gpu_memory", 2**62) if has is None else has

    # --------------------------------------------------------------------------------------------- samples

    def outside(self, name: str) -> int:
        """What others used of a resource when it was last measured; 0 where that is unknown."""
        track = self._tracks.get(name)
        return 0 if track is None or track.outside is None else track.outside

    def beyond(self, name: str) -> int:
        """What our own processes used of a resource, beyond what tasks had reserved, when it was last measured."""
        track = self._tracks.get(name)
        return 0 if track is None else track.beyond

    def unknown(self, name: str) -> str:
        """Return why the use of a resource was unknown when it was last looked at; empty when it was known."""
        track = self._tracks.get(name)
        return "" if track is None else track.why_unknown

    def _sampled(self, sample: Sample) -> None:
        scheduler = self._door
        if scheduler.unfinished == 0:
            self.rest()
            if scheduler.unfinished > 0:  # submitted meanwhile; whoever submits wakes us after that
                self.wake()
        elif self._sampler is not None:
            # While all that there is runs, or waits for that, a slow look is enough.
            quiet = self._nothing_waits()
            with self._pace:
                self._quiet = quiet
                self._sampler.period_s = QUIET_PERIOD_S if quiet else PERIOD_S
            if quiet and not self._nothing_waits():
                self.wake()
        for number, name in enumerate(RESOURCES):
            use = sample.uses.get(name)
            if use is not None and use.total.value is not None:
                scheduler.log.append(int(EventKind.GAUGE), worker=number, value=use.total.value, time=sample.at)
        self._attempts.note(sample)
        with self._telling:
            self._last = sample
            self._tell(sample)
            self._telling.notify_all()
            for family in self.guesses:
                self._ask(family)

    def _nothing_waits(self) -> bool:
        return not any(self._door.queued(lane) for lane in range(3)) and not self.standing_still()

    def _tell(self, sample: Sample) -> None:
        """Set the capacities in the core that have moved by more than noise."""
        door, amounts = self._door, self.limits.amounts
        numbers = dict(zip(_SCALARS, range(len(_SCALARS)), strict=True)) | self._custom
        for name, number in numbers.items():
            use = sample.uses.get(name)
            if use is None:
                continue  # a custom resource that no plug-in measures
            limit = amounts.get(name)
            track = self._tracks.get(name)
            if track is None:
                track = self._tracks[name] = _Track(Follower(self._band(name, limit or 0), quick=name not in _SLOW))
            told = track.step(
                use,
                limit,
                door.take_peak_held(number) if name in _SCALARS else door.held(number),
                claims=self._attempts.beyond(name, self._overcommit),
                noise=self._noise() if name == "cpu" else 0,
                least=self._least_cpu(limit or 0, sample.at) if name == "cpu" and "cpu" not in self._given else 0,
            )
            if told is not None:
                door.set_capacity(number, told)
        self._tell_devices(sample)

    def _tell_devices(self, sample: Sample) -> None:
        """Set how much memory of each GPU our tasks may hold."""
        uses = {use.uuid: use for use in sample.gpus}
        share = self.limits.on_device("gpu", 1000)
        for device, gpu in enumerate(self.machine.gpus):
            use = uses.get(gpu.uuid)
            if use is None or gpu.memory.value is None:
                continue
            limit = self.limits.on_device("gpu_memory", gpu.memory.value)
            track = self._devices.get(device)
            if track is None:
                band = int(BANDS["gpu_memory"] * gpu.memory.value)
                track = self._devices[device] = _Track(Follower(band, quick=True))
            _, free = self._door.device_free(device)
            held = (limit if track.told is None else track.told) - free
            told = track.step(Use(use.memory, use.own_memory), limit, max(0, held))
            if told is not None:
                self._door.set_device_capacity(device, share, told)

    def _noise(self) -> int:
        noise = int(NOISE * (self.machine.capacity.get("cpu") or 0))
        return noise if "cpu" in self._given else max(noise, HALF_A_CORE)

    def _least_cpu(self, limit: int, now_ns: int) -> int:
        """Return the thousandths of a core that tasks keep whatever others use: one core, or what a task asks whose turn it is."""
        wide = self._too_wide(limit)
        if wide is None or self._wide is None or self._wide[0] != wide:
            self._wide = None if wide is None else (wide, now_ns)
        if self._wide is None or now_ns - self._wide[1] < TURN_S * 1e9:
            return min(limit, 1000)
        return min(limit, max(1000, self._door.demand(self._wide[0])[0]))

    def _too_wide(self, limit: int) -> int | None:
        """Return the task that is next, if it would lack cores even if none of ours ran."""
        track = self._tracks.get("cpu")
        if track is None or track.leaves >= limit:
            return None
        waiting = self._door.blocked() or self.standing_still()
        return waiting[0] if waiting and self._door.demand(waiting[0])[0] > max(1000, track.leaves) else None

    def _band(self, name: str, limit: int) -> int:
        band = int(BANDS.get(name, 0) * limit)
        if name == "cpu":
            band = max(band, min(CPU_BAND, int(NOISE * (self.machine.capacity.get("cpu") or 0))))
        return band

    # -------------------------------------------------------------------------------------------- attempts

    def cpus(self, key: Key, spec: TaskSpec) -> frozenset[int] | None:
        """Return the CPUs that an attempt gets for itself, or None: it did not ask."""
        if not spec.affinity or self.machine.cpus is None:
            return None
        with self._telling:
            if self._cores is None:
                self._cores = Cores(self.machine.cpus)
            return self._cores.take(key, max(1, ceil(spec.demand.cpu / 1000)))

    def begin(self, key: Key, spec: TaskSpec) -> None:
        """An attempt in a process or a command begins."""
        family = self.guesses.family(spec)
        if family is None:
            self._attempts.begin(key, spec.demand)
            return
        # The core one that a task says nothing of is kept for it; its memory is a guess, given up for what is measured.
        self._attempts.begin(key, family.asks, family.guessed & {"memory"}, family.learned.memory)

    def end(self, report: Report, spec: TaskSpec, *, learns: bool = True) -> Report:
        """Return the report of an attempt that has ended with all that is known of its use, and learn from it.

        Args:
            report: as its executor made it.
            spec: of its task.
            learns: it ran what the task's other attempts run.
        """
        usage = self._attempts.end((report.task, report.attempt), report.usage)
        report = replace(report, usage=replace(usage, declared=spec.demand))
        if self._cores is not None:
            with self._telling:
                self._cores.give((report.task, report.attempt))
        family = self.guesses.learn(spec, report) if learns else None
        if family is not None:
            self.ask(family)
        return report

    def ask(self, family: Family) -> None:
        """Tell the core what a family asks, if that has changed."""
        with self._telling:
            self._ask(family)

    def _ask(self, family: Family) -> None:
        if self.guesses.ask(family, self._room, self.limits.amounts.get("cpu")):
            self._door.set_demand(family.number, family.asks.vector(list(self._custom)))

    def _room(self, name: str) -> int | None:
        """Return how much all our tasks together may hold of a resource now, None where it has no limit."""
        track = self._tracks.get(name)
        return self.limits.amounts.get(name) if track is None or track.told is None else track.told

    # ----------------------------------------------------------------------------------------- environment

    def uuids(self, devices: int) -> list[str]:
        """Return the UUIDs of the devices in a bit mask."""
        return [gpu.uuid for number, gpu in enumerate(self.machine.gpus) if devices >> number & 1]

    def environment(self, spec: TaskSpec, devices: int) -> dict[str, str]:
        """Return what a process or command finds in its environment: thread counts to match `cpu=`, and its GPUs."""
        threads = str(max(1, ceil(spec.demand.cpu / 1000)))
        environment = dict.fromkeys(_THREADS, threads)
        if self.machine.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.uuids(devices))
        return environment

    @property
    def _door(self) -> _core.Scheduler:
        assert self._scheduler is not None, "attach() comes first"
        return self._scheduler
