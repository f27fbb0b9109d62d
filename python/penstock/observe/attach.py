"""Attaches the readers that a run was asked for, and takes leave of them when it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import OptionError

if TYPE_CHECKING:
    from os import PathLike

    from penstock.observe.alerting import Alerts, AlertWatch
    from penstock.observe.protocol import RunView
    from penstock.observe.subscription import Subscription

__all__ = ["Observers", "attach"]

HOOK_GRACE_S = 5.0
"""How long the end of a run waits for hooks and alert targets to take their last events, all together."""

ALERT_GRACE_S = 15.0
"""The same for alerts that leave the machine: mail servers take their time, and the last alert says how the run ended."""

WRITER_GRACE_S = 600.0
"""How long it waits for the trace: a file that ends too early is worth less than the wait."""

Hook = Callable[[Any], object]


class Observers:
    """The readers of one run.

    Args:
        hooks: readers that call a user's function.
        writers: readers of ours that must see everything.
        show_progress: whether one of them shows people how the run goes.
    """

    def __init__(
        self,
        hooks: Sequence[Subscription | AlertWatch],
        writers: Sequence[Subscription],
        *,
        show_progress: bool = False,
    ) -> None:
        self.show_progress = show_progress
        self._hooks = tuple(hooks)
        self._writers = tuple(writers)

    def close(self) -> None:
        """Let the readers take what is left of the closed log; a hook that hangs is left behind with a warning."""
        for writer in self._writers:
            writer.close(WRITER_GRACE_S)
        begun = time.monotonic()
        for hook in self._hooks:
            grace_s = ALERT_GRACE_S if getattr(hook, "goes_out", False) else HOOK_GRACE_S
            hook.close(max(begun + grace_s - time.monotonic(), 0.0))


def attach(
    view: RunView,
    *,
    on_event: Hook | Sequence[Hook] | None = None,
    alerts: object = (),
    progress: object = False,
    trace: str | PathLike[str] | None = None,
) -> Observers:
    """Start the readers that a run was asked for. With none asked for, no thread is started and nothing imported.

    Args:
        view: the run.
        on_event: a function, or several, called with each `Event`.
        alerts: functions called with each `Alert`, addresses, and `Alerts`; one or several.
        progress: True, False or "auto", see `progress.watch_progress`.
        trace: path of a trace to write.

    Raises:
        OptionError: a hook cannot be called, an alert's address is none, `progress` is none of its values, or the trace
            cannot be written; no reader has been started then.
        ExtraMissingError: an alert's address needs an extra that is not installed.
    """
    hooks = _callables("on_event", on_event)
    told = _alerts(alerts)
    if progress not in (True, False, None, "auto"):
        raise OptionError(f"progress={progress!r}: allowed is True, False or 'auto'.")
    writers: list[Subscription] = []
    watchers: list[Subscription | AlertWatch] = []
    show_progress = False
    if trace is not None:
        from penstock.observe.trace import watch_trace

        writers.append(watch_trace(view, trace))
    if progress:
        from penstock.observe.progress import watch_progress

        if (shown := watch_progress(view, progress)) is not None:
            writers.append(shown)
            show_progress = True
    if logging.getLogger("penstock.run").isEnabledFor(logging.INFO):
        from penstock.observe.run_log import watch_log

        if (logged := watch_log(view)) is not None:
            writers.append(logged)
    if hooks:
        from penstock.observe.alerts import watch_events

        watchers += [watch_events(view, hook) for hook in hooks]
    if told:
        from penstock.observe.alerting import watch_alerts

        watchers += [watch_alerts(view, one) for one in told]
    return Observers(watchers, writers, show_progress=show_progress)


def _alerts(given: object) -> list[Alerts]:
    if given is None or given == () or given == []:
        return []
    from penstock.observe.alerting import alerts_of

    return alerts_of(given)


def _callables(option: str, given: object) -> list[Hook]:
    items: Iterable[object]
    if given is None:
        items = ()
    elif callable(given):
        items = (given,)
    elif isinstance(given, Iterable) and not isinstance(given, str):
        items = given
    else:
        items = (given,)
    hooks: list[Hook] = []
    for item in items:
        if not callable(item):
            raise OptionError(f"{option}= was given {item!r}, which cannot be called; give a function of one argument.")
        hooks.append(item)
    return hooks
