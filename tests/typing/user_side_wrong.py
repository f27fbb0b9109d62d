# mypy: ignore-errors
"""Mistakes that mypy must report to a user. Each has the code of its error beside it; checked by test_typing.py."""

from __future__ import annotations

import penstock
from penstock import Pipeline, command, task


@task
def load(path: str) -> list[float]:
    return [float(len(path))]


@task(prioriti=1)  # error: call-overload
def misspelt() -> None: ...


@task(needs="some")  # error: call-overload
def impossible() -> None: ...


with Pipeline("p") as p:
    load(3)  # error: arg-type
    load()  # error: call-arg
    load("a", c=1)  # error: call-arg
    load(load("a"))  # error: arg-type
    load.with_options(executor="process")("a")  # error: arg-type
    command("x", ["true"], executor="threads")  # error: call-arg

p.run(policy=3)  # error: arg-type
p.run(store=True)  # error: arg-type
p.run(durability="never")  # error: arg-type
p.run(on_store_error="ignore")  # error: arg-type
p.run(resume="7")  # error: arg-type
p.run(prgress=True)  # error: call-arg
print(penstock.Pipelin)  # error: attr-defined
