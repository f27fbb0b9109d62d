"""Measures the native core against the pure-Python baseline, on this machine: `penstock bench`.

`baseline` is the scheduler that a Python expert would write without a native core, `cases` what is measured and
`measure` how. The pytest-benchmark files in the repository's benchmarks/ use the same three.
"""

from penstock.bench.cases import CASES
from penstock.bench.measure import Case, Comparison, measure

__all__ = ["CASES", "Case", "Comparison", "measure"]
