"""Does dynamic scheduling pay here? A static plan against dynamic policies, as things go otherwise than planned.

Four ways in which a day differs from the plan made for it, each simulated under each policy:

- noise: what tasks were expected to take is wrong, by lognormal factors of growing spread;
- load: others take a share of the CPU for a while in the middle;
- failure: the longest task fails shortly before its end, once, and is tried again after a wait;
- urgent: more urgent tasks arrive in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import OptionError
from penstock.journal.playback import read_source
from penstock.policies import resolve
from penstock.resources import Demand
from penstock.simulation import Simulation, simulate
from penstock.workloads import Workload

if TYPE_CHECKING:
    from penstock.policies import Policy

__all__ = ["POLICIES", "Comparison", "Row", "compare"]

POLICIES = ("static", "hybrid", "bottom_level", "fifo")
NOISES = (0.0, 0.25, 0.5, 0.75, 1.0)
LOADS = (0.0, 0.25, 0.5, 0.75)
LOAD_FROM, LOAD_UNTIL = 0.2, 0.6
"""Outside load comes and goes at these shares of the undisturbed makespan."""

FAILED_SHARE, RETRY_WAIT = 0.9, 0.02
"""The failing attempt lasts this share of the task's run time; the next one waits this share of the makespan."""

URGENT_AT, URGENT_SHARE = 0.5, 0.05
"""Urgent tasks arrive at this share of the makespan, as many as this share of the tasks, of average length and one core."""

URGENT = "urgent"
LEVELS = {"noise": NOISES, "load": LOADS, "failure": (0.0, 1.0), "urgent": (0.0, 1.0)}
LEVEL_WORDS = {"noise": "spread", "load": "share of the CPU", "failure": "failures", "urgent": "arrival"}


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one kind of day; numbers are means over the seeds.

    Attributes:
        scenario: "noise", "load", "failure" or "urgent".
        level: how far the day is from the plan: the noise's spread, the share of the CPU that is lost, 0 or 1.
        policy: its name.
        makespan_s: seconds.
        above: share by which that is above the lower bound of the undisturbed workload.
        utilisation: share of the CPU that tasks used over the makespan, or of the busiest resource without a CPU limit.
        urgent_s: seconds from the arrival of the urgent tasks to their end, in the mean; None without any.
    """

    scenario: str
    level: float
    policy: str
    makespan_s: float
    above: float
    utilisation: float
    urgent_s: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Attributes:
        name: of the workload.
        tasks: how many.
        lower_bound_s: of the undisturbed workload, seconds.
        rows: by scenario, level, policy.
    """

    name: str
    tasks: int
    lower_bound_s: float
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """Return a table a scenario, with how far each policy ends above the lower bound."""
        lines = [f"{self.name}: {self.tasks:,} tasks, no schedule is shorter than {self.lower_bound_s:.6g} s"]
        for scenario in dict.fromkeys(row.scenario for row in self.rows):
            rows = [row for row in self.rows if row.scenario == scenario]
            policies = list(dict.fromkeys(row.policy for row in rows))
            levels = list(dict.fromkeys(row.level for row in rows))
            by_place = {(row.level, row.policy): row for row in rows}
            lines += ["", f"{_TITLES[scenario]}"]
            table = [[LEVEL_WORDS[scenario], *policies]]
            table += [[f"{level:g}", *(f"{by_place[level, p].above:+.1%}" for p in policies)] for level in levels]
            if scenario == URGENT:
                table.append(["urgent done in", *(_seconds(by_place[levels[-1], p].urgent_s) for p in policies)])
            widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
            lines += ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
        return "\n".join([*lines, "", self.verdict()])

    def verdict(self) -> str:
        """Return one sentence: whether dynamic scheduling pays, and where most."""
        policies = {row.policy for row in self.rows}
        if "static" not in policies or len(policies) == 1:
            return "There is no static plan to compare with."
        place = {(row.scenario, row.level, row.policy): row.makespan_s for row in self.rows}
        others = [p for p in dict.fromkeys(row.policy for row in self.rows) if p not in ("static", "fifo")] or ["fifo"]
        best = others[0]
        gains = {
            (scenario, level): place[scenario, level, "static"] / place[scenario, level, best] - 1
            for scenario, level, policy in place
            if policy == best
        }
        (scenario, level), most = max(gains.items(), key=lambda item: item[1])
        planned = gains.get(("noise", 0.0), 0.0)
        if most < 0.01:
            return f"Dynamic scheduling pays little here: the static plan is at most {most:.1%} longer than {best}."
        return (
            f"Dynamic scheduling pays: the static plan takes up to {most:.0%} longer than {best} "
            f"({_TITLES[scenario].lower()}, {LEVEL_WORDS[scenario]} {level:g}); as planned, the difference is {planned:+.1%}."
        )

    def draw(self, path: str | PathLike[str]) -> None:
        """Draw the comparison: a panel a scenario; .png, .svg or .pdf.

        Raises:
            ExtraMissingError: matplotlib is not installed.
            OptionError: the ending is unknown, or the file cannot be written.
        """
        from penstock.draw import figure, save

        scenarios = list(dict.fromkeys(row.scenario for row in self.rows))
        made, axes = figure(1, len(scenarios), 3.1 * len(scenarios), 3.0)
        for scenario, axis in zip(scenarios, axes[0], strict=True):
            for policy in dict.fromkeys(row.policy for row in self.rows):
                rows = [row for row in self.rows if row.scenario == scenario and row.policy == policy]
                axis.plot([row.level for row in rows], [100 * row.above for row in rows], marker="o", label=policy)
            axis.set_title(_TITLES[scenario], fontsize=9)
            axis.set_xlabel(LEVEL_WORDS[scenario], fontsize=8)
            axis.tick_params(labelsize=8)
            axis.set_ylim(bottom=0)
            if len({row.level for row in self.rows if row.scenario == scenario}) == 2:
                axis.set_xticks([0, 1], ["none", "one" if scenario == "failure" else "some"])
        axes[0][0].set_ylabel("% above the lower bound", fontsize=8)
        axes[0][0].legend(fontsize=7)
        made.suptitle(self.name, fontsize=10)
        save(made, path)


