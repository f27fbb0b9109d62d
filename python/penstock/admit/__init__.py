"""The arithmetic of admission: how much our tasks may hold, from what is measured. Pure: no clock, no I/O, no thread.

`room` says what is left of one resource at one instant, `follow` lets a capacity follow that without flapping, `claims`
says what a running attempt is counted with, `learn` what an attempt of a function is expected to need, and `cores` which
CPUs an attempt gets for itself. Amounts are whole numbers in the unit of their resource, as everywhere in penstock.
"""
