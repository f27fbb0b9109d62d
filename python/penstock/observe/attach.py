"""Attaches the readers that a run was asked for, and takes leave of them when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import OptionError

if TYPE_CHECKING:
    from os import PathLike

    from penstock.observe.protocol import RunView
    from penstock.observe.subscription import Subscription

__all__ = ["Observers", "attach"]

HOOK_GRACE_S = 5.0
"""How long the end of a run waits for hooks and alert targets to take their last events, all together."""

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
        self, hooks: Sequence[Subscription], writers: Sequence[Subscription], *, show_progress: bool = False
    ) -> None:
        self.show_progress = show_progress
        self._hooks = tuple(hooks)
        self._writers = tuple(writers)

    def close(self) -> None:
        """Let the readers take what is left of the closed log; a hook that hangs is left behind with a warning."""
        for writer in self._writers:
            writer.close(WRITER_GRACE_S)
        until = time.monotonic() + HOOK_GRACE_S
        for hook in self._hooks:
            hook.close(max(until - time.monotonic(), 0.0))


def attach(
    view: RunView,
    *,
    on_event: Hook | Sequence[Hook] | None = None,
    alerts: Sequence[Hook] = (),
    progress: object = False,
    trace: str | PathLike[str] | None = None,
) -> Observers:
    """Start the readers that a run was asked for. With none asked for, no thread is started and nothing imported.

    Args:
        view: the run.
        on_event: a function, or several, called with each `Event`.
        alerts: functions called with each `Alert`.
        progress: True, False or "auto", see `progress.watch_progress`.
        trace: path of a trace to write.

    Raises:
        OptionError: a hook cannot be called, `progress` is none of its values, or the trace cannot be written;
            no reader has been started then.
    """
    hooks = _callables("on_event", on_event)
    targets = _callables("alerts", alerts)
    if progress not in (True, False, None, "auto"):
        raise OptionError(f"progress={progress!r}: allowed is True, False or 'auto'.")
    writers: list[Subscription] = []
    watchers: list[Subscription] = []
    show_progress = False
    if trace is not None:
        from penstock.observe.trace import watch_trace

        writers.append(watch_trace(view, trace))
    if progress:
        from penstock.observe.progress import watch_progress

        if (shown := watch_progress(view, progress)) is not None:
            writers.append(shown)
            show_progress = True
    if hooks or targets:
        from penstock.observe.alerts import watch_alerts, watch_events

        watchers += [watch_events(view, hook) for hook in hooks]
        watchers += [watch_alerts(view, target) for target in targets]
    return Observers(watchers, writers, show_progress=show_progress)


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
