"""Control groups on recorded trees of both versions, and on the machine that runs the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from penstock.probes.cgroup import find_groups

Record = Callable[[Mapping[str, str]], Path]

MOUNT_V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = "3{n} 23 0:3{n} {root} /sys/fs/cgroup/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}\n"
OTHER_MOUNTS = "23 28 0:21 / /proc rw,relatime - proc proc rw\n28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
NO_LIMIT_V1 = "9223372036854771712\n"
GIB = 1024**3


def systemd_tree() -> dict[str, str]:
    """A service below a slice, version 2: quota on the slice, memory limits at three levels."""
    top = "sys/fs/cgroup"
    return {
        "proc/self/cgroup": "0::/batch.slice/train.slice/run-1.scope\n",
        "proc/self/mountinfo": OTHER_MOUNTS + MOUNT_V2.format(root="/"),
        f"{top}/cpu.stat": "usage_usec 99000000\nuser_usec 1\nsystem_usec 1\n",
        f"{top}/batch.slice/cpu.max": "150000 100000\n",
        f"{top}/batch.slice/cpu.stat": "usage_usec 5000000\nuser_usec 1\nnr_periods 10\nnr_throttled 3\n",
        f"{top}/batch.slice/memory.max": f"{8 * GIB}\n",
        f"{top}/batch.slice/memory.current": f"{6 * GIB}\n",
        f"{top}/batch.slice/memory.stat": f"anon {2 * GIB}\ninactive_file {GIB}\nactive_file {2 * GIB}\nshmem 4096\n",
        f"{top}/batch.slice/train.slice/cpu.max": "max 100000\n",
        f"{top}/batch.slice/train.slice/memory.max": "max\n",
        f"{top}/batch.slice/train.slice/memory.high": f"{3 * GIB}\n",
        f"{top}/batch.slice/train.slice/memory.low": f"{GIB}\n",
        f"{top}/batch.slice/train.slice/run-1.scope/cpu.max": "200000 100000\n",
        f"{top}/batch.slice/train.slice/run-1.scope/cpu.stat": "usage_usec 123456\n",
        f"{top}/batch.slice/train.slice/run-1.scope/memory.max": "max\n",
        f"{top}/batch.slice/train.slice/run-1.scope/memory.current": "1000\n",
        f"{top}/batch.slice/train.slice/run-1.scope/memory.stat": "inactive_file 5000\nactive_file 0\n",
    }


def test_version_2_group_is_found_with_its_ancestors_own_group_first(record: Record) -> None:
    groups = find_groups(record(systemd_tree()))
    paths = [group.path for group in groups.unified]
    assert paths == ["/batch.slice/train.slice/run-1.scope", "/batch.slice/train.slice", "/batch.slice", "/"]
    assert groups.cpu == groups.memory == groups.cpuacct == groups.unified


def test_the_tightest_quota_of_all_ancestors_binds_and_keeps_its_fraction(record: Record) -> None:
    groups = find_groups(record(systemd_tree()))
    assert groups.cpu_quota() == 1500
    assert [(group.path, quota) for group, quota in groups.cpu_bounds()] == [
        ("/batch.slice/train.slice/run-1.scope", 2000),
        ("/batch.slice", 1500),
    ]


def test_the_tightest_of_memory_max_and_high_binds_and_low_does_not(record: Record) -> None:
    groups = find_groups(record(systemd_tree()))
    assert groups.memory_limit() == 3 * GIB


def test_page_cache_is_not_used_memory(record: Record) -> None:
    groups = find_groups(record(systemd_tree()))
    used = {group.path: group.memory_used() for group in groups.memory}
    assert used["/batch.slice"] == 3 * GIB
    assert used["/batch.slice/train.slice"] is None  # no memory.current here: unknown, not zero
    assert used["/batch.slice/train.slice/run-1.scope"] == 0  # more cache than charged, by a race: never below 0


def test_cpu_time_and_throttling_are_read_from_cpu_stat(record: Record) -> None:
    own, _, slice_, top = find_groups(record(systemd_tree())).unified
    assert own.cpu_used_ns() == 123_456_000
    assert own.throttled() is None
    assert slice_.throttled() == 3
    assert top.cpu_used_ns() == 99_000_000_000


def test_in_a_container_with_its_own_namespace_the_root_of_the_mount_is_ours(record: Record) -> None:
    root = record(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": MOUNT_V2.format(root="/"),
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/memory.max": f"{GIB}\n",
        }
    )
    groups = find_groups(root)
    assert groups.cpu_quota() == 500
    assert groups.memory_limit() == GIB


@pytest.mark.parametrize("path", ["/../../kubepods/pod1/abc", "/kubepods/pod1/abc", "/.."])
def test_a_group_named_as_the_host_sees_it_falls_back_to_the_root_of_the_mount(record: Record, path: str) -> None:
    root = record(
        {
            "proc/self/cgroup": f"0::{path}\n",
            "proc/self/mountinfo": MOUNT_V2.format(root="/"),
            "sys/fs/cgroup/cpu.max": "250000 100000\n",
        }
    )
    groups = find_groups(root)
    assert [group.path for group in groups.unified] == ["/"]
    assert groups.cpu_quota() == 2500


def docker_v1_tree() -> dict[str, str]:
    """Docker on version 1 without cgroup namespaces: the mounts show only what is below the container's group."""
    mounts = "".join(
        MOUNT_V1.format(n=n, name=name, root="/docker/abc") for n, name in enumerate(["cpu,cpuacct", "memory"])
    )
    return {
        "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
        "proc/self/mountinfo": OTHER_MOUNTS + mounts,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "1234567890\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 7\nnr_throttled 2\nthrottled_time 5\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": "rss 1\ntotal_cache 999\ntotal_rss 5000\ntotal_shmem 700\n",
    }


