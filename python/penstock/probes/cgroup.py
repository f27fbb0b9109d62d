"""Control groups, versions 1 and 2: which are ours, what they allow, what they use.

Pure functions over a root directory, so that recorded trees can stand in for `/`. Our group is found from
/proc/self/cgroup joined to the mounts in /proc/self/mountinfo, never assumed to be /sys/fs/cgroup; limits
are taken from the group and all its visible ancestors, because the tightest of them binds.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/; proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from penstock.probes.files import numbers_of, read

__all__ = ["Group", "Groups", "find_groups", "oom_kills"]

NO_LIMIT = 2**60
"""Version 1 writes 'no limit' as the largest multiple of the page size below 2**63; all such are none."""


@dataclass(frozen=True, slots=True)
class Group:
    """One control group in one hierarchy.

    Attributes:
        version: 1 or 2.
        path: the group as the kernel names it, such as '/system.slice/x.service'.
        directory: where its files are.
    """

    version: int
    path: str
    directory: Path

    def cpu_quota(self) -> int | None:
        """Return the CPU quota in milli-cores, fractions of a core kept; None when there is none."""
        if self.version == 2:
            words = (self._read("cpu.max") or "max").split()
            quota, period = (_number(words[0]), _number(words[1]) if len(words) > 1 else 100_000)
        else:
            quota = _number(self._read("cpu.cfs_quota_us"))
            period = _number(self._read("cpu.cfs_period_us"))
        if quota is None or quota <= 0 or not period:
            return None
        return max(1, quota * 1000 // period)

    def cpu_used_ns(self) -> int | None:
        """Return the CPU time that the group and all below it have used since it was made, in ns."""
        if self.version == 2:
            usage = self._stat("cpu.stat", "usage_usec").get("usage_usec")
            return None if usage is None else usage * 1000
        return _number(self._read("cpuacct.usage"))

    def throttled(self) -> int | None:
        """Return in how many periods the group has been throttled."""
        return self._stat("cpu.stat", "nr_throttled").get("nr_throttled")

    def memory_limit(self) -> int | None:
        """Return the limit in bytes; None when there is none.

        Version 2: the lower of memory.max and memory.high, since above the latter the kernel slows the
        group down. memory.low is a protection and no limit.
        """
        if self.version == 2:
            found = [_number(self._read(name)) for name in ("memory.max", "memory.high")]
        else:
            found = [
                _number(self._read("memory.limit_in_bytes")),
                self._stat("memory.stat", "hierarchical_memory_limit").get("hierarchical_memory_limit"),
            ]
        limits = [limit for limit in found if limit is not None and limit < NO_LIMIT]
        return min(limits, default=None)

    def memory_used(self) -> int | None:
        """Return the memory in use in bytes; the page cache is not in use, shared memory is."""
        if self.version == 1:
            stat = self._stat("memory.stat", "total_rss", "total_shmem")
            rss = stat.get("total_rss")
            return None if rss is None else rss + stat.get("total_shmem", 0)
        stat = self._stat("memory.stat", "inactive_file", "active_file")
        current = _number(self._read("memory.current"))
        if current is None or "inactive_file" not in stat:
            return None
        return max(0, current - stat["inactive_file"] - stat.get("active_file", 0))

    def oom_kills(self) -> int | None:
        """Return how often the kernel has killed a process of the group for memory; None: it does not say."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return self._stat(name, "oom_kill").get("oom_kill")

    def _read(self, name: str) -> str | None:
        return _read(f"{self.directory}/{name}")

    def _stat(self, file: str, *names: str) -> dict[str, int]:
        """Return the named numbers of a file of 'name number' lines; empty when it cannot be read."""
        try:
            return numbers_of(self._read(file) or "", *names)
        except ValueError:
            return {}


