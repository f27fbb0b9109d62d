import click
import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.cli.options import Limits


def test_limits_are_pairs_whose_amounts_are_left_as_text():
    assert Limits().convert("cpu=0.8, memory=8GiB,licence=2", None, None) == {
        "cpu": "0.8",
        "memory": "8GiB",
        "licence": "2",
    }


@pytest.mark.parametrize("text", ["cpu", "cpu=", "=1", "cpu=1,,memory=2", ""])
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(click.BadParameter, match=r"is no limit; write name=amount, as in cpu=0\.8,memory=8GiB"):
        Limits().convert(text, None, None)


def test_a_resource_given_twice_is_refused():
    with pytest.raises(click.BadParameter, match="'cpu' is limited twice"):
        Limits().convert("cpu=1,cpu=2", None, None)


@pytest.mark.parametrize("words", [["resume"], ["runs"], ["runs", "show", "1"], ["runs", "rm", "1"], ["run", "x.py"]])
def test_a_store_that_can_be_no_path_is_a_wrong_option(words):
    done = CliRunner().invoke(cli, [*words, "--store", "a\0b"])
    assert done.exit_code == 2
    assert "a path cannot hold a null character." in done.output
    assert isinstance(done.exception, SystemExit)
