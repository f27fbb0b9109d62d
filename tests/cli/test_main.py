import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from penstock._version import __version__
from penstock.cli import main as main_module
from penstock.cli.main import VERBS, cli
from penstock.errors import InternalError, OptionError

pytestmark = pytest.mark.timeout(60)


def test_the_version_is_the_packages():
    assert CliRunner().invoke(cli, ["--version"]).output == f"penstock {__version__}\n"


def test_help_lists_every_verb_with_its_own_short_help():
    output = CliRunner().invoke(cli, ["--help"]).output
    for verb, text in VERBS.items():
        assert f"{verb}  " in output
        assert text in output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_imported_and_says_the_same_as_the_list(verb):
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.name == verb
    assert command.get_short_help_str(100) == VERBS[verb]


def test_an_unknown_verb_is_bad_usage():
    result = CliRunner().invoke(cli, ["rum"])
    assert result.exit_code == 2
    assert "No such command 'rum'" in result.output


@pytest.fixture
def raising(monkeypatch, capsys):
    """Runs a verb that raises, and returns the exit status and what was written to stdout and stderr."""

    def run(error):
        @click.command()
        def failing():
            raise error

        monkeypatch.setattr(main_module.Verbs, "get_command", lambda *_: failing)
        with pytest.raises(SystemExit) as exit_:
            cli(["run"])
        return exit_.value.code, *capsys.readouterr()

    return run


def test_a_users_mistake_is_one_line_without_traceback(raising):
    error = OptionError("workers=0: allowed is 1 or more.")
    assert raising(error) == (2, "", "penstock: workers=0: allowed is 1 or more.\n")


def test_ctrl_c_exits_with_130(raising):
    assert raising(KeyboardInterrupt()) == (130, "", "penstock: interrupted\n")


def test_our_own_bug_keeps_its_traceback(raising):
    with pytest.raises(InternalError, match="a bug"):
        raising(InternalError("a bug"))


def test_help_imports_no_verb_and_nothing_heavy():
    code = (
        "import sys\n"
        "sys.argv = ['penstock', '--help']\n"
        "from penstock.cli.main import cli\n"
        "cli(standalone_mode=False)\n"
        "heavy = {'numpy', 'psutil', 'rich', 'yaml', 'penstock._core', 'penstock.cli.run'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
