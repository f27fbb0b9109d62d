"""What tasks ask for and what a run may use, as exact whole numbers.

A `Demand` is what one task asks for; `Limits` are what all running tasks together, and whatever else runs on
the machine, may use. Both count cpu, gpu and custom resources in thousandths, memory in bytes, and disk and
network in bytes per second, as the core does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType

from penstock.errors import OptionError, ResourceError, did_you_mean
from penstock.units import (
    MAX_AMOUNT,
    MILLI,
    format_bytes,
    format_milli,
    format_rate,
    parse_bytes,
    parse_duration,
    parse_milli,
    parse_rate,
)

__all__ = [
    "MAX_CUSTOM",
    "RESOURCES",
    "Demand",
    "Limits",
    "format_amount",
    "format_bytes",
    "format_milli",
    "format_rate",
    "parse_amount",
    "parse_bytes",
    "parse_duration",
    "parse_milli",
    "parse_rate",
]

RESOURCES = ("cpu", "memory", "disk", "network", "gpu", "gpu_memory")
"""The resources that penstock measures itself; a name's position is its number in the core."""

MAX_CUSTOM = 10
"""How many custom resources one run may have, over all its tasks."""

_NOUNS = {"cpu": "cores", "gpu": "GPUs"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_SHARE_HELP = " A float up to 1.0 or text such as '80%' is a share of the machine."
_SLIPS = {
    "cpus": "cpu",
    "cores": "cpu",
    "mem": "memory",
    "ram": "memory",
    "gpus": "gpu",
    "vram": "gpu_memory",
}


def parse_amount(name: str, value: object) -> int:
    """Return an amount of the resource `name` in its own unit (see the top of this file).

    Raises:
        ResourceError: the value is no amount of it, is negative, or is too large.
    """
    if name in ("memory", "gpu_memory"):
        return parse_bytes(value, name)
    if name in ("disk", "network"):
        return parse_rate(value, name)
    return parse_milli(value, name, _NOUNS.get(name, "units"))


def format_amount(name: str, amount: int) -> str:
    """Return an amount of the resource `name` as a user would write it: `2GiB`, `200MB/s`, `1.5`."""
    if name in ("memory", "gpu_memory"):
        return format_bytes(amount)
    if name in ("disk", "network"):
        return format_rate(amount)
    return format_milli(amount)


@dataclass(frozen=True, slots=True)
class Demand(Mapping[str, int]):
    """What one task asks for while it runs. As a mapping it holds what is not zero, by name.

    Attributes:
        cpu: thousandths of a core.
        memory: bytes.
        disk: bytes per second, reading and writing together.
        network: bytes per second, in the busier of the two directions.
        gpu: thousandths of a GPU: at most 1000 is a share of one device, else a whole number of devices.
        gpu_memory: bytes on each device that the task gets.
        custom: (name, thousandths) for each custom resource that is not zero, sorted by name.
    """

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    network: int = 0
    gpu: int = 0
    gpu_memory: int = 0
    custom: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        cpu: object = 0,
        memory: object = None,
        disk: object = None,
        network: object = None,
        gpu: object = None,
        gpu_memory: object = None,
        resources: Mapping[str, object] | None = None,
    ) -> Demand:
        """Build a demand from what a user wrote; None is nothing.

        Args:
            cpu: cores, fractions allowed.
            memory, gpu_memory: bytes as an int, or text such as '2GiB'.
            disk, network: bytes per second as an int, or text such as '200MB/s'.
            gpu: a share of one GPU (at most 1) or a whole number of them.
            resources: custom resources by name, each a number.

        Raises:
            ResourceError: an amount cannot be read; names the option, the value and what is allowed.
            OptionError: the name of a custom resource is not allowed, or there are more than MAX_CUSTOM.
        """
        values = zip(RESOURCES, (cpu, memory, disk, network, gpu, gpu_memory), strict=True)
        amounts = {name: 0 if value is None else parse_amount(name, value) for name, value in values}
        if amounts["gpu"] > MILLI and amounts["gpu"] % MILLI:
            raise ResourceError(
                f"gpu={gpu!r} is neither a share of one GPU nor a whole number of them;"
                f" write 0.5, 1 or {amounts['gpu'] // MILLI + 1}."
            )
        return cls(**amounts, custom=_parse_custom(resources))

    def vector(self, custom: Sequence[str] = ()) -> tuple[int, ...]:
        """Return the amounts in the core's order: RESOURCES, then the custom resources named.

        Raises:
            KeyError: this demand has a custom resource that is not among `custom`.
        """
        own = dict(self.custom)
        tail = tuple(own.pop(name, 0) for name in custom)
        if own:
            raise KeyError(next(iter(own)))
        return (self.cpu, self.memory, self.disk, self.network, self.gpu, self.gpu_memory, *tail)

    def __getitem__(self, name: str) -> int:
        for own, amount in self._pairs():
            if own == name:
                return amount
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs())

    def __len__(self) -> int:
        return sum(1 for _ in self._pairs())

    def __str__(self) -> str:
        return ", ".join(f"{name}={format_amount(name, amount)}" for name, amount in self._pairs()) or "nothing"

    def _pairs(self) -> Iterator[tuple[str, int]]:
        for name in RESOURCES:
            if amount := getattr(self, name):
                yield name, amount
        yield from self.custom


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of each resource may be in use, by our tasks and by everything else together.

    Attributes:
        amounts: absolute amounts by name; a resource that is not here has no limit. For gpu the sum over
            all devices; for gpu_memory the largest amount that any one device can give.
        shares: the limits that were given as a share of the machine, by name.
        notes: a sentence for each limit that cannot be kept because the machine's amount is unknown.
        machine: what the machine has, by name, as given to `parse`.
        unasked: names of the limits that the user did not give; an error says so.
    """

    amounts: Mapping[str, int]
    shares: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    machine: Mapping[str, int | None] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls,
        values: Mapping[str, object] | None,
        machine: Mapping[str, int | None],
        *,
        defaults: Mapping[str, object] | None = None,
    ) -> Limits:
        """Build limits from what a user wrote.

        A float up to 1.0 (also as text: '0.8', '80%') is a share of the machine. Everything else is an
        absolute amount, as in a demand: `cpu=1` is one core, `cpu=1.0` all of them. An absolute amount above what
        the machine has means what the machine has. What is not mentioned may be used whole. The amount of
        a custom resource is what there is of it.

        Args:
            values: limits by name; None or empty for the whole machine.
            machine: what the machine has, by name; None where that is unknown. gpu_memory is that of the
                largest device.
            defaults: limits for what `values` does not mention.

        Raises:
            ResourceError: a value is no share and no amount; names the limit, the value and what is allowed.
            OptionError: the name of a custom resource is not allowed.
        """
        amounts = {name: amount for name, amount in machine.items() if amount is not None}
        shares: dict[str, float] = {}
        notes: list[str] = []
        values = values or {}
        unasked = frozenset(defaults or {}) - frozenset(values)
        for name, value in {**(defaults or {}), **values}.items():
            share = _parse_share(name, value) if name in RESOURCES else None
            if name not in RESOURCES:
                _check_name(name, value)
                amounts[name] = _limit_amount(name, value)
            elif share is None:
                amounts[name] = min(_limit_amount(name, value), amounts.get(name, MAX_AMOUNT))
            elif name in amounts:
                shares[name] = share
                amounts[name] = _share_of(share, amounts[name])
            else:
                shares[name] = share
                notes.append(
                    f"limits: {name}={value!r} is a share of an amount that is unknown on this machine,"
                    " so it is not kept; give an absolute amount."
                )
        if len(set(amounts) - set(RESOURCES)) > MAX_CUSTOM:
            raise OptionError(f"limits= names more custom resources than the {MAX_CUSTOM} that a run may have.")
        return cls(
            MappingProxyType(amounts), MappingProxyType(shares), tuple(notes), MappingProxyType(dict(machine)), unasked
        )

    @staticmethod
    def given(values: object) -> dict[str, object]:
        """Return a copy of what a user gave as `limits=`; None is no limits.

        Raises:
            OptionError: it is no mapping.
        """
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            raise OptionError(f"limits={values!r}: allowed is a mapping such as {{'cpu': 0.8, 'memory': '8GiB'}}.")
        return dict(values)

    def on_device(self, name: str, capacity: int) -> int:
        """Return how much of one GPU may be used.

        Args:
            name: 'gpu' (thousandths) or 'gpu_memory' (bytes).
            capacity: what the device has, in the same unit.
        """
        if name in self.shares:
            return _share_of(self.shares[name], capacity)
        return min(capacity, self.amounts.get(name, capacity))

    def shortfall(self, demand: Demand) -> str | None:
        """Return why a demand can never be met under these limits, or None when it can.

        The sentence has no subject: 'asks for memory=96GiB, but this machine has 64GiB and ...'.
        """
        for name, asked in demand.items():
            allowed = self.amounts.get(name)
            if allowed is None:
                if problem := self._absent(name):
                    return f"asks for {name}={format_amount(name, asked)}, but {problem}"
            elif asked > allowed or (name == "gpu" and min(asked, MILLI) > self.on_device("gpu", MILLI)):
                return f"asks for {name}={_shown(name, asked, allowed)}, but {self._too_little(name, asked, allowed)}"
        return None

    def check(self, task: str, demand: Demand) -> None:
        """Raise when a task's demand can never be met.

        Raises:
            ResourceError: names the task, what it asks for, what there is and what to do.
        """
        if (problem := self.shortfall(demand)) is not None:
            raise ResourceError(f"task {task!r} {problem}")

    def __str__(self) -> str:
        return ", ".join(f"{name}={format_amount(name, amount)}" for name, amount in self.amounts.items()) or "none"

    def _absent(self, name: str) -> str | None:
        """Return why a resource without an amount stops a task that asks for it; None when it does not."""
        if name == "gpu" or (name == "gpu_memory" and not self.amounts.get("gpu")):
            return (
                "how many GPUs this machine has is unknown; it can never start."
                " Install the extra 'gpu' (`penstock doctor` says what is missing) or give limits={'gpu': 1}."
            )
        if name in RESOURCES:
            return None  # unknown never blocks
        near = did_you_mean(name, (own for own in self.amounts if own not in RESOURCES))
        return f"this run has no {name!r}; it can never start. Say how many there are: limits={{{name!r}: 1}}.{near}"

    def _too_little(self, name: str, asked: int, allowed: int) -> str:
        """Return what there is of a resource and what the limit leaves of it."""
        if name not in RESOURCES:
            return (
                f"limits={{{name!r}: {format_milli(allowed)}}} allows no more; it can never start."
                f" Lower resources={{{name!r}: ...}} or raise the limit."
            )
        has, most = self.machine.get(name), _shown(name, allowed, asked)
        there = f"this machine has {format_amount(name, has) if has else 'none'}"
        if has == allowed:
            there = f"this machine has {most if has else 'none'}"
        if name == "gpu_memory" and has:
            there += " on its largest GPU"
        if name in self.shares:
            left = f"{format_milli(self.on_device('gpu', MILLI))} of each" if name == "gpu" else most
            whose = "the default " if name in self.unasked else ""
            there += f" and {whose}limits={{{name!r}: {self.shares[name]:g}}} leaves {left}"
        elif has is None:
            there = f"limits={{{name!r}: {most!r}}} allows no more"
        elif allowed < has:
            there += f" and limits={{{name!r}: {most!r}}} allows no more"
        else:
            return f"{there}; it can never start. Lower {name}=."
        return f"{there}; it can never start. Lower {name}= or raise the limit."


def _parse_custom(resources: Mapping[str, object] | None) -> tuple[tuple[str, int], ...]:
    amounts: list[tuple[str, int]] = []
    for name, value in (resources or {}).items():
        if name in RESOURCES:
            raise OptionError(f"resources={{{name!r}: {value!r}}} names a built-in resource; write {name}={value!r}.")
        _check_name(name, value)
        if amount := parse_milli(value, f"resources[{name!r}]", "units"):
            amounts.append((name, amount))
    if len(amounts) > MAX_CUSTOM:
        raise OptionError(f"resources= names {len(amounts)} custom resources, but a run may have {MAX_CUSTOM}.")
    return tuple(sorted(amounts))


def _check_name(name: object, value: object) -> None:
    """Refuse a custom resource whose name is not one, or is a slip of the pen for a built-in one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} is no name of a resource; use letters, digits, '_', '.' and '-', a letter first, at most 64."
        )
    builtin = _SLIPS.get(name.lower()) or (name.lower() if name.lower() in RESOURCES else None)
    if builtin is not None:
        raise OptionError(f"there is no resource {name!r}; did you mean {builtin}={value!r}?")


