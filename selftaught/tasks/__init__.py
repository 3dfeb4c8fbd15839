"""The first step: task sources, splits, and the check that the splits do not overlap.

`sources` and `inbox` have the blocks. `splits` says what it means that two tasks are the same problem and which set a
problem belongs to, `contamination` checks the sets against each other without trusting the sources, and `draw` is the
step's runner.
"""