def test_version_1_in_docker_is_read_at_the_mount(record: Record) -> None:
    groups = find_groups(record(docker_v1_tree()))
    (cpu,), (memory,) = groups.cpu, groups.memory
    assert (cpu.version, cpu.path, groups.cpu_quota(), cpu.cpu_used_ns()) == (1, "/docker/abc", 1500, 1_234_567_890)
    assert cpu.throttled() == 2
    assert groups.memory_limit() == 2 * GIB
    assert memory.memory_used() == 5700  # shared memory is in use, page cache is not
    assert groups.unified == ()


def test_version_1_without_quota_and_limit_has_none(record: Record) -> None:
    tree = docker_v1_tree() | {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
    }
    groups = find_groups(record(tree))
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None
    assert groups.cpu_bounds() == []


def test_version_1_takes_the_limit_of_ancestors_that_the_container_cannot_see(record: Record) -> None:
    tree = docker_v1_tree()
    tree["sys/fs/cgroup/memory/memory.stat"] += f"hierarchical_memory_limit {GIB}\n"
    assert find_groups(record(tree)).memory_limit() == GIB


def test_with_both_versions_mounted_each_controller_is_read_where_it_is(record: Record) -> None:
    tree = docker_v1_tree()
    tree["proc/self/cgroup"] += "0::/user.slice\n"
    tree["proc/self/mountinfo"] += "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    tree["sys/fs/cgroup/unified/user.slice/cpu.pressure"] = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    groups = find_groups(record(tree))
    assert {group.version for group in (*groups.cpu, *groups.memory, *groups.cpuacct)} == {1}
    assert [group.path for group in groups.unified] == ["/user.slice", "/"]


def test_a_mount_point_with_a_space_in_its_name_is_read(record: Record) -> None:
    root = record(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n",
            "my groups/cpu.max": "100000 100000\n",
        }
    )
    assert find_groups(root).cpu_quota() == 1000


@pytest.mark.parametrize("text", ["", "max", "garbage 100000", "100000 0", "-5 100000"])
def test_a_quota_that_cannot_be_read_is_none(record: Record, text: str) -> None:
    root = record({**systemd_tree(), "sys/fs/cgroup/batch.slice/cpu.max": text})
    assert find_groups(root).cpu_quota() == 2000


def test_without_cgroups_there_are_no_groups(tmp_path: Path) -> None:
    groups = find_groups(tmp_path)
    assert groups.unified == groups.cpu == groups.memory == ()
    assert groups.cpu_quota() is None
    assert groups.memory_limit() is None


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_on_this_machine_every_group_found_is_a_directory_that_is_there() -> None:
    groups = find_groups()
    found = (*groups.cpu, *groups.memory, *groups.cpuacct, *groups.unified)
    assert all(group.directory.is_dir() for group in found)
    named = Path("/proc/self/cgroup").read_text()
    assert not named.strip() or found
