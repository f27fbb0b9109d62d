"""The journal: a reader of the event log that keeps a run's events and results in an embedded store.

docs/journal.md says what is promised and how it is laid out. `open_journal` is what a run uses; `read_run` and
`list_runs` read without running or unpickling anything. Nothing here is imported before a run has a store.
"""

from penstock.journal.errors import StoreError
from penstock.journal.reading import RecordedRun, list_runs, read_run

__all__ = ["RecordedRun", "StoreError", "list_runs", "read_run"]
