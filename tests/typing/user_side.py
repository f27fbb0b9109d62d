"""What a user writes, as mypy --strict sees it. Checked by test_typing.py; never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from penstock import Alerts, Breaker, Pipeline, Policy, Retry, RunResult, Task, command, current, skip, task, value
from penstock.future import Future
from penstock.journal import RecordedRun, read_run


@task
def load(path: str) -> list[float]:
    return [float(len(path))]


@task(priority=-1, cpu=2, memory="2GiB", retries=3, retry_on=(ValueError, "OOM"), timeout="5m")
def train(data: list[float], *, c: float = 1.0) -> dict[str, float]:
    skip("report")
    assert_type(current().attempt, int)
    assert_type(current().submit(load, "more"), list[float])
    return {"score": sum(data) * c}


@task(cache=True, executor="processes", retry=Retry(attempts=3), fallback=lambda scores: 0.0)
def best(scores: list[dict[str, float]]) -> float:
    return max(score["score"] for score in scores)


@task(
    breaker=Breaker("api", failures=3),
    total_timeout="1h",
    allow_failure=True,
    fallback=[lambda x: "", value("nothing")],
    retry=Retry(total_s=60),
)
def fetch(x: int) -> str:
    return str(x)


as_a_task: Task[[str], list[float]] = load
assert_type(load("a"), list[float])

with Pipeline("search", policy=Policy(age=1.0), limits={"cpu": 0.8}) as p:
    data = load("digits.csv")
    models = [train(data, c=c) for c in (0.1, 1.0)]
    models.append(train.with_options(priority=3, name="svm", after=[data])(data, c=10.0))
    winner = best(models)
    lines = command("count", ["wc", "-l", "digits.csv"], cpu=0.1, stdin=data)

assert_type(winner, float)
assert_type(lines, str)
result = p.run(policy="hybrid", limits={"cpu": 0.8}, alerts=[print], progress=False)
assert_type(result, RunResult)
assert_type(result[winner], float)

p.run(
    alerts=[print, "https://example.org/hook", Alerts(print, kinds=["failed"], every_s=60)],
    on_failure="finish_running",
    timeout="8h",
    secret=["API_KEY"],
)

kept = p.run(
    store=".penstock", durability="each", on_store_error="stop", resume=True, force=["best"], start_from=("train",)
)
assert_type(kept.run_number, int | None)
assert_type(kept.taken_over, tuple[str, ...])
assert_type(kept.store, Path | None)
p.run(store=False)
p.start(store=Path("kept"), resume=7)
recorded = read_run(".penstock", 7)
assert_type(recorded, RecordedRun)
assert_type(recorded.names, list[str])
indptr, indices = recorded.dependencies
assert_type(int(recorded.start_ns[0]) + int(indptr[0]), int)

run = p.start(on_event=[print, str])
assert_type(run.future(winner), Future[float])
assert_type(run.future("best").result(), Any)