_TITLES = {
    "noise": "Run times other than expected",
    "load": "Others take CPU for a while",
    "failure": "The longest task fails once",
    "urgent": "Urgent tasks arrive",
}


def compare(
    source: Workload | str | PathLike[str],
    *,
    policies: Sequence[str | Policy] = POLICIES,
    capacity: Mapping[str, object] | None = None,
    seeds: Iterable[int] = range(3),
    scenarios: Sequence[str] = tuple(_TITLES),
    plan_budget: float = 0.1,
) -> Comparison:
    """Simulate a workload under a static plan and under dynamic policies, on days that differ from the plan.

    Args:
        source: a workload, or a file that `workloads.read` reads, or a run of a store, `".penstock#7"`.
        policies: presets or policies; "static" is the plan followed as it is.
        capacity: as in `simulate`.
        seeds: of the noise; what is told is the mean over them.
        scenarios: which of "noise", "load", "failure" and "urgent".
        plan_budget: seconds for each plan.

    Raises:
        OptionError: a policy or a scenario is unknown, the workload is empty, or there are no seeds.
        ResourceError, PipelineFileError, CycleError: as `simulate`.
    """
    for scenario in scenarios:
        if scenario not in _TITLES:
            raise OptionError(f"scenario {scenario!r} is unknown; there are {', '.join(_TITLES)}.")
    chosen = [resolve(policy) for policy in policies]
    drawn = list(seeds)
    workload = source if isinstance(source, Workload) else read_source(source)
    if len(workload) == 0 or not drawn or not chosen:
        raise OptionError(f"{workload.name!r}: nothing to compare; give a workload with tasks, a policy and a seed.")
    if np.any(workload.failures > 0) or workload.changes:
        workload = workload.with_changes(failures=np.zeros(len(workload), np.uint32), changes=())
    play = _Player(workload, capacity, drawn, plan_budget)
    rows = [
        play.row(scenario, level, policy) for scenario in scenarios for level in LEVELS[scenario] for policy in chosen
    ]
    return Comparison(workload.name, len(workload), play.calm.lower_bound_s, tuple(rows))


