"""The one thread that samples the machine while somebody waits for room on it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection

from penstock.probes.sample import Collector, Sample

__all__ = ["Sampler"]

_log = logging.getLogger("penstock.probes")


class Sampler:
    """Takes a sample every `period_s` seconds on its own thread and hands it to `on_sample`.

    It sleeps on a condition: paused, it costs nothing and wakes for nothing. All methods may be called from
    any thread; `on_sample` is called on the sampler's thread and should return soon.

    Args:
        collector: what takes the samples; it is closed when the sampler stops.
        on_sample: called with each sample.
        on_error: called once with what the collector or `on_sample` raised, on the sampler's thread, after which no
            sample is taken any more. None: it is logged, and sampling goes on.
        period_s: seconds from one sample to the next, > 0. May be changed from any thread; it counts from the next sample.
        roots: gives the processes of ours whose trees are to be told apart in the next sample.
    """

    def __init__(
        self,
        collector: Collector,
        on_sample: Callable[[Sample], None],
        *,
        on_error: Callable[[BaseException], None] | None = None,
        period_s: float = 0.5,
        roots: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._collector = collector
        self._on_sample = on_sample
        self._on_error = on_error
        self.period_s = period_s
        self._roots = roots
        self._changed = threading.Condition()
        self._paused = False
        self._stopped = False
        self._due_s = 0.0  # of time.monotonic(): no sample is taken before it
        self._thread = threading.Thread(target=self._run, name="penstock-sampler", daemon=True)

    def start(self) -> None:
        """Start sampling; the first sample is taken at once, its rates unknown. Call it once."""
        self._thread.start()

    def pause(self) -> None:
        """Take no more samples until `resume`. Harmless when repeated."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Sample again: at once, or when a period has passed since the last sample. Harmless when repeated.

        The first rates are over the whole pause; they are unknown when it was longer than
        `penstock.probes.reading.MAX_WINDOW_NS`.
        """
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def hurry(self, period_s: float) -> None:
        """Sample with another period from now on, also if a longer one is running."""
        with self._changed:
            self.period_s = period_s
            self._due_s = min(self._due_s, time.monotonic() + period_s)
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop the thread and wait for it, unless called from `on_sample`. Harmless when repeated."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._may_sample() and self._sampled():
                pass
        finally:
            self._collector.close()

    def _sampled(self) -> bool:
        """Take a sample and hand it on; return whether sampling goes on."""
        try:
            self._on_sample(self._collector.collect(self._roots()))
        except Exception as error:  # noqa: BLE001  ours or the receiver's
            if self._on_error is not None:
                self._on_error(error)
                return False
            _log.exception("taking a sample, or its receiver, failed; sampling goes on")
        return True

    def _may_sample(self) -> bool:
        """Wait until a sample is due and wanted; return False once stopped."""
        with self._changed:
            while not self._stopped:
                left_s = self._due_s - time.monotonic()
                if not self._paused and left_s <= 0:
                    self._due_s = time.monotonic() + self.period_s
                    return True
                self._changed.wait(None if self._paused else left_s)
            return False