@dataclass(frozen=True, slots=True)
class Groups:
    """The control groups that this process is in, each with its ancestors, own group first.

    Attributes:
        cpu: those that can hold a CPU quota.
        cpuacct: those that count CPU time; the same as `cpu` except in some version 1 layouts.
        memory: those that can hold a memory limit.
        unified: those of version 2, which alone have pressure files; empty when it is not mounted.
    """

    cpu: tuple[Group, ...] = ()
    cpuacct: tuple[Group, ...] = ()
    memory: tuple[Group, ...] = ()
    unified: tuple[Group, ...] = ()

    def cpu_bounds(self) -> list[tuple[Group, int]]:
        """Return each (group that counts CPU time, quota in milli-cores) that binds us."""
        counting = {group.path: group for group in self.cpuacct}
        pairs = ((counting.get(group.path), group.cpu_quota()) for group in self.cpu)
        return [(group, quota) for group, quota in pairs if group is not None and quota is not None]

    def memory_bounds(self) -> list[tuple[Group, int]]:
        """Return each (group, memory limit in bytes) that binds us."""
        pairs = ((group, group.memory_limit()) for group in self.memory)
        return [(group, limit) for group, limit in pairs if limit is not None]

    def cpu_quota(self) -> int | None:
        """Return the tightest CPU quota in milli-cores, or None."""
        quotas = (group.cpu_quota() for group in self.cpu)
        return min((quota for quota in quotas if quota is not None), default=None)

    def memory_limit(self) -> int | None:
        """Return the tightest memory limit in bytes, or None."""
        return min((limit for _, limit in self.memory_bounds()), default=None)


@dataclass(frozen=True, slots=True)
class _Mount:
    version: int
    controllers: frozenset[str]
    root: PurePosixPath
    point: Path


def oom_kills(groups: Groups) -> int | None:
    """Return how often the kernel has killed a process for memory in our own memory group; None: it does not say.

    A process that ended by SIGKILL may have been killed by anybody; only this count tells.
    """
    return groups.memory[0].oom_kills() if groups.memory else None


def find_groups(root: Path = Path("/")) -> Groups:
    """Return the groups of this process; empty where there are none (macOS, cgroups not mounted).

    Args:
        root: the directory that stands for `/`; proc/ and sys/ are looked for below it.
    """
    lines = (_read(f"{root}/proc/self/cgroup") or "").splitlines()
    mounts = list(_mounts(root))
    version1: dict[str, tuple[Group, ...]] = {}
    unified: tuple[Group, ...] = ()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            unified = _lineage(path, 2, [mount for mount in mounts if mount.version == 2])
            continue
        for controller in controllers.split(","):
            fitting = [mount for mount in mounts if controller in mount.controllers]
            version1[controller] = _lineage(path, 1, fitting)
    return Groups(
        cpu=version1.get("cpu", unified),
        cpuacct=version1.get("cpuacct", unified),
        memory=version1.get("memory", unified),
        unified=unified,
    )


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in (_read(f"{root}/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 3 or right[0] not in ("cgroup", "cgroup2"):
            continue
        point = root / _unescape(left[4]).lstrip("/")
        options = frozenset(right[2].split(",")) if right[0] == "cgroup" else frozenset()
        yield _Mount(2 if right[0] == "cgroup2" else 1, options, PurePosixPath(_unescape(left[3])), point)


def _lineage(path: str, version: int, mounts: list[_Mount]) -> tuple[Group, ...]:
    """Return the group at `path` and its ancestors up to the root of the mount, own group first.

    In a container the kernel may name the group as the host sees it while the mount shows only what is
    below it; then the root of the mount is ours.
    """
    own = PurePosixPath(path)
    for mount in sorted(mounts, key=lambda mount: -len(mount.root.parts)):
        if own.is_relative_to(mount.root) and ".." not in own.parts:
            below = own.relative_to(mount.root)
            if (mount.point / below).is_dir():
                steps = (below, *below.parents)
                return tuple(Group(version, str(mount.root / step), mount.point / step) for step in steps)
    for mount in mounts:
        if mount.point.is_dir():
            return (Group(version, str(mount.root), mount.point),)
    return ()


def _read(path: str) -> str | None:
    try:
        return read(path).strip()
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    """Return the integer that the text holds; None for 'max', nothing, or anything else."""
    try:
        return int(text or "")
    except ValueError:
        return None


def _unescape(text: str) -> str:
    r"""Return a field of mountinfo with its octal escapes (\040 for a space) undone."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
