"""What can be simulated, and where it comes from; one file a format.

`read` tells the formats apart by the file's ending: a pipeline (.py, .yaml, .yml), a recorded run (.npz), a WfCommons
workflow (.json, .json.gz), a PSPLIB project (.sm).
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from penstock.errors import PipelineFileError
from penstock.pipeline_file import split_name
from penstock.workloads.workload import Workload, unite

__all__ = ["ENDINGS", "Workload", "read", "unite"]

ENDINGS = (".py", ".yaml", ".yml", ".npz", ".json", ".json.gz", ".sm")


def read(file: str | PathLike[str]) -> Workload:
    """Return the workload in a file.

    Args:
        file: its path; of a Python file that holds several pipelines also `FILE:NAME`.

    Raises:
        PipelineFileError: there is no such file, its ending is unknown, or it is not what its ending says; with the
            line where there is one, and what was expected there.
    """
    path, _ = split_name(file)
    shown = fspath(path)
    lowered = path.name.lower()
    if lowered.endswith((".py", ".yaml", ".yml")):
        from penstock.workloads.from_pipeline import read_pipeline

        return read_pipeline(file)
    if not lowered.endswith(ENDINGS):
        raise PipelineFileError(f"its ending is unknown; allowed are {', '.join(ENDINGS)}.", shown)
    if not Path(path).is_file():
        raise PipelineFileError("there is no such file.", shown)
    if lowered.endswith(".npz"):
        from penstock.workloads.recording import read_recording

        return read_recording(path)
    if lowered.endswith(".sm"):
        from penstock.workloads.psplib import read_psplib

        return read_psplib(path)
    from penstock.workloads.wfformat import read_wfformat

    return read_wfformat(path)
