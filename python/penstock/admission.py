"""How much of the machine our tasks may hold now: the limits less what others use, told to the core as capacities.

    capacity = limit - outside load        (per resource; unknown outside load counts as none)

Outside load is what the machine does that is not our process tree's. For the CPU, two allowances keep a quiet
machine's background noise from costing whole tasks: load below NOISE of the machine counts as none, and where the user
gave no CPU limit himself, tasks always keep one core.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

from penstock import _core
from penstock.observe.events import EventKind
from penstock.probes.machine import Machine
from penstock.probes.sample import Collector, Sample
from penstock.probes.sampler import Sampler
from penstock.resources import RESOURCES, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.options import TaskSpec

__all__ = ["Admission"]

NOISE = 0.1
"""Share of the machine's CPU that others may use without counting."""

DEFAULTS = {"memory": 0.9}
"""Limits, as shares of the machine, where the user gives none."""

SETTLE = 0.02
"""A capacity changes in the core only when it moved by more than this share of the limit: less is noise."""

PERIOD_S = 0.5
"""Seconds between two samples while a task waits for room."""

QUIET_PERIOD_S = 2.0
"""Seconds between two samples while none does."""

_MEASURED = ("cpu", "memory", "disk", "network")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@lru_cache(maxsize=1)
def _this_machine() -> Machine:
    return Machine.detect()


class Admission:
    """Keeps the core's capacities in step with the limits and the probes.

    Args:
        limits: as `Limits.parse` takes them; None for the whole machine, less a tenth of its memory.
        broken: called when sampling fails: nobody would see any more that there is room.
    """

    def __init__(
        self, limits: Mapping[str, object] | None, broken: Callable[[BaseException], None] | None = None
    ) -> None:
        self.machine = _this_machine()
        self._broken = broken
        self._given = Limits.given(limits)
        self.limits = self.parsed(self._given)
        self.gpus = len(self.machine.gpus) or ceil(self.limits.amounts.get("gpu", 0) / 1000)
        self._outside: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._custom: dict[str, int] = {}
        self._scheduler: _core.Scheduler | None = None
        self._sampler: Sampler | None = None
        self._resting = True

    # ------------------------------------------------------------------------------------------------ life

    def attach(self, scheduler: _core.Scheduler) -> None:
        """Set the core's capacities for the first time."""
        self._scheduler = scheduler
        for number, name in enumerate(RESOURCES[:4]):
            scheduler.set_capacity(number, self.limits.amounts.get(name))
        self._set_devices()

    def wake(self) -> None:
        """Sample from now on: somebody waits for room."""
        if not self._resting:
            return
        self._resting = False
        if self._sampler is None:
            self._sampler = Sampler(Collector(self.machine), self._sampled, on_error=self._broken)
            self._sampler.start()
        else:
            self._sampler.resume()

    def rest(self) -> None:
        """Stop sampling: nothing waits."""
        if not self._resting and self._sampler is not None:
            self._resting = True
            self._sampler.pause()

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()

    # ---------------------------------------------------------------------------------------------- limits

    def set_limits(self, limits: Limits, given: Mapping[str, object]) -> None:
        """Keep to other limits from now on."""
        self._given = dict(given)
        self.limits = limits
        self._told.clear()
        for name in RESOURCES[:4]:
            self._tell(name)
        for name, number in self._custom.items():
            self._door.set_capacity(number, limits.amounts.get(name, 0))
        self._set_devices()

    def parsed(self, limits: Mapping[str, object]) -> Limits:
        """Return limits as `set_limits` wants them.

        Raises:
            ResourceError, OptionError: as `Limits.parse`.
        """
        return Limits.parse(limits, self.machine.capacity, defaults=DEFAULTS)

    def add_custom(self, name: str, position: int) -> None:
        """Give a custom resource its number in the core."""
        number = len(RESOURCES) + position
        self._custom[name] = number
        self._door.set_capacity(number, self.limits.amounts.get(name, 0))

    def _set_devices(self) -> None:
        for device in range(self.gpus):
            has = self.machine.gpus[device].memory.value if device < len(self.machine.gpus) else None
            most = self.limits.amounts.get("gpu_memory", 2**62) if has is None else has
            self._door.set_device_capacity(
                device, self.limits.on_device("gpu", 1000), self.limits.on_device("gpu_memory", most)
            )

    # --------------------------------------------------------------------------------------------- samples

    def outside(self, name: str) -> int:
        """What others used of a resource when it was last measured; 0 where that is unknown."""
        return self._outside.get(name, 0)

    def _sampled(self, sample: Sample) -> None:
        scheduler = self._door
        if scheduler.unfinished == 0:
            self.rest()
            if scheduler.unfinished > 0:  # submitted meanwhile; whoever submits wakes us after that
                self.wake()
        elif self._sampler is not None:
            # While all that there is runs, or waits for that, a slow look is enough.
            waiting = any(scheduler.queued(lane) for lane in range(3))
            self._sampler.period_s = PERIOD_S if waiting else QUIET_PERIOD_S
        for number, name in enumerate(RESOURCES):
            use = sample.uses.get(name)
            if use is None:
                continue
            if use.total.value is not None:
                scheduler.log.append(int(EventKind.GAUGE), worker=number, value=use.total.value, time=sample.at)
            if name in _MEASURED:
                outside = use.outside(scheduler.held(number))
                if outside is not None:
                    self._outside[name] = outside
                self._tell(name)

    def _tell(self, name: str) -> None:
        """Set a capacity in the core, when it moved by more than noise."""
        limit = self.limits.amounts.get(name)
        if limit is None:
            return  # unlimited since `attach`
        outside = self._outside.get(name, 0)
        if name == "cpu" and outside < NOISE * (self.machine.capacity.get("cpu") or 0):
            outside = 0
        capacity = max(0, limit - outside)
        if name == "cpu" and "cpu" not in self._given:
            capacity = max(capacity, min(limit, 1000))
        told = self._told.get(name)
        if told is None or abs(told - capacity) > SETTLE * limit or (capacity == limit) != (told == limit):
            self._told[name] = capacity
            self._door.set_capacity(RESOURCES.index(name), capacity)

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
