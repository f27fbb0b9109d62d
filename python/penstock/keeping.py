"""How a run is kept: where its journal is, how safely, and what of an earlier run is taken over. Data only."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import OptionError

__all__ = ["FOLDER", "Keeping", "script_folder"]

FOLDER = ".penstock"
"""Name of the store's folder, beside the pipeline."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """The options of a run that are about its journal; checked when made.

    Attributes:
        store: the store's folder; "auto" for `.penstock` beside the script that runs, where there is one; "off", None
            or False for nowhere.
        durability: "group": finished tasks are made durable together, at most 50 ms after the first of them;
            "each": each one before anything that depends on it starts.
        on_store_error: "warn": the run goes on without its journal; "stop": nothing more starts.
        resume: a run's number, or True for the newest unfinished run of the pipeline, where there is one.
        force: names of tasks that run again though nothing changed, with what depends on them if their result differs.
        start_from: names of tasks that run again with all that depends on them.
        target: the pipeline file as `penstock resume` will load it, or None.
    """

    store: str | os.PathLike[str] | bool | None = "off"
    durability: str = "group"
    on_store_error: str = "warn"
    resume: bool | int = False
    force: Sequence[str] = ()
    start_from: Sequence[str] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        if self.store is True or not isinstance(self.store, (str, os.PathLike, bool, type(None))):
            raise OptionError(f"store={self.store!r}: allowed is a folder's path, 'auto' or 'off'.")
        if self.durability not in ("group", "each"):
            raise OptionError(f"durability={self.durability!r}: allowed is 'group' or 'each'.")
        if self.on_store_error not in ("warn", "stop"):
            raise OptionError(f"on_store_error={self.on_store_error!r}: allowed is 'warn' or 'stop'.")
        if type(self.resume) not in (bool, int) or (type(self.resume) is int and self.resume < 1):
            raise OptionError(f"resume={self.resume!r}: allowed is True, False or the number of a run, from 1 up.")
        for option in ("force", "start_from"):
            names = getattr(self, option)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise OptionError(f"{option}={names!r}: allowed is a list of names.")
        if self.folder is None and (self.resume is not False or self.force or self.start_from):
            raise OptionError(
                "resume=, force= and start_from= need a store; give store= a folder, such as store='.penstock'."
            )

    @property
    def kept_options(self) -> dict[str, str]:
        """Those that hold for the whole run, whichever process works on it."""
        return {"durability": self.durability, "on_store_error": self.on_store_error}

    @property
    def folder(self) -> Path | None:
        """The store's folder, or None when nothing is to be kept."""
        if self.store in (None, False, "off", "auto"):
            if self.store != "auto":
                return None
            given = os.environ.get("PENSTOCK_STORE", "")
            if given:
                return None if given == "off" else Path(given)
            beside = script_folder()
            return None if beside is None else beside / FOLDER
        assert not isinstance(self.store, bool)
        return Path(self.store or FOLDER)


def script_folder() -> Path | None:
    """Return the folder of the script that this program is, or None: in a notebook, a REPL, under a test runner.

    A program that is installed, such as pytest, is nobody's pipeline; nothing is left beside it.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(file, str) or not Path(file).is_file():
        return None
    path = Path(file).resolve()
    installed = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(Path(__file__).parent)]
    inside = (Path(os.path.realpath(folder)) for folder in installed if folder and folder != os.sep)
    if any(folder in path.parents for folder in inside if folder not in (Path("/usr"), Path("/usr/local"))):
        return None
    if path.parent.name in ("bin", "Scripts") or "site-packages" in path.parts or "dist-packages" in path.parts:
        return None
    return path.parent