class _Player:
    def __init__(
        self, workload: Workload, capacity: Mapping[str, object] | None, seeds: list[int], plan_budget: float
    ) -> None:
        self.workload, self.capacity, self.seeds, self.plan_budget = workload, capacity, seeds, plan_budget
        self.calm = simulate(workload, policy="bottom_level", capacity=capacity, plan_budget=0)
        self.span_ns = round(1e9 * self.calm.makespan_s)

    def row(self, scenario: str, level: float, policy: Policy) -> Row:
        seeds = self.seeds if scenario == "noise" and level else self.seeds[:1]
        played = [self._play(self._disturbed(scenario, level), scenario, level, policy, seed) for seed in seeds]
        makespan_s = float(np.mean([one.makespan_s for one in played]))
        urgent = [_urgent_s(one) for one in played] if scenario == URGENT and level else []
        return Row(
            scenario,
            level,
            policy.name,
            makespan_s,
            makespan_s / self.calm.lower_bound_s - 1 if self.calm.lower_bound_s else 0.0,
            float(np.mean([_used(one) for one in played])),
            float(np.mean(urgent)) if urgent else None,
        )

    def _play(self, workload: Workload, scenario: str, level: float, policy: Policy, seed: int) -> Simulation:
        noise = f"lognormal:{level}" if scenario == "noise" and level else None
        # The plan is made before the day: of the workload as it was expected. What is expected is corrected in the course
        # of the day, as in a run.
        return simulate(
            workload,
            policy=policy,
            capacity=self.capacity,
            noise=noise,
            seed=seed,
            durations="corrected",
            plan_budget=self.plan_budget,
        )

    def _disturbed(self, scenario: str, level: float) -> Workload:
        workload = self.workload
        if not level or scenario == "noise":
            return workload
        if scenario == "load":
            cpu = self.calm.capacity.get("cpu")
            if cpu is None:
                return workload
            widest = max((min(demand.cpu, cpu) for demand in workload.demands), default=0)
            left = max(round(cpu * (1 - level)), widest)  # so that nothing is ruled out
            return workload.with_changes(
                changes=((round(LOAD_FROM * self.span_ns), "cpu", left), (round(LOAD_UNTIL * self.span_ns), "cpu", cpu))
            )
        if scenario == "failure":
            failures = np.zeros(len(workload), np.uint32)
            failures[int(np.argmax(workload.duration_ns))] = 1
            return workload.with_changes(
                failures=failures,
                retries=np.maximum(workload.retries, failures),
                failed_share=FAILED_SHARE,
                retry_wait_ns=round(RETRY_WAIT * self.span_ns),
            )
        return _with_urgent(workload, round(URGENT_AT * self.span_ns))


def _with_urgent(workload: Workload, at_ns: int) -> Workload:
    count = max(1, round(URGENT_SHARE * len(workload)))
    here, more = len(workload), np.arange(count)
    first_group = int(workload.groups.max()) + 1
    return workload.with_changes(
        names=[*workload.names, *(f"{URGENT}-{k + 1}" for k in more.tolist())],
        indptr=np.concatenate([workload.indptr, np.full(count, workload.indptr[-1])]),
        duration_ns=np.concatenate([workload.duration_ns, np.full(count, int(workload.duration_ns.mean()))]),
        expected_ns=None
        if workload.expected_ns is None
        else np.concatenate([workload.expected_ns, np.full(count, int(workload.duration_ns.mean()))]),
        demands=(*workload.demands, Demand(cpu=1000)),
        demand_of=np.concatenate([workload.demand_of, np.full(count, len(workload.demands), np.int32)]),
        groups=np.concatenate([workload.groups, np.full(count, first_group, np.uint32)]),
        sizes=None
        if workload.sizes is None
        else np.concatenate([workload.sizes, np.zeros((count, workload.sizes.shape[1]))]),
        priority=np.concatenate([workload.priority, np.full(count, workload.priority.min() - 100.0)]),
        arrival_ns=np.concatenate(
            [workload.arrival_ns, np.full(count, max(at_ns, int(workload.arrival_ns[here - 1])))]
        ),
        failures=np.concatenate([workload.failures, np.zeros(count, np.uint32)]),
        retries=np.concatenate([workload.retries, np.zeros(count, np.uint32)]),
    )


def _urgent_s(simulation: Simulation) -> float:
    urgent = np.array([name.startswith(f"{URGENT}-") for name in simulation.workload.names])
    return float((simulation.finish_ns - simulation.workload.arrival_ns)[urgent].mean()) / 1e9


def _used(simulation: Simulation) -> float:
    used = simulation.utilisation
    return used.get("cpu", max(used.values(), default=0.0))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g} s"
