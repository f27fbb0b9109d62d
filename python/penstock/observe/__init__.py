"""Readers of a run's event log: progress display, closing table, trace, hooks and alerts.

Nothing here is called by the scheduler. Each reader follows the log from its own thread with its own
cursor (`subscription.Subscription`), so a reader that is slow, or that fails, costs the run nothing.
Importing this package imports neither numpy nor rich; the modules that need them do.
"""
