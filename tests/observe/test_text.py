import pytest

from penstock.observe.text import (
    amount_text,
    chain_text,
    interrupted_text,
    plural,
    resource_name,
    size_text,
    span_text,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0, "0µs"), (4.2e-5, "42µs"), (9.9949e-4, "999µs"), (9.995e-4, "1.00ms"), (0.0123, "12.3ms"),
        (0.09994, "99.9ms"), (0.09995, "0.10s"), (1.2345, "1.23s"), (9.994, "9.99s"), (9.995, "10.0s"),
        (99.94, "99.9s"), (99.95, "1m40s"), (3599.4, "59m59s"), (3599.6, "1h00m"), (11220, "3h07m"),
        (-0.001, "0µs"),
    ],
)  # fmt: skip
def test_a_span_has_three_digits_and_its_unit(seconds, text):
    assert span_text(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "-"), (0, "0B"), (1023, "1023B"), (1024, "1.00KiB"), (64 << 20, "64.0MiB"), (1023.9 * 2**20, "1.00GiB")],
)
def test_a_size_keeps_below_a_thousand_of_its_unit(amount, text):
    assert size_text(amount) == text


def test_amounts_are_in_the_unit_of_their_resource():
    assert amount_text("cpu", 1500) == "1.5"
    assert amount_text("cpu", 2000) == "2"
    assert amount_text("disk", 12_345_678) == "12.3MB/s"
    assert amount_text("gpu_memory", 1 << 30) == "1.00GiB"
    assert amount_text("gpu", None) == "-"


def test_a_long_chain_keeps_its_ends():
    names = [f"t{k}" for k in range(20)]
    assert chain_text(names) == "t0 -> t1 -> t2 -> t3 -> (12 more) -> t16 -> t17 -> t18 -> t19"
    assert chain_text(names[:9]).count("->") == 8


def test_one_is_singular():
    assert (plural(1, "task"), plural(1200, "task")) == ("1 task", "1,200 tasks")
    assert plural(2, "dependency", "dependencies") == "2 dependencies"


def test_a_custom_resource_has_a_number():
    assert resource_name(0) == "cpu"
    assert resource_name(7) == "custom 2"


@pytest.mark.parametrize(
    ("running", "left_s", "text"),
    [
        (0, 10, "interrupted: nothing more starts"),
        (2, 9.2, "interrupted: nothing more starts; 2 running tasks may end within 10 s, Ctrl-C again kills them"),
        (1, 3, "interrupted: nothing more starts; 1 running task may end within 3 s, Ctrl-C again kills it"),
        (1, 0, "interrupted: killing 1 running task"),
    ],
)
def test_who_pressed_ctrl_c_learns_what_happens_now_and_what_a_second_one_does(running, left_s, text):
    assert interrupted_text(running, left_s) == text
