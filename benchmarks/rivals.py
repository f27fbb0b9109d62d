"""Rivals that have to be started: in this process where they can be, without dashboards, and ended at exit."""

from __future__ import annotations

import atexit
import os
from typing import Any

from benchmarks.measures import need
from benchmarks.work import WORKERS

__all__ = ["distributed_client", "ray_cluster"]


def distributed_client() -> Any:
    """A dask.distributed client with scheduler and one worker of two threads in this process."""
    distributed = need("distributed")
    need("dask").config.set({"distributed.admin.large-graph-warning-threshold": "1GiB"})
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=WORKERS, processes=False, dashboard_address=None, silence_logs=50
    )
    atexit.register(cluster.close)
    client = distributed.Client(cluster)
    atexit.register(client.close)
    return client


def ray_cluster() -> Any:
    """Ray on this machine, with two cores; returns the module."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = need("ray")
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    atexit.register(ray.shutdown)
    return ray
