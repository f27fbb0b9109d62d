"""Demands and limits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from penstock.errors import OptionError, ResourceError
from penstock.resources import MAX_CUSTOM, RESOURCES, Demand, Limits, format_amount, parse_amount

GIB = 1024**3
MACHINE = {"cpu": 2000, "memory": 64 * GIB, "disk": None, "network": None, "gpu": 2000, "gpu_memory": 80 * GIB}


# ---------------------------------------------------------------------------------------------------- demand


def test_demand_holds_exact_amounts_and_reads_as_it_was_written() -> None:
    demand = Demand.parse(
        cpu=1.5, memory="2GiB", disk="200MB/s", network="1Gbit/s", gpu=0.5, gpu_memory="10GiB", resources={"licence": 1}
    )
    assert demand == Demand(1500, 2 * GIB, 200_000_000, 125_000_000, 500, 10 * GIB, (("licence", 1000),))
    assert str(demand) == "cpu=1.5, memory=2GiB, disk=200MB/s, network=125MB/s, gpu=0.5, gpu_memory=10GiB, licence=1"


def test_demand_of_nothing_is_empty_and_says_so() -> None:
    demand = Demand.parse()
    assert not demand
    assert dict(demand) == {}
    assert str(demand) == "nothing"


def test_demand_as_a_mapping_holds_what_is_not_zero() -> None:
    demand = Demand.parse(cpu=1, resources={"b": 2, "a": 1, "none": 0})
    assert dict(demand) == {"cpu": 1000, "a": 1000, "b": 2000}
    assert len(demand) == 3
    with pytest.raises(KeyError):
        demand["memory"]


def test_equal_demands_are_one_key_and_survive_pickling() -> None:
    first, second = Demand.parse(resources={"a": 1, "b": 2}), Demand.parse(resources={"b": 2, "a": 1})
    assert {first: "x"}[second] == "x"
    assert pickle.loads(pickle.dumps(first)) == first


def test_vector_is_in_the_order_of_the_core_with_the_named_custom_resources_behind() -> None:
    demand = Demand.parse(cpu=1, gpu=2, resources={"licence": 3})
    assert demand.vector(["other", "licence"]) == (1000, 0, 0, 0, 2000, 0, 0, 3000)
    with pytest.raises(KeyError, match="licence"):
        demand.vector(["other"])


@pytest.mark.parametrize(("gpu", "amount"), [(0.25, 250), (1, 1000), (3, 3000)])
def test_gpu_is_a_share_of_one_or_a_whole_number(gpu: float, amount: int) -> None:
    assert Demand.parse(gpu=gpu).gpu == amount


def test_a_gpu_and_a_half_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ResourceError, match=r"gpu=1.5 is neither.*write 0.5, 1 or 2"):
        Demand.parse(gpu=1.5)


@pytest.mark.parametrize("option", RESOURCES)
@pytest.mark.parametrize("value", [True, -1, float("nan"), object()])
def test_every_amount_of_a_demand_refuses_bools_negatives_and_nonsense(option: str, value: object) -> None:
    with pytest.raises(ResourceError, match=f"{option}="):
        Demand.parse(**{option: value})  # type: ignore[arg-type]


def test_a_built_in_resource_among_the_custom_ones_is_told_its_option() -> None:
    with pytest.raises(OptionError, match="write memory='2GiB'"):
        Demand.parse(resources={"memory": "2GiB"})


@pytest.mark.parametrize(
    ("slip", "meant"), [("mem", "memory"), ("CPUs", "cpu"), ("GPU", "gpu"), ("vram", "gpu_memory")]
)
def test_a_slip_of_a_built_in_name_is_no_custom_resource(slip: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"no resource '{slip}'; did you mean {meant}=1"):
        Demand.parse(resources={slip: 1})


@pytest.mark.parametrize("name", ["", "2x", "a b", "x" * 65, 5])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no name of a resource"):
        Demand.parse(resources={name: 1})


def test_more_custom_resources_than_the_core_counts_are_refused() -> None:
    Demand.parse(resources={f"r{n}": 1 for n in range(MAX_CUSTOM)})
    with pytest.raises(OptionError, match="11 custom resources"):
        Demand.parse(resources={f"r{n}": 1 for n in range(MAX_CUSTOM + 1)})


@pytest.mark.parametrize(("name", "text"), [("memory", "2GiB"), ("disk", "200MB/s"), ("cpu", "1.5"), ("licence", "3")])
def test_amounts_are_shown_as_a_user_would_write_them(name: str, text: str) -> None:
    assert format_amount(name, parse_amount(name, text)) == text


# ---------------------------------------------------------------------------------------------------- limits


def test_without_limits_the_whole_machine_may_be_used_and_the_unknown_is_unlimited() -> None:
    limits = Limits.parse(None, MACHINE)
    assert dict(limits.amounts) == {"cpu": 2000, "memory": 64 * GIB, "gpu": 2000, "gpu_memory": 80 * GIB}
    assert limits.notes == ()


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0.8, 1600),
        ("0.8", 1600),
        ("80%", 1600),
        (np.float32(0.5), 1000),
        (1.0, 2000),
        (1, 1000),
        ("1", 1000),
        (1.5, 1500),
    ],
)
def test_a_float_up_to_one_is_a_share_and_all_else_an_amount(value: object, amount: int) -> None:
    assert Limits.parse({"cpu": value}, MACHINE).amounts["cpu"] == amount


def test_an_absolute_limit_above_the_machine_is_the_machine() -> None:
    limits = Limits.parse({"memory": "96GiB", "disk": "500MB/s"}, MACHINE)
    assert limits.amounts["memory"] == 64 * GIB
    assert limits.amounts["disk"] == 500_000_000  # what the machine has of it is unknown: the word stands


def test_a_share_of_the_unknown_is_not_kept_and_noted() -> None:
    limits = Limits.parse({"network": 0.5}, MACHINE)
    assert "network" not in limits.amounts
    assert len(limits.notes) == 1
    assert "network=0.5 is a share of an amount that is unknown" in limits.notes[0]
    assert limits.shortfall(Demand.parse(network="900GB/s")) is None


def test_a_limit_on_a_custom_resource_is_how_much_of_it_there_is() -> None:
    limits = Limits.parse({"licence": 2}, MACHINE)
    assert limits.amounts["licence"] == 2000
    assert limits.shortfall(Demand.parse(resources={"licence": 2})) is None


def test_a_share_holds_for_each_gpu_and_an_amount_for_all() -> None:
    shares = Limits.parse({"gpu": 0.5, "gpu_memory": 0.9}, MACHINE)
    assert shares.on_device("gpu", 1000) == 500
    assert shares.on_device("gpu_memory", 40 * GIB) == 36 * GIB
    amounts = Limits.parse({"gpu": 1, "gpu_memory": "10GiB"}, MACHINE)
    assert amounts.on_device("gpu", 1000) == 1000
    assert amounts.on_device("gpu_memory", 40 * GIB) == 10 * GIB
    assert Limits.parse({}, MACHINE).on_device("gpu_memory", 40 * GIB) == 40 * GIB


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu": True},
        {"cpu": 0},
        {"cpu": -1},
        {"cpu": float("nan")},
        {"cpu": "120%"},
        {"cpu": "0%"},
        {"cpu": "x%"},
        {"memory": 0},
        {"memory": 1},
        {"memory": 1.5},
        {"memory": 0.0},
        {"memory": None},
        {"disk": "500MB"},
    ],
)
def test_a_limit_that_is_no_share_and_no_amount_is_refused_by_name(limits: dict[str, object]) -> None:
    (name,) = limits
    with pytest.raises(ResourceError, match=f"^limits: {name}="):
        Limits.parse(limits, MACHINE)


def test_a_mistyped_built_in_limit_is_told_the_name_meant() -> None:
    with pytest.raises(ResourceError, match="Did you mean 'memory'"):
        Limits.parse({"memroy": "8GiB"}, MACHINE)
    with pytest.raises(OptionError, match="did you mean cpu=3"):
        Limits.parse({"cpus": 3}, MACHINE)


def test_a_limit_that_the_user_did_not_give_is_called_the_default() -> None:
    demand, defaults = Demand.parse(memory="60GiB"), {"memory": 0.9}
    unasked = Limits.parse({"cpu": 1}, MACHINE, defaults=defaults).shortfall(demand)
    assert "this machine has 64GiB and the default limits={'memory': 0.9} leaves 57.6GiB" in str(unasked)
    given = Limits.parse({"memory": 0.9}, MACHINE, defaults=defaults).shortfall(demand)
    assert "this machine has 64GiB and limits={'memory': 0.9} leaves 57.6GiB" in str(given)
    assert Limits.parse({"memory": 1.0}, MACHINE, defaults=defaults).shortfall(demand) is None


def test_a_demand_that_fits_is_let_through() -> None:
    limits = Limits.parse({"cpu": 0.8, "memory": 0.9}, MACHINE)
    limits.check("fit", Demand.parse(cpu=1.6, memory="57.6GiB", gpu=2, gpu_memory="80GiB", disk="9GB/s"))


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        (
            Demand.parse(memory="96GiB"),
            (
                "task 'resize' asks for memory=96GiB, but this machine has 64GiB and limits={'memory': 0.9} leaves 57.6GiB;"
                " it can never start. Lower memory= or raise the limit."
            ),
        ),
        (
            Demand.parse(cpu=2),
            (
                "task 'resize' asks for cpu=2, but this machine has 2 and limits={'cpu': '1.5'} allows no more;"
                " it can never start. Lower cpu= or raise the limit."
            ),
        ),
        (
            Demand.parse(gpu=3),
            "task 'resize' asks for gpu=3, but this machine has 2; it can never start. Lower gpu=.",
        ),
        (
            Demand.parse(gpu_memory="96GiB"),
            (
                "task 'resize' asks for gpu_memory=96GiB, but this machine has 80GiB on its largest GPU;"
                " it can never start. Lower gpu_memory=."
            ),
        ),
        (
            Demand.parse(network="90MB/s"),
            (
                "task 'resize' asks for network=90MB/s, but limits={'network': '50MB/s'} allows no more;"
                " it can never start. Lower network= or raise the limit."
            ),
        ),
        (
            Demand.parse(resources={"licence": 3}),
            (
                "task 'resize' asks for licence=3, but limits={'licence': 2} allows no more; it can never start."
                " Lower resources={'licence': ...} or raise the limit."
            ),
        ),
        (
            Demand.parse(resources={"license": 1}),
            (
                "task 'resize' asks for license=1, but this run has no 'license'; it can never start."
                " Say how many there are: limits={'license': 1}. Did you mean 'licence'?"
            ),
        ),
    ],
)
def test_a_demand_that_can_never_be_met_is_refused_with_what_there_is_and_what_to_do(
    demand: Demand, message: str
) -> None:
    limits = Limits.parse({"memory": 0.9, "cpu": 1.5, "network": "50MB/s", "licence": 2}, MACHINE)
    with pytest.raises(ResourceError) as caught:
        limits.check("resize", demand)
    assert str(caught.value) == message


def test_a_demand_that_is_over_by_less_than_is_shown_is_shown_to_the_byte() -> None:
    problem = Limits.parse({"memory": "8GiB"}, MACHINE).shortfall(Demand.parse(memory=8 * GIB + 1))
    assert problem is not None
    assert "memory=8589934593B," in problem
    assert "'8589934592B'" in problem


def test_a_whole_gpu_does_not_fit_into_half_of_each() -> None:
    problem = Limits.parse({"gpu": 0.5}, MACHINE).shortfall(Demand.parse(gpu=1))
    assert problem is not None
    assert "leaves 0.5 of each" in problem


def test_a_machine_without_gpus_refuses_gpu_tasks_and_one_that_does_not_know_says_how_to_find_out() -> None:
    none = Limits.parse({}, {**MACHINE, "gpu": 0, "gpu_memory": 0})
    assert (
        none.shortfall(Demand.parse(gpu=1))
        == "asks for gpu=1, but this machine has none; it can never start. Lower gpu=."
    )
    unknown = Limits.parse({}, {**MACHINE, "gpu": None, "gpu_memory": None})
    for demand in (Demand.parse(gpu=1), Demand.parse(gpu_memory="1GiB")):
        problem = unknown.shortfall(demand)
        assert problem is not None
        assert "Install the extra 'gpu'" in problem
    told = Limits.parse({"gpu": 1}, {**MACHINE, "gpu": None, "gpu_memory": None})
    assert told.shortfall(Demand.parse(gpu=1, gpu_memory="999GiB")) is None