def _parse_share(name: str, value: object) -> float | None:
    """Return the share in (0, 1] that a limit stands for, or None when it is an absolute amount."""
    if isinstance(value, str):
        text = value.strip()
        if text.endswith("%"):
            share = _float(text[:-1]) / 100
            if not 0 < share <= 1:
                raise ResourceError(f"limits: {name}={value!r} is no share; write more than 0% and at most 100%.")
            return share
        number = _float(text) if "." in text else math.nan
    elif isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
    else:
        return None
    return number if 0 < number <= 1 else None


def _float(text: str) -> float:
    """Return the number that the text holds, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _limit_amount(name: str, value: object) -> int:
    builtin = name in RESOURCES
    try:
        amount = parse_amount(name, value)
    except ResourceError as error:
        hint = _SHARE_HELP if builtin else did_you_mean(name, RESOURCES)
        raise ResourceError(f"limits: {error}{hint}") from None
    # One byte is what `memory=1` says, and surely not what it means.
    if builtin and not name.startswith("gpu") and amount <= (0 if name == "cpu" else 1):
        raise ResourceError(f"limits: {name}={value!r} would let no task run; give more.{_SHARE_HELP}")
    return amount


def _share_of(share: float, amount: int) -> int:
    # In whole numbers, and rounded up as demands are: a demand of 57.6GiB fits nine tenths of 64GiB.
    return -(-round(share * 1_000_000_000) * amount // 1_000_000_000)


def _shown(name: str, amount: int, other: int) -> str:
    """Return the amount as text, to the last byte when it would read the same as another one."""
    text = format_amount(name, amount)
    if text != format_amount(name, other) or amount == other:
        return text
    return f"{amount}B/s" if name in ("disk", "network") else f"{amount}B"
