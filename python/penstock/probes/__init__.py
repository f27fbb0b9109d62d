"""What the machine has and what it is doing, one file a signal.

Every signal is a `Reading`: a value, or unknown with the reason. Unknown never blocks and is never zero.
`Machine.detect()` says what there is; a `Sampler` says, a few times a second, what is in use.
"""
