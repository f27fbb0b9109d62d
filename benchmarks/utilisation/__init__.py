"""Scheduling by what the machine is really doing, against a fixed pool and against declared demands alone."""
